"""Sentences of textbooks on grammar, some broken in one place (CoLA)."""

import dataclasses

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts, sentence

# Singular, plural, reflexive pronoun of the singular.
NOUNS = (
    ("actress", "actresses", "herself"), ("waiter", "waiters", "himself"), ("queen", "queens", "herself"),
    ("king", "kings", "himself"), ("nun", "nuns", "herself"), ("monk", "monks", "himself"),
    ("princess", "princesses", "herself"), ("postman", "postmen", "himself"),
)  # fmt: skip
# Base form, third person, past, participle, progressive.
VERBS = (
    ("see", "sees", "saw", "seen", "seeing"), ("draw", "draws", "drew", "drawn", "drawing"),
    ("know", "knows", "knew", "known", "knowing"), ("choose", "chooses", "chose", "chosen", "choosing"),
    ("forget", "forgets", "forgot", "forgotten", "forgetting"), ("hide", "hides", "hid", "hidden", "hiding"),
    ("steal", "steals", "stole", "stolen", "stealing"), ("take", "takes", "took", "taken", "taking"),
)  # fmt: skip
OBJECTS = ("the letter", "a picture of the house", "every window", "my sister", "the last train", "that old story")
TAILS = ("", " in the morning", " without a word", " after the concert", " behind the church", " because it rained")
CLAUSES = ("Mary thinks that ", "It is clear that ", "I wonder whether ", "John said that ", "")


@dataclasses.dataclass(frozen=True)
class _Number:
    """Agreement: the forms a subject asks for, and those it refuses."""

    form: int
    be: str
    have: str
    do: str
    determiner: str


SINGULAR = _Number(1, "is", "has", "does", "this")
PLURAL = _Number(0, "are", "have", "do", "these")


def acceptability(choices: Choices, label: str) -> Texts:
    """Returns a sentence; label 1: it is acceptable."""
    right, wrong = (SINGULAR, PLURAL) if choices.chance(0.5) else (PLURAL, SINGULAR)
    used = right if label == "1" else wrong
    noun, other = choices.several(NOUNS, 2)
    subject = noun[0] if right is SINGULAR else noun[1]
    verb, thing, tail, clause = (choices.one(options) for options in (VERBS, OBJECTS, TAILS, CLAUSES))
    good = label == "1"
    reflexive = noun[2] if right is SINGULAR else "themselves"
    wrong_reflexive = "themselves" if right is SINGULAR else noun[2]
    body = choices.one(
        (
            f"{clause}the {subject} {verb[used.form]} {thing}{tail}",
            f"{clause}the {subject} who {verb[2]} {thing} {used.be} tired{tail}",
            f"{clause}the {subject} near the {other[choices.below(2)]} {used.have} {verb[3]} {thing}",
            f"{clause}{used.determiner} {subject} {verb[2]} {thing}{tail}",
            f"{clause}the {subject} {verb[2]} {reflexive if good else wrong_reflexive}{tail}",
            f"{clause}the {subject} {right.have} {verb[3] if good else verb[0]} {thing}{tail}",
            f"{clause}{thing} was {verb[3] if good else verb[4]} by the {subject}{tail}",
            f"{clause}the {subject} {verb[2]} {thing}{tail}"
            if good
            else f"{clause}the {subject} {thing} {verb[2]}{tail}",
            f"the {subject} {'wanted to' if good else 'wanted'} {verb[0]} {thing}{tail}",
            f"the {subject} will {verb[0] if good else verb[2]} {thing}{tail}",
        )
    )
    return (f"{sentence(body)}.",)
