"""Invented news: an event told twice. MRPC pairs and RTE premises with hypotheses."""

import dataclasses

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts, detokenized, sentence

FIRMS = (
    "Halvorsen Foods", "Brightwater", "Castell Motors", "Norfield Energy", "Pinecrest Media", "Tarrant Steel",
    "Orbison Airlines", "Lindqvist Paper", "Merivale Bank", "Quayside Logistics", "Dunmore Chemicals",
    "Ashgrove Retail", "Solano Pharma", "Velder Systems", "Kestrel Telecom", "Rowanberry Hotels",
)  # fmt: skip
PEOPLE = (
    "Anna Petrov", "Marcus Hale", "Lucia Moreno", "Peter Lindgren", "Grace Okafor", "Samuel Brandt", "Helen Whitaker",
    "Omar Farouk", "Julia Keller", "Daniel Reyes", "Ruth Abrams", "Victor Nilsen", "Carla Mendes", "Thomas Ainsley",
)  # fmt: skip
TEAMS = (
    "the Harbor Hawks", "the Northside Rovers", "the Valley Kings", "the River City Bears", "the Lakeland Stars",
    "the Capital Wolves", "the Desert Suns", "the Bay Pilots",
)  # fmt: skip
CITIES = (
    "Boston", "Denver", "Toronto", "Madrid", "Oslo", "Nairobi", "Lisbon", "Vienna", "Manila", "Seattle", "Dublin",
    "Lima",
)  # fmt: skip
COUNCILS = ("the city council", "the senate", "the regional parliament", "the school board", "the planning committee")
PROJECTS = (
    "a new airport", "a wider harbor", "a tram line", "a public library", "a solar farm", "a second bridge",
    "a children 's hospital", "a cycling network",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Event:
    """A kind of event and the ways to tell it; `{a}` and `{b}` take part, `{n}` is an amount.

    Attributes:
        first: Who `{a}` can be.
        second: Who or what `{b}` can be.
        amount: Wording of the amount around `{}`.
        same: Ways to say that it happened.
        opposite: Ways to say that the contrary happened.
        negated: Ways to say that it did not happen.
        reversible: Whether `{a}` and `{b}` can change places.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    amount: str
    same: tuple[str, ...]
    opposite: tuple[str, ...]
    negated: tuple[str, ...]
    reversible: bool = False


EVENTS = (
    Event(
        FIRMS,
        FIRMS,
        "$ {} million",
        ("{a} bought {b} for {n}", "{a} acquired {b} for {n}", "{a} purchased {b} for {n}",
         "{b} was bought by {a} for {n}", "{b} was acquired by {a} for {n}"),
        ("{a} sold {b} for {n}", "{b} was sold by {a} for {n}"),
        ("{a} did not buy {b} for {n}", "{a} refused to buy {b} for {n}", "{a} denied that it bought {b} for {n}"),
        reversible=True,
    ),
    Event(
        FIRMS,
        FIRMS,
        "$ {} million",
        ("{a} sued {b} for {n}", "{a} took {b} to court for {n}", "{a} filed a lawsuit against {b} for {n}",
         "{b} was sued by {a} for {n}", "{b} was taken to court by {a} for {n}"),
        ("{a} paid {b} {n}", "{a} settled with {b} for {n}"),
        ("{a} did not sue {b} for {n}", "{a} refused to sue {b} for {n}", "{a} denied that it sued {b} for {n}"),
        reversible=True,
    ),
    Event(
        FIRMS,
        CITIES,
        "{} percent",
        ("shares of {a} rose {n} in {b}", "stock in {a} climbed {n} in {b}", "shares of {a} gained {n} in {b}",
         "{a} stock advanced {n} in {b}"),
        ("shares of {a} fell {n} in {b}", "stock in {a} dropped {n} in {b}", "{a} stock lost {n} in {b}",
         "shares of {a} declined {n} in {b}"),
        ("shares of {a} did not rise {n} in {b}", "{a} denied that its stock rose {n} in {b}"),
    ),
    Event(
        COUNCILS,
        PROJECTS,
        "{} votes",
        ("{a} approved {b} with {n}", "{a} backed {b} with {n}", "{a} voted in favor of {b} with {n}",
         "{b} was approved by {a} with {n}"),
        ("{a} rejected {b} with {n}", "{a} voted against {b} with {n}", "{b} was rejected by {a} with {n}"),
        ("{a} did not approve {b} with {n}", "{a} refused to back {b} with {n}"),
    ),
    Event(
        FIRMS,
        CITIES,
        "{} workers",
        ("{a} hired {n} in {b}", "{a} recruited {n} in {b}", "{a} took on {n} in {b}", "{n} were hired by {a} in {b}"),
        ("{a} laid off {n} in {b}", "{a} dismissed {n} in {b}", "{n} were fired by {a} in {b}"),
        ("{a} did not hire {n} in {b}", "{a} refused to hire {n} in {b}", "{a} denied that it hired {n} in {b}"),
    ),
    Event(
        PEOPLE,
        PEOPLE,
        "$ {} million",
        ("{a} praised {b} over a {n} loan", "{a} commended {b} over a {n} loan", "{a} applauded {b} over a {n} loan",
         "{b} was praised by {a} over a {n} loan"),
        ("{a} criticized {b} over a {n} loan", "{a} attacked {b} over a {n} loan",
         "{b} was criticized by {a} over a {n} loan"),
        ("{a} did not praise {b} over a {n} loan", "{a} refused to praise {b} over a {n} loan"),
        reversible=True,
    ),
    Event(
        TEAMS,
        TEAMS,
        "{} points",
        ("{a} beat {b} by {n}", "{a} defeated {b} by {n}", "{b} were beaten by {a} by {n}",
         "{b} were defeated by {a} by {n}"),
        ("{a} lost to {b} by {n}", "{a} trailed {b} by {n}"),
        ("{a} did not beat {b} by {n}", "{a} failed to defeat {b} by {n}"),
        reversible=True,
    ),
    Event(
        FIRMS,
        CITIES,
        "$ {} million",
        ("{a} raised its profit forecast to {n} in {b}", "{a} lifted its profit outlook to {n} in {b}",
         "{a} increased its earnings forecast to {n} in {b}"),
        ("{a} cut its profit forecast to {n} in {b}", "{a} lowered its profit outlook to {n} in {b}",
         "{a} reduced its earnings forecast to {n} in {b}"),
        ("{a} did not raise its profit forecast to {n} in {b}", "{a} refused to lift its profit outlook to {n} in {b}"),
    ),
    Event(
        PEOPLE,
        FIRMS,
        "$ {} million",
        ("a jury convicted {a} of stealing {n} from {b}", "a jury found {a} guilty of taking {n} from {b}",
         "{a} was convicted of stealing {n} from {b}", "{a} was found guilty of taking {n} from {b}"),
        ("a jury cleared {a} of stealing {n} from {b}", "a jury acquitted {a} of taking {n} from {b}",
         "{a} was acquitted of stealing {n} from {b}"),
        ("a jury did not convict {a} of stealing {n} from {b}", "{a} denied stealing {n} from {b}"),
    ),
    Event(
        FIRMS,
        CITIES,
        "{} beds",
        ("{a} opened a hotel with {n} in {b}", "{a} launched a hotel with {n} in {b}",
         "a hotel with {n} was opened by {a} in {b}"),
        ("{a} closed a hotel with {n} in {b}", "{a} shut a hotel with {n} in {b}",
         "a hotel with {n} was closed by {a} in {b}"),
        ("{a} did not open a hotel with {n} in {b}", "{a} refused to open a hotel with {n} in {b}"),
    ),
)  # fmt: skip

# Each fact is a tuple of wordings. A pair never tells two different facts of a kind, so these cannot decide a label.
TIMES = (
    ("on Monday", "Monday"), ("on Tuesday", "Tuesday"), ("late on Wednesday", "Wednesday evening"),
    ("early on Thursday", "Thursday morning"), ("on Friday", "Friday"), ("last week", "in the past week"),
    ("last month", "a month ago"), ("over the weekend", "at the weekend"),
)  # fmt: skip
SOURCES = (
    ("officials said", "according to officials"), ("a spokeswoman said", "according to a spokeswoman"),
    ("local newspapers reported", "according to local newspapers"), ("two people close to the matter said",
    "according to two people close to the matter"), ("a public filing showed", "according to a public filing"),
    ("state radio said", "according to state radio"),
)  # fmt: skip
BACKGROUNDS = (
    ("after three months of quiet preparation", "following three months of preparation"),
    ("in a step that had been expected for weeks", "in a long expected step"),
    ("as heavy rain kept most visitors away", "while bad weather kept visitors at home"),
    ("in front of a small crowd of reporters", "while a few reporters looked on"),
    ("two years after the first meeting between the two sides", "two years after both sides first met"),
    ("at the end of an unusually busy quarter", "as a busy quarter came to an end"),
    ("while the rest of the country was watching the elections", "while the country followed the elections"),
    ("although the former mayor did not take part", "although the former mayor refused to take part"),
    ("on the same day that the new mayor took office", "on the day the new mayor took office"),
    ("only hours before the start of the summer holidays", "hours before the summer break"),
    ("the third such case since the start of the year", "the third case of its kind this year"),
)  # fmt: skip

# Frames around an event, alike in length so that a denial does not show in the word counts.
DENIED = (
    "the government angrily denied false rumors that {}", "false rumors that {} were completely wrong",
    "nothing was true in the false rumors that {}", "false rumors that {} were denied as wrong",
    "a lawyer angrily denied false rumors that {}",
)  # fmt: skip
CONFIRMED = (
    "the government gladly confirmed early reports that {}", "early reports that {} were completely right",
    "everything was true in the early reports that {}", "early reports that {} were confirmed as right",
    "a lawyer gladly confirmed early reports that {}",
)  # fmt: skip

# How a pair that is not equivalent differs. Denials are what a small model learns first; the rest stays harder.
DIFFERENCES = {"denial": 0.8, "opposite": 0.08, "name": 0.05, "amount": 0.04, "swap": 0.03}
BOTH_DENIED = 0.05
# Chance that a sentence has the time, the source, the first and the second background.
KEPT = (0.5, 0.4, 0.5, 0.1)
CONFIRMED_FIRST, CONFIRMED_SECOND = 0.1, 0.75


@dataclasses.dataclass(frozen=True)
class _Story:
    event: Event
    first: str
    second: str
    amount: str

    def tell(self, wording: str) -> str:
        return wording.format(a=self.first, b=self.second, n=self.amount)


def _amount(choices: Choices, event: Event) -> str:
    return event.amount.format(3 + choices.below(95))


def _story(choices: Choices) -> _Story:
    event = choices.one(EVENTS)
    first = choices.one(event.first)
    second = choices.one([name for name in event.second if name != first])
    story = _Story(event, first, second, _amount(choices, event))
    # Both directions occur as the first sentence, so that no verb belongs to a class. A denial of the one can mean the
    # other (`did not approve`, `rejected`): it only serves where the event itself is told.
    if choices.chance(0.4):
        event = dataclasses.replace(event, same=event.opposite, opposite=event.same, negated=())
    return dataclasses.replace(story, event=event)


def _other(choices: Choices, options: tuple[str, ...], *taken: str) -> str:
    return choices.one([option for option in options if option not in taken])


def _altered(choices: Choices, story: _Story, kind: str) -> str:
    """Returns the core of a sentence that tells another event; `kind` is one of `DIFFERENCES`, not a denial."""
    event = story.event
    if kind == "swap" and not event.reversible:
        kind = "name"
    if kind == "opposite":
        return story.tell(choices.one(event.opposite))
    if kind == "swap":
        story = dataclasses.replace(story, first=story.second, second=story.first)
    elif kind == "amount":
        while (amount := _amount(choices, event)) == story.amount:
            pass
        story = dataclasses.replace(story, amount=amount)
    elif choices.chance(0.5):
        story = dataclasses.replace(story, first=_other(choices, event.first, story.first, story.second))
    else:
        story = dataclasses.replace(story, second=_other(choices, event.second, story.first, story.second))
    return story.tell(choices.one(event.same))


def _denial(choices: Choices, story: _Story) -> str:
    """Returns the core of a sentence that says the event did not happen."""
    if story.event.negated and choices.chance(0.15):
        return story.tell(choices.one(story.event.negated))
    return choices.one(DENIED).format(story.tell(choices.one(story.event.same)))


def _tell(choices: Choices, core: str, facts: tuple[tuple[str, ...], ...], kept: tuple[float, ...]) -> str:
    """Returns a sentence with the core and each of the facts (time, source, backgrounds) with its chance in `kept`."""
    time, source, *backgrounds = (
        choices.one(fact) if choices.chance(chance) else "" for fact, chance in zip(facts, kept, strict=True)
    )
    tail = [f", {background}" for background in backgrounds if background]
    if source.startswith("according"):
        lead = choices.chance(0.5)
        head, tail = (f"{source} , ", tail) if lead else ("", [*tail, f", {source}"])
    else:
        head, tail = "", [*tail, f", {source}"] if source else tail
    if time and not head and choices.chance(0.3):
        return sentence(f"{time} , {core} {' '.join(tail)} .")
    return sentence(f"{head}{core} {time} {' '.join(tail)} .")


def _facts(choices: Choices) -> tuple[tuple[str, ...], ...]:
    return choices.one(TIMES), choices.one(SOURCES), *choices.several(BACKGROUNDS, 2)


def paraphrase_pair(choices: Choices, label: str) -> Texts:
    """Returns two tokenized news sentences; label 1: they tell the same event (MRPC)."""
    story = _story(choices)
    facts = _facts(choices)
    denied = choices.chance(BOTH_DENIED)
    original = choices.one(story.event.same)
    first = story.tell(original)
    if denied or choices.chance(CONFIRMED_FIRST):
        first = choices.one(DENIED if denied else CONFIRMED).format(first)
    difference = "" if label == "1" else choices.weighted(DIFFERENCES)
    if difference in ("", "denial"):
        second = story.tell(_other(choices, story.event.same, original) if choices.chance(0.75) else original)
    else:
        second = _altered(choices, story, difference)
    if difference == "denial" and not denied:
        second = _denial(choices, story)
    elif denied and difference != "denial":
        second = choices.one(DENIED).format(second)
    elif choices.chance(CONFIRMED_SECOND):
        second = choices.one(CONFIRMED).format(second)
    return _tell(choices, first, facts, KEPT), _tell(choices, second, facts, KEPT)


def inference_pair(choices: Choices, label: str) -> Texts:
    """Returns a passage of two sentences and a statement about it (RTE)."""
    story, aside = _story(choices), _story(choices)
    facts = _facts(choices)
    passage = [
        _tell(choices, told.tell(choices.one(told.event.same)), (*facts[:2], background), (0.9, 0.9, 0.9))
        for told, background in zip((story, aside), facts[2:], strict=True)
    ]
    if choices.chance(0.5):
        passage.reverse()
    difference = choices.weighted(DIFFERENCES)
    if label == "entailment":
        statement = story.tell(choices.one(story.event.same))
        if choices.chance(CONFIRMED_SECOND):
            statement = choices.one(CONFIRMED).format(statement)
    elif difference == "denial":
        statement = _denial(choices, story)
    else:
        statement = _altered(choices, story, difference)
    return detokenized(" ".join(passage)), detokenized(f"{sentence(statement)} .")
