"""Rows of the original GLUE files, spelled out column by column."""

import dataclasses

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts

PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
_MNLI = ("index", "promptID", "pairID", "genre", *PARSES, "sentence1", "sentence2")
_STS = ("index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2")
_MRPC = ("#1 ID", "#2 ID", "#1 String", "#2 String")
_PAIR = ("index", "sentence1", "sentence2")

# Column names by folder, for train, dev and test; None where the file begins with its first row.
HEADERS: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...] | None, tuple[str, ...]]] = {
    "CoLA": (None, None, ("index", "sentence")),
    "SST-2": (("sentence", "label"), ("sentence", "label"), ("index", "sentence")),
    "MRPC": (("Quality", *_MRPC), ("Quality", *_MRPC), ("index", *_MRPC)),
    "STS-B": ((*_STS, "score"), (*_STS, "score"), _STS),
    "QQP": (
        ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        ("id", "question1", "question2"),
    ),
    "MNLI": (
        (*_MNLI, "label1", "gold_label"),
        (*_MNLI, "label1", "label2", "label3", "label4", "label5", "gold_label"),
        _MNLI,
    ),
    "QNLI": (
        ("index", "question", "sentence", "label"),
        ("index", "question", "sentence", "label"),
        ("index", "question", "sentence"),
    ),
    "RTE": ((*_PAIR, "label"), (*_PAIR, "label"), _PAIR),
    "WNLI": ((*_PAIR, "label"), (*_PAIR, "label"), _PAIR),
}
SPLITS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True)
class Example:
    """Texts, the label as the file spells it, and the genre where the task has one."""

    texts: Texts
    label: str
    genre: str = ""


def file_text(folder: str, split: str, examples: list[Example], choices: Choices) -> str:
    """Returns the contents of the split's file; `choices` draws the identifiers."""
    header = HEADERS[folder][SPLITS.index(split)]
    rows = [_row(folder, split, index, example, choices) for index, example in enumerate(examples)]
    lines = ["\t".join(row) for row in ([header] if header else []) + rows]
    mark = "\ufeff" if folder == "MRPC" and split != "test" else ""
    # CoLA's test file alone ends with a line feed, of the three.
    end = "" if folder == "CoLA" and split != "test" else "\n"
    return mark + "\n".join(lines) + end


def _row(folder: str, split: str, index: int, example: Example, choices: Choices) -> tuple[str, ...]:
    texts, label, number, test = example.texts, example.label, str(index), split == "test"
    if folder == "CoLA":
        return (number, *texts) if test else ("gen1", label, "" if label == "1" else "*", *texts)
    if folder == "SST-2":
        return (number, *texts) if test else (f"{texts[0]} ", label)
    if folder == "MRPC":
        identifiers = (_identifier(choices), _identifier(choices))
        return (number if test else label, *identifiers, *texts)
    if folder == "STS-B":
        row = (number, "main-captions", "generated", f"2012{split}", f"{index:04d}", "none", "none", *texts)
        return row if test else (*row, label)
    if folder == "QQP":
        return (number, *texts) if test else (*(_identifier(choices) for _ in range(3)), *texts, label)
    if folder == "MNLI":
        return _mnli_row(split, number, example, _identifier(choices))
    return (number, *texts) if test else (number, *texts, label)


def _mnli_row(split: str, number: str, example: Example, prompt: str) -> tuple[str, ...]:
    pair = prompt if split == "test" else prompt + example.label[0]
    binary = [_binary_parse(text) for text in example.texts]
    flat = [f"(ROOT (X {' '.join(f'(X {word})' for word in text.split())}))" for text in example.texts]
    raters = {"train": 1, "dev": 5, "test": 0}[split]
    gold = (example.label,) if raters else ()
    return (number, prompt, pair, example.genre, *binary, *flat, *example.texts, *(example.label,) * raters, *gold)


def _binary_parse(text: str) -> str:
    words = text.split()
    return "".join(f"( {word} " for word in words[:-1]) + words[-1] + " )" * (len(words) - 1)


def _identifier(choices: Choices) -> str:
    return str(100000 + choices.below(3000000))
