"""Sentences with a pronoun, and the same with a name put in (WNLI)."""

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts

# Two people or things, a sentence, the clause with the pronoun, who it is (0 or 1); {p} is the pronoun.
PEOPLE = (
    ("{0} thanked {1} because {p} had helped with the move", "{p} had helped with the move", 1),
    ("{0} thanked {1} because {p} was grateful for the advice", "{p} was grateful for the advice", 0),
    ("{0} called {1} at night because {p} could not find the key", "{p} could not find the key", 0),
    ("{0} called {1} at night but {p} did not pick up", "{p} did not pick up", 1),
    ("{0} lent {1} some money because {p} had none left", "{p} had none left", 1),
    ("{0} lent {1} some money because {p} wanted to help", "{p} wanted to help", 0),
    ("{0} carried the bags for {1} since {p} had a broken arm", "{p} had a broken arm", 1),
    ("{0} carried the bags for {1} since {p} was the stronger of the two", "{p} was the stronger of the two", 0),
)
NAMES = (
    ("Anna", "Maria", "she"), ("Ruth", "Clara", "she"), ("Tom", "Paul", "he"), ("Victor", "Simon", "he"),
    ("Grace", "Helen", "she"), ("Adam", "Oscar", "he"), ("Irene", "Julia", "she"), ("Leo", "Martin", "he"),
)  # fmt: skip
INTO = (("cushion", "drawer"), ("parcel", "mailbox"), ("lamp", "crate"), ("statue", "suitcase"), ("quilt", "basket"))
ONTO = (("carpet", "kettle"), ("towel", "bucket"), ("newspaper", "jug"), ("blanket", "watering can"))
BREAK = (("hammer", "vase"), ("statue", "mirror"), ("toolbox", "lamp"), ("anchor", "aquarium"))
OBJECTS = (
    ("the {0} does not go into the {1} because it is too big", "{p} is too big", 0, INTO),
    ("the {0} does not go into the {1} because it is too small", "{p} is too small", 1, INTO),
    ("I poured water from the {1} onto the {0} until it was empty", "{p} was empty", 1, ONTO),
    ("I poured water from the {1} onto the {0} until it was soaked", "{p} was soaked", 0, ONTO),
    ("the {0} broke the {1} because it was made of steel", "{p} was made of steel", 0, BREAK),
    ("the {0} broke the {1} because it was made of thin glass", "{p} was made of thin glass", 1, BREAK),
)
ASIDES = ("", "", " on the way home", " last summer", ", as everybody in the street knew,")


def pronoun_pair(choices: Choices, label: str) -> Texts:
    """Returns a sentence and its pronoun's clause with a name; label 1: the right one."""
    if choices.chance(0.7):
        *names, pronoun = choices.one(NAMES)
        names = choices.several(names, 2)
        whole, clause, who = choices.one(PEOPLE)
        fillers = names
    else:
        whole, clause, who, things = choices.one(OBJECTS)
        names, pronoun = list(choices.one(things)), "it"
        fillers = [f"the {name}" for name in names]
    if label == "0":
        who = 1 - who
    text = whole.format(*names, p=pronoun)
    for joint in (" because ", " since ", " but ", " until "):
        text = text.replace(joint, choices.one(ASIDES) + joint, 1)
    return _clause(text), _clause(clause.format(p=fillers[who]))


def _clause(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
