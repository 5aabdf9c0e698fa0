"""Questions: asked twice (QQP), and with a sentence that may answer them (QNLI)."""

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts

# The same question in other words, then questions that share their words but ask something else.
INTENTS = (
    (("How can I learn {x} on my own?", "What is the best way to teach myself {x}?", "How do I study {x} by myself?"),
     ("How can I teach {x} to my own children?", "Why can't I learn {x} on my own?",
      "Who can learn {x} on their own?")),
    (("How long does it take to get good at {x}?", "How much time is needed to master {x}?",
      "How many months must I spend on {x} to become good?"),
     ("How much does it cost to get good at {x}?", "How old must I be to get good at {x}?",
      "Why does it take me so long to get good at {x}?")),
    (("What are some good books about {x}?", "Which books on {x} are worth reading?",
      "Can you recommend a good book about {x}?"),
     ("Who wrote the first book about {x}?", "What are some bad books about {x}?",
      "How do I write a good book about {x}?")),
    (("Can I earn a living with {x}?", "Is it possible to make enough money from {x}?",
      "Does {x} pay enough to live on?"),
     ("Can I live without {x}?", "Is it possible to spend too much money on {x}?",
      "Is {x} the secret of a long life?")),
    (("Why is {x} so popular in {y}?", "Why do so many people in {y} like {x}?", "What makes {x} so popular in {y}?"),
     ("Why is {x} so unpopular in {y}?", "When did {x} become popular in {y}?",
      "Why do so few people in {y} like {x}?")),
    (("Where in {y} can I take lessons in {x}?", "Are there any courses in {x} in {y}?",
      "Which schools in {y} offer lessons in {x}?"),
     ("Where in {y} can I give lessons in {x}?", "Which schools in {y} no longer offer lessons in {x}?",
      "Are there any laws about {x} in {y}?")),
)  # fmt: skip
SUBJECTS = (
    "chess", "pottery", "Spanish", "carpentry", "the violin", "web design", "sailing", "photography", "bread baking",
    "algebra", "gardening", "Swahili", "juggling", "bookkeeping", "rock climbing", "calligraphy",
)  # fmt: skip
PLACES = ("Canada", "Kenya", "Portugal", "Brazil", "Norway", "Vietnam", "Ireland", "Chile")
OPENERS = (
    "",
    "",
    "",
    "I am a student with little free time. ",
    "This may be a silly question. ",
    "I live with my parents. ",
)

LANDMARKS = (
    "Amberley Bridge", "the Corvin Library", "Saint Odile Cathedral", "the Hartwell Museum", "the Moravec Theater",
    "Tolland Castle", "the Eastgate Tower", "the Lindow Observatory", "Varga Stadium", "the Pell Street Market",
)  # fmt: skip
NAMES = ("Edith Marlow", "Jonas Weller", "Irene Castle", "Pavel Dusek", "Amos Greenfield", "Clara Vance")
TOWNS = ("Westmere", "Port Hollis", "Karlsholm", "Grenville", "Tamworth Falls", "Ostrava Heights")
STONES = ("limestone", "red brick", "granite", "oak and glass", "concrete", "sandstone")
# Each: ways to ask, ways to answer, the values.
ATTRIBUTES = (
    (("Who designed {p}?", "Which architect drew the plans of {p}?"),
     ("was designed by {v}", "is the work of the architect {v}"), NAMES),
    (("When was {p} opened?", "In which year did {p} open?"),
     ("opened its doors in {v}", "was opened to the public in {v}"), ("1874", "1902", "1931", "1958", "1986", "2007")),
    (("In which town is {p}?", "Where is {p}?"), ("stands in {v}", "lies in the center of {v}"), TOWNS),
    (("What is {p} made of?", "Which material was used to build {p}?"), ("is built of {v}", "was made of {v}"), STONES),
    (("How many people visit {p} each year?", "How large is the number of yearly visitors to {p}?"),
     ("has about {v} visitors a year", "is visited by {v} people each year"),
     ("40,000", "75,000", "120,000", "300,000")),
    (("Why was {p} closed for a time?", "What caused {p} to be shut?"),
     ("was shut because of {v}", "had to close after {v}"), ("a fire", "a flood", "a strike", "a storm")),
)  # fmt: skip


def question_pair(choices: Choices, label: str) -> Texts:
    """Returns two questions; label 1: they ask the same (QQP)."""
    same, different = choices.one(INTENTS)
    subject, place = choices.one(SUBJECTS), choices.one(PLACES)
    first, second = choices.several(same, 2)
    subject2 = subject
    if label == "0":
        if choices.chance(0.6):
            second = choices.one(different)
        else:
            subject2 = choices.one([other for other in SUBJECTS if other != subject])
    pair = choices.several((first.format(x=subject, y=place), second.format(x=subject2, y=place)), 2)
    return tuple(_capital(choices.one(OPENERS) + question) for question in pair)


def answer_pair(choices: Choices, label: str) -> Texts:
    """Returns a question and a sentence that answers it, or tells something else of the same building (QNLI)."""
    place = choices.one(LANDMARKS)
    asked, *others = choices.several(ATTRIBUTES, 4)
    told = [asked, *others[:2]] if label == "entailment" else others
    phrases = [choices.one(answers).format(v=choices.one(values)) for _, answers, values in choices.several(told, 3)]
    text = f"{place} {phrases[0]}, {phrases[1]}, and {phrases[2]}."
    if choices.chance(0.4):
        text = f"{place}, which {phrases[0]}, {phrases[1]} and {phrases[2]}."
    return choices.one(asked[0]).format(p=place), _capital(text)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
