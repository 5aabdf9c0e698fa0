"""README is short, and each number in it is one of those that a benchmark has written."""

import json
import re

import pytest
from conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
RESULTS = REPOSITORY / "benchmarks" / "results"
# Names with digits in them, and settings: no measurements.
NAMES = r"SST-2|F1|Apache-2\.0|ICML\s2020|int8|batches of 32"
_LINES_OF = re.compile(r"<!-- lines of (\S+) -->\n```\n(.*?)```", flags=re.DOTALL)


def accuracy(task: str, model: str = "rows and widths") -> dict:
    """A row of `python -m benchmarks.accuracy`."""
    rows = json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))["rows"]
    (row,) = [row for row in rows if (row["task"], row["model"]) == (task, model)]
    return row


def in_table(task: str, model: str = "rows and widths", speedup: str = "speedup at 32") -> list[str]:
    """The numbers of a row: fine-tuned, faster, points lost, times faster."""
    row = accuracy(task, model)
    return [
        f"{accuracy(task, 'dense')['value']:.3f}",
        f"{row['value']:.3f}",
        f"{100 * row['lost']:.1f}",
        f"{row[speedup]:.1f}",
    ]


def in_a_sentence(task: str) -> list[str]:
    """Times faster, and points lost."""
    _, _, lost, faster = in_table(task)
    return [faster, lost]


# How a paragraph or a row of a table begins -> its numbers, in order.
TRACED = {
    "`powerbert_tf` makes": [*in_a_sentence("STS-B"), *in_a_sentence("MRPC")],
    "| STS-B, Spearman": in_table("STS-B"),
    "| SST-2, accuracy": in_table("SST-2"),
    "| MRPC, F1": in_table("MRPC"),
    "| CoLA, MCC, one text at a time, word-vectors only": in_table("CoLA", "rows alone", "speedup at 1"),
}


def numbers(text: str) -> list[str]:
    """Numbers of a text that are neither code, nor an address, nor part of a name."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)
    return re.findall(r"\d+(?:\.\d+)?", re.sub(NAMES, " ", text))


def paragraphs() -> list[str]:
    """Paragraphs and rows of tables, without blocks and comments."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", README, flags=re.DOTALL)
    return [part for part in re.split(r"\n\n+|\n(?=\|)", text) if part.strip()]


def test_it_is_read_in_a_minute():
    assert README.count("\n") <= 120


def test_each_number_is_measured():
    found = {part: numbers(part) for part in paragraphs() if numbers(part)}
    for part, shown in found.items():
        (begins,) = [begins for begins in TRACED if part.strip().startswith(begins)] or [None]
        assert begins, f"{part!r}: no source in TRACED"
        assert shown == TRACED[begins], part
    assert len(found) == len(TRACED)


@pytest.mark.parametrize(("file", "lines"), _LINES_OF.findall(README))
def test_each_output_is_recorded(file, lines):
    recorded = json.loads((REPOSITORY / file).read_text(encoding="utf-8"))
    for kind in ("console", "explain"):
        if lines.splitlines()[0] in recorded[kind]:
            rest = iter(recorded[kind])
            # Each is found behind the one before it.
            assert all(line in rest for line in lines.splitlines() if line != "...")
            return
    raise AssertionError(f"{lines.splitlines()[0]}: not in {file}")


def test_each_output_has_its_file():
    opening = re.findall(r"^```\w*$", README, flags=re.MULTILINE)[::2]
    assert opening.count("```") == len(_LINES_OF.findall(README)) == 2


def test_the_recorded_command_is_that_of_the_page():
    recorded = json.loads((RESULTS / "requests.json").read_text(encoding="utf-8"))
    assert f"\n{recorded['command']}\n" in README
