"""Draws labelled sentences for each task from the word lists and templates in the JSON files of this folder."""

import functools
import hashlib
import importlib.resources
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Texts = tuple[str, ...]

# How a pair of news that is not equivalent differs comes from `differences`: a small model learns denials first.
_BOTH_DENIED = 0.05
_CONFIRMED_FIRST, _CONFIRMED_SECOND = 0.1, 0.75
_FACTS_KEPT = (0.5, 0.4, 0.5, 0.1)  # chance that a sentence has the time, the source, the first and second background


@functools.cache
def read_json(name: str) -> dict[str, Any]:
    """Reads `<name>.json` of this folder."""
    file = importlib.resources.files("powerbert_tf.data.sample").joinpath(f"{name}.json")
    return json.loads(file.read_text(encoding="utf-8"))


class Draws:
    """A stream of draws named by strings, the same on every platform and Python version.

    It is built on `random.Random.random` alone: the standard library keeps that one sequence across versions, whereas
    `choice`, `sample` and `shuffle` have changed theirs.
    """

    def __init__(self, *names: str):
        self._random = random.Random(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))

    def below(self, stop: int) -> int:
        """Returns an integer in 0 .. stop - 1."""
        return int(self._random.random() * stop)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def several(self, options: Sequence[T], count: int) -> list[T]:
        """Returns `count` options at different places, in a drawn order."""
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]

    def weighted(self, options: Mapping[str, float]) -> str:
        """Returns a key, drawn in proportion to its value."""
        level = self._random.random() * sum(options.values())
        for option, weight in options.items():
            level -= weight
            if level < 0:
                return option
        return next(reversed(list(options)))

    def tell(self, rule: Any, words: Mapping[str, Any], **known: Any) -> str:
        """Fills templates and returns one of them, with `a` or `an` where they say `a(n)`.

        Args:
            rule: A template; a list of them; or an object with `say`, a list, and `draw`: lists of the name of a word
                list and the fields that get different words of it.
            words: Word lists and further rules by name. A field of a template that is not known yet takes a word of
                its list, or what its rule tells, drawn anew each time.
            known: Values of fields.
        """
        if isinstance(rule, dict):
            for name, *fields in rule["draw"]:
                options = words[name]
                drawn = [self.tell(options, words)] if isinstance(options, dict) else self.several(options, len(fields))
                known |= zip(fields, drawn, strict=True)
            rule = rule["say"]
        fields = _Fields(self, words, known)
        if isinstance(rule, str):
            return _with_articles(rule.format_map(fields))
        return _with_articles(self.one([template.format_map(fields) for template in rule]))


class _Fields(dict[str, Any]):
    def __init__(self, draws: Draws, words: Mapping[str, Any], known: Mapping[str, Any]):
        super().__init__(known)
        self._draws, self._words = draws, words

    def __missing__(self, field: str) -> str:
        options = self._words[field]
        is_rule = isinstance(options, str | dict) or any("{" in option for option in options)
        return self._draws.tell(options, self._words, **self) if is_rule else self._draws.one(options)


