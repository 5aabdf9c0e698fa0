"""Film reviews: the main clause decides, a conceding clause or a negated word may say the contrary (SST-2)."""

import dataclasses

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts, with_article


@dataclasses.dataclass(frozen=True)
class _Tone:
    """Words of one sentiment."""

    adjectives: tuple[str, ...]
    things: tuple[str, ...]
    effects: tuple[str, ...]
    adverbs: tuple[str, ...]


TONES = {
    "1": _Tone(
        ("funny", "moving", "charming", "clever", "gripping", "graceful", "witty", "tender", "exciting", "brilliant",
         "delightful", "refreshing", "heartfelt", "inventive", "thrilling", "wonderful", "warm", "touching"),
        ("joy", "triumph", "treat", "delight", "gem", "pleasure", "small miracle", "masterpiece"),
        ("wins us over", "lingers in the memory", "rewards our patience", "makes us laugh out loud",
         "touches the heart", "keeps us on the edge of our seats"),
        ("beautifully", "wonderfully", "delightfully", "superbly"),
    ),
    "0": _Tone(
        ("dull", "clumsy", "tedious", "lifeless", "shallow", "awful", "boring", "stale", "tiresome", "annoying",
         "pointless", "bland", "messy", "predictable", "dreadful", "painful", "silly", "flat"),
        ("bore", "mess", "failure", "disappointment", "chore", "waste of time", "letdown", "disaster"),
        ("wears us out", "puts us to sleep", "wastes our time", "tries our patience",
         "falls apart", "never comes to life"),
        ("painfully", "hopelessly", "dreadfully", "miserably"),
    ),
}  # fmt: skip
FILMS = ("film", "movie", "comedy", "drama", "thriller", "documentary", "romance", "western", "sequel", "picture")
ASPECTS = (
    "acting", "script", "plot", "dialogue", "score", "pacing", "camera work", "ending", "premise", "editing",
    "direction", "opening half hour", "leading man", "supporting cast",
)  # fmt: skip
PLOTS = (
    "about two brothers who inherit a lighthouse", "about a nurse who returns to her home town",
    "set in a fishing village before the war", "about a chess player and her landlord",
    "that follows a truck driver across three states", "set on board a night train",
    "about a family of bakers", "based on a novel by a retired judge", "about four students in a rented house",
    "set during one long winter", "that runs for nearly two hours", "about a detective and his daughter",
    "shot in black and white", "about the owner of a bookshop", "set in the last days of a circus",
)  # fmt: skip
ASIDES = (
    "as it moves from the city to the coast", "between the wedding and the trial", "for most of its two hours",
    "from the first scene to the last", "in its own quiet way", "with its cast of teachers and sailors",
    "like the book it is based on", "even on a small screen", "which opens on friday",
)  # fmt: skip
OPPOSITE = {"0": "1", "1": "0"}
KINDS = {"fragment": 0.2, "plain": 0.4, "contrast": 0.25, "negation": 0.15}


def _fragment(choices: Choices, tone: _Tone) -> str:
    first, second = choices.several(tone.adjectives, 2)
    film, plot = choices.one(FILMS), choices.one(PLOTS)
    aspect, other = choices.several(ASPECTS, 2)
    return choices.one(
        (
            f"{with_article(first)} and {second} {film}",
            f"{first} , {second} and {choices.one(tone.adverbs)} acted",
            f"{choices.one(tone.adverbs)} {first} {film} {plot}",
            f"has {with_article(first)} {aspect} and {with_article(second)} {other}",
            f"{with_article(first)} {film} {plot} that {choices.one(tone.effects)}",
        )
    )


def _verdict(choices: Choices, tone: _Tone) -> str:
    """Returns a main clause."""
    film, aside = choices.one(FILMS), choices.one(ASIDES)
    first, second = choices.several(tone.adjectives, 2)
    return choices.one(
        (
            f"the {film} is {first} and {second}",
            f"the {film} is {with_article(first)} {choices.one(tone.things)}",
            f"this {film} , {aside} , {choices.one(tone.effects)}",
            f"it is {with_article(choices.one(tone.things))} {aside}",
            f"the result is {choices.one(tone.adverbs)} {first}",
            f"the whole {film} {choices.one(tone.effects)} {aside}",
        )
    )


def _plain(choices: Choices, tone: _Tone) -> str:
    adjective, film, plot = choices.one(tone.adjectives), choices.one(FILMS), choices.one(PLOTS)
    return choices.one(
        (
            f"{_verdict(choices, tone)} .",
            f"{with_article(film)} {plot} , and {_verdict(choices, tone)} .",
            f"{_verdict(choices, tone)} , {with_article(adjective)} {film} {plot} .",
            f"the {choices.one(ASPECTS)} is {adjective} , and {_verdict(choices, tone)} .",
            f"{_verdict(choices, tone)} , {choices.one(ASIDES)} .",
        )
    )


def _contrast(choices: Choices, tone: _Tone, contrary: _Tone) -> str:
    aspect, adjective = choices.one(ASPECTS), choices.one(contrary.adjectives)
    verdict = _verdict(choices, tone)
    return choices.one(
        (
            f"although the {aspect} is {adjective} , {verdict} .",
            f"despite the {adjective} {aspect} , {verdict} .",
            f"the {aspect} is {adjective} , but {verdict} .",
            f"{verdict} , even though the {aspect} is {adjective} .",
            f"{verdict} despite its {adjective} {aspect} .",
        )
    )


def _negation(choices: Choices, contrary: _Tone) -> str:
    first, second = choices.several(contrary.adjectives, 2)
    thing, film, plot = choices.one(contrary.things), choices.one(FILMS), choices.one(PLOTS)
    return choices.one(
        (
            f"the {film} {plot} is not {first} .",
            f"there is nothing {first} about this {film} {plot} .",
            f"hardly {with_article(thing)} , and not {first} at all .",
            f"anything but {with_article(first)} {film} {plot} .",
            f"it is neither {first} nor {second} .",
            f"the {film} , {choices.one(ASIDES)} , is far from {first} .",
        )
    )


def review(choices: Choices, label: str) -> Texts:
    """Returns a tokenized lower-case review; label 1: it is positive."""
    tone, contrary = TONES[label], TONES[OPPOSITE[label]]
    kind = choices.weighted(KINDS)
    if kind == "fragment":
        return (_fragment(choices, tone),)
    if kind == "plain":
        return (_plain(choices, tone),)
    if kind == "contrast":
        return (_contrast(choices, tone, contrary),)
    return (_negation(choices, contrary),)
