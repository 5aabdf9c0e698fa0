"""Each row of docs/compatibility.md names a test that is there."""

import re

import pytest
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "compatibility.md").read_text(encoding="utf-8")
FILES = {path.stem: path for path in (REPOSITORY / "tests").rglob("test_*.py")}


def tables(page):
    """The rows of each table below its header, as lists of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        header, rule, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in block.splitlines()
        ]
        assert header[-1] == "test"
        assert set("".join(rule)) == {"-"}
        assert all(len(row) == len(header) for row in rows), header
        found += rows
    return found


ROWS = tables(PAGE)


def test_the_page_has_its_parts():
    parts = re.findall(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    assert parts[:4] == ["Checkpoints", "Tokenizers", "Long pairs", "Tables and labels"]
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_row_is_a_test(row):
    file, name = re.fullmatch(r"`(test_\w+)::(test_\w+)`", row[-1]).groups()
    assert re.search(rf"^def {name}\(", FILES[file].read_text(encoding="utf-8"), flags=re.MULTILINE), row[-1]