def _with_articles(text: str) -> str:
    return re.sub(r"\ba\(n\) (?=(\w))", lambda found: "an " if found[1] in "aeiou" else "a ", text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(tokens: str) -> str:
    """Returns space-separated tokens with single spaces and the first letter upper case."""
    return _capital(" ".join(tokens.split()))


def _running_text(tokens: str) -> str:
    """Returns `It rose, to $4.` for the tokens `It rose , to $ 4 .`."""
    return re.sub(r" (?=[,.?!;:]|'s\b)", "", _sentence(tokens)).replace("$ ", "$")


def acceptability(draws: Draws, label: str) -> Texts:
    """Returns a sentence; label 1: it is acceptable (CoLA)."""
    words = read_json("acceptability")
    right, wrong = words["numbers"] if draws.chance(0.5) else reversed(words["numbers"])
    noun, neighbor = draws.several(words["nouns"], 2)
    forms, thing, tail, clause = (draws.one(words[name]) for name in ("verbs", "things", "tails", "clauses"))
    agreement = {"forms": forms, "thing": thing, "tail": tail, "clause": clause, "subject": noun[right["noun"]]}
    for prefix, number in (("", right), ("wrong_", wrong)):
        agreement |= {prefix + name: word for name, word in number.items()}
        agreement[f"{prefix}verb"] = forms[number["verb"]]
        agreement[f"{prefix}reflexive"] = (noun[2], "themselves")[number["noun"]]
    return (_sentence(draws.tell(words[label], {"neighbor": neighbor[:2]}, **agreement)) + ".",)


def review(draws: Draws, label: str) -> Texts:
    """Returns a tokenized lower-case film review; label 1: it is positive (SST-2).

    The main clause decides; a conceding clause or a negated word may say the contrary.
    """
    words = read_json("reviews")
    contrary = {f"contrary_{name}": options for name, options in words["tones"][str(1 - int(label))].items()}
    return (draws.tell(words[draws.weighted(words["kinds"])], words | words["tones"][label] | contrary),)


def _draw_scenes(draws: Draws) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the words for templates of two everyday scenes that have no part in common, and the parts of both."""
    words = read_json("scenes")
    parts = {part: draws.one(words[part]) for part in ("who", "look", "deed", "where")}
    for part, taken in list(parts.items()):
        alike = 2 if part in ("who", "where") else slice(None)  # by the more general word
        parts[f"other_{part}"] = draws.one([option for option in words[part] if option[alike] != taken[alike]])
    words = words | {
        "deed_alike": parts["deed"][:2],
        "where_alike": parts["where"][:2],
        "where_or_not": [f" {parts['where'][0]}", f" {parts['where'][1]}", ""],
        "where_in_any_words": parts["where"],
        "other_look_or_not": [f"{parts['other_look']} ", ""],
        "other_where_or_not": [f" {parts['other_where'][0]}", ""],
    }
    return words, parts


def scored_pair(draws: Draws, level: str) -> tuple[Texts, str]:
    """Returns two captions and their similarity, near the level `0` .. `5` (STS-B)."""
    words, parts = _draw_scenes(draws)
    captions = [draws.tell(rule, words, **parts) for rule in (words["scene"], words["scores"][level])]
    score = float(level) + draws.one((-0.4, -0.25, 0.0, 0.0, 0.2, 0.25))  # real ones are means of a few raters
    return tuple(_running_text(f"{caption} .") for caption in captions), f"{min(max(score, 0.0), 5.0):.3f}"


def genre_pair(draws: Draws, label: str, genre: str) -> Texts:
    """Returns a premise of the genre and a hypothesis (MNLI)."""
    words, parts = _draw_scenes(draws)
    premise = draws.tell(words["genres"][genre], words, **parts)
    hypothesis = draws.tell(words[label], words, **parts)
    return premise if genre == "telephone" else _running_text(premise), f"{_sentence(hypothesis)}."


def question_pair(draws: Draws, label: str) -> Texts:
    """Returns two questions; label 1: they ask the same (QQP)."""
    words = read_json("questions")
    intent, subject, place = (draws.one(words[name]) for name in ("intents", "subjects", "places"))
    first, second = draws.several(intent["same"], 2)
    other_subject = subject
    if label == "0":
        if draws.chance(0.6):
            second = draws.one(intent["different"])
        else:
            other_subject = draws.one([other for other in words["subjects"] if other != subject])
    pair = draws.several((first.format(x=subject, y=place), second.format(x=other_subject, y=place)), 2)
    return tuple(_capital(draws.one(words["openers"]) + question) for question in pair)


def answer_pair(draws: Draws, label: str) -> Texts:
    """Returns a question and a sentence that answers it, or states other facts of the same building (QNLI)."""
    words = read_json("questions")
    place = draws.one(words["landmarks"])
    asked, *others = draws.several(words["attributes"], 4)
    told = draws.several([asked, *others[:2]] if label == "entailment" else others, 3)
    phrases = [draws.one(fact["answer"]).format(v=draws.one(fact["values"])) for fact in told]
    answer = "{0}, which {1}, {2} and {3}." if draws.chance(0.4) else "{0} {1}, {2}, and {3}."
    return draws.one(asked["ask"]).format(p=place), _capital(answer.format(place, *phrases))


def pronoun_pair(draws: Draws, label: str) -> Texts:
    """Returns a sentence and its pronoun's clause with a name; label 1: the right one (WNLI)."""
    words = read_json("pronouns")
    if draws.chance(0.7):
        *names, pronoun = draws.one(words["names"])
        fillers = names = draws.several(names, 2)
        whole, clause, who = draws.one(words["of_people"])
    else:
        whole, clause, who, pairs = draws.one(words["of_things"])
        names, pronoun = draws.one(words["pairs"][pairs]), "it"
        fillers = [f"the {name}" for name in names]
    text = whole.format(*names, p=pronoun)
    for joint in (" because ", " since ", " but ", " until "):
        text = text.replace(joint, draws.one(words["asides"]) + joint, 1)
    clause = clause.format(p=fillers[who if label == "1" else 1 - who])
    return f"{_capital(text)}.", f"{_capital(clause)}."


def request(draws: Draws, topic: str) -> str:
    """Returns a request to a shop's help desk."""
    words = read_json("requests")
    asked = draws.one(words["topics"][topic])
    item, day, number = draws.one(words["items"]), draws.one(words["days"]), 2 + draws.below(9998)
    about = draws.tell(words["about"], words) if draws.chance(0.6) else ""
    parts = (draws.one(words["openings"]), about, asked.format(item=item, day=day, number=number))
    return " ".join(part for part in (*parts, draws.one(words["endings"])) if part)


class _Story:
    """An event and who takes part: `{a}` and `{b}` of its wordings, `{n}` an amount."""

    def __init__(self, draws: Draws):
        self._draws, self._words = draws, read_json("news")
        self.event = draws.one(self._words["events"])
        first = draws.one(self._words[self.event["a"]])
        self.names = {"a": first, "b": self._other("b", first), "n": self._amount()}
        # Both directions occur as the first sentence, so that no verb belongs to a class. A denial of the one can mean
        # the other (`did not approve`, `rejected`): it is used only if the event itself is stated.
        if draws.chance(0.4):
            swapped = {"same": self.event["opposite"], "opposite": self.event["same"], "negated": []}
            self.event = self.event | swapped

    def _other(self, part: str, *taken: str) -> str:
        return self._draws.one([name for name in self._words[self.event[part]] if name not in taken])

    def _amount(self) -> str:
        return self.event["n"].format(3 + self._draws.below(95))

    def tell(self, wordings: Sequence[str], **changed: str) -> str:
        return self._draws.one(wordings).format(**{**self.names, **changed})

    def differ(self, kind: str) -> str:
        """Tells another event, or that this one did not happen; `kind` is one of `differences`."""
        same = self.event["same"]
        if kind == "denial":
            if self.event["negated"] and self._draws.chance(0.15):
                return self.tell(self.event["negated"])
            return self._draws.one(self._words["denied"]).format(self.tell(same))
        if kind == "opposite":
            return self.tell(self.event["opposite"])
        if kind == "swap" and self.event["reversible"]:
            return self.tell(same, a=self.names["b"], b=self.names["a"])
        if kind == "amount":
            while (amount := self._amount()) == self.names["n"]:
                pass
            return self.tell(same, n=amount)
        part = "a" if self._draws.chance(0.5) else "b"
        return self.tell(same, **{part: self._other(part, self.names["a"], self.names["b"])})


def _draw_facts(draws: Draws) -> list[Sequence[str]]:
    """Returns wordings of a time, a source and two backgrounds.

    A pair never states two different facts of a kind, so these cannot decide a label.
    """
    words = read_json("news")
    return [draws.one(words["times"]), draws.one(words["sources"]), *draws.several(words["backgrounds"], 2)]


def _news(draws: Draws, core: str, facts: Sequence[Sequence[str]], kept: Sequence[float]) -> str:
    """Returns a sentence with the core and each of the facts (time, source, backgrounds) with its chance in `kept`."""
    time, source, *backgrounds = (
        draws.one(fact) if draws.chance(chance) else "" for fact, chance in zip(facts, kept, strict=True)
    )
    tail = [f", {background}" for background in backgrounds if background]
    leads = source.startswith("according") and draws.chance(0.5)
    if source and not leads:
        tail.append(f", {source}")
    if time and not leads and draws.chance(0.3):
        return _sentence(f"{time} , {core} {' '.join(tail)} .")
    return _sentence(f"{f'{source} , ' if leads else ''}{core} {time} {' '.join(tail)} .")


def paraphrase_pair(draws: Draws, label: str) -> Texts:
    """Returns two tokenized news sentences; label 1: they tell the same event (MRPC)."""
    words = read_json("news")
    story = _Story(draws)
    facts, same = _draw_facts(draws), story.event["same"]
    denied = draws.chance(_BOTH_DENIED)
    original = draws.one(same)
    first = original.format(**story.names)
    if denied or draws.chance(_CONFIRMED_FIRST):
        first = draws.one(words["denied" if denied else "confirmed"]).format(first)
    difference = "" if label == "1" else draws.weighted(words["differences"])
    if difference in ("", "denial"):
        reworded = draws.chance(0.75)
        second = story.tell([one for one in same if one != original]) if reworded else original.format(**story.names)
    else:
        second = story.differ(difference)
    if difference == "denial" and not denied:
        second = story.differ(difference)
    elif denied and difference != "denial":
        second = draws.one(words["denied"]).format(second)
    elif draws.chance(_CONFIRMED_SECOND):
        second = draws.one(words["confirmed"]).format(second)
    return _news(draws, first, facts, _FACTS_KEPT), _news(draws, second, facts, _FACTS_KEPT)


def inference_pair(draws: Draws, label: str) -> Texts:
    """Returns a passage of two sentences and a statement about it (RTE)."""
    words = read_json("news")
    story, aside = _Story(draws), _Story(draws)
    time, source, *backgrounds = _draw_facts(draws)
    passage = [
        _news(draws, told.tell(told.event["same"]), (time, source, background), (0.9, 0.9, 0.9))
        for told, background in zip((story, aside), backgrounds, strict=True)
    ]
    if draws.chance(0.5):
        passage.reverse()
    difference = draws.weighted(words["differences"])
    if label != "entailment":
        statement = story.differ(difference)
    else:
        statement = story.tell(story.event["same"])
        if draws.chance(_CONFIRMED_SECOND):
            statement = draws.one(words["confirmed"]).format(statement)
    return _running_text(" ".join(passage)), _running_text(f"{_sentence(statement)} .")


WRITERS = {
    "CoLA": acceptability,
    "SST-2": review,
    "MRPC": paraphrase_pair,
    "QQP": question_pair,
    "QNLI": answer_pair,
    "RTE": inference_pair,
    "WNLI": pronoun_pair,
}
