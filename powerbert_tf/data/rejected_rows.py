"""Rows that cannot be used: why, and `rejected.jsonl`, which keeps them whole with file, line and reason."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import replacing
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables import OpenTable, Row
from powerbert_tf.data.text_columns import TextWriter

REJECTED_FILE = "rejected.jsonl"
LONGEST_TEXT = 1_000_000  # characters; a longer text is a sign of a missing quote
_MOST_NAMED = 5  # rows in a message
# What to do about a problem, by words in it.
_OF_DELIMITERS = "Fix them, or pass another --delimiter, or --quoting=none if a quote is an ordinary character"
_ADVICE = {
    "JSON list": "Fix them, or pass --columns with the names of the cells",
    "not a JSON": "Fix them, or give the file the name of its format, such as .csv",
    "none of": "Fix them, name another --label_column, or list all classes in a task.json",
    "byte 0x": "Fix them, or pass another --encoding, such as cp1252",
    "NUL": "Fix them, or pass another --encoding, such as utf-16-le",
    " cell": _OF_DELIMITERS,
    "quote": _OF_DELIMITERS,
}


def require_columns(table: OpenTable, columns: Sequence[str]) -> None:
    """Checks that a table has these columns, if all its rows have the same.

    Raises:
        InputError: A column is missing, or several have its name.
    """
    for column in columns:
        if problem := table.column_problem(column):
            raise InputError(f"column {column!r}: {problem}.")


def row_problem(row: Row, texts: Sequence[str]) -> str:
    """Returns why a model cannot read the texts of a row; empty if it can. One text of a pair may be empty."""
    are_empty = True
    for column in texts:
        if column not in row.cells:
            return f"no {column}"
        text = row.cells[column] or ""
        if len(text) > LONGEST_TEXT:
            return f"{column} has {len(text):,} characters; expected at most {LONGEST_TEXT:,}"
        are_empty = are_empty and not text.strip()
    return f"{' and '.join(texts)} {'is' if len(texts) == 1 else 'are'} empty" if are_empty else ""


class RejectedRows(Sequence[Row]):
    """A list of rejected rows, which goes to a temporary file when it grows large."""

    def __init__(self) -> None:
        self._writer = TextWriter()
        self._lines: Sequence[str] | None = None

    def append(self, row: Row) -> None:
        """Adds a row, with its problem."""
        self._writer.append(json.dumps(row.to_json()))

    def __len__(self) -> int:
        return len(self._writer)

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if self._lines is None or len(self._lines) < len(self):
            self._lines = self._writer.finish()
        lines = self._lines[at]
        return _read_row(lines) if isinstance(lines, str) else [_read_row(line) for line in lines]


def _read_row(line: str) -> Row:
    value = json.loads(line)
    return Row(value["file"], value["line"], value.get("row", {}), value["reason"], value.get("raw", ""))


def write_rejected(folder: Path, rows: Sequence[Row]) -> None:
    r"""Writes one JSON object per row; without rows, removes an earlier file.

    Bytes that are not UTF-8 are spelled as Python's `surrogateescape` does, byte 0xE9 as `\udce9`.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / REJECTED_FILE
    if not rows:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as partial, partial.open("w", encoding="ascii") as file:
        file.writelines(map(rejected_line, rows))


def rejected_line(row: Row) -> str:
    """Returns a row as a line of `rejected.jsonl`."""
    return json.dumps(row.to_json()) + "\n"


def read_rejected(path: Path) -> list[Row]:
    """Reads the first rows of a `rejected.jsonl`, as many as a message names."""
    with path.open(encoding="ascii") as file:
        return [_read_row(line) for line in itertools.islice(file, _MOST_NAMED)]


def name_rows(rejected: Sequence[Row], count: int) -> str:
    """Returns the places of the first of `count` rows, each with its problem."""
    named = "; ".join(f"{row.place}: {row.problem}" for row in rejected[:_MOST_NAMED])
    return f"{named}; and {count - _MOST_NAMED:,} more" if count > _MOST_NAMED else named


def bad_rows_message(rejected: Sequence[Row], num_rows: int = 0) -> str:
    """Returns a message that names the first rows and says what to do.

    Args:
        rejected: The rows.
        num_rows: Number of all rows. Where most are rejected, something is wrong with the file, and leaving them out
            is no way.
    """
    problem = rejected[0].problem
    advice = next((advice for sign, advice in _ADVICE.items() if sign in problem), "")
    if 2 * len(rejected) > num_rows > 0:
        share = f"{len(rejected):,} of {counted(num_rows, 'row')}"
        return f"{share} cannot be used; {rejected[0].place}: {problem}. {advice or 'Fix the file'}."
    named = name_rows(rejected, len(rejected))
    skipping = "pass --on_bad_row=skip to leave them out and find them in rejected.jsonl"
    return f"{counted(len(rejected), 'row')} cannot be used: {named}. {advice or 'Fix them'}, or {skipping}."
