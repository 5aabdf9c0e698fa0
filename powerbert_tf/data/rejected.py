"""`rejected.jsonl`: rows that were left out, whole, with file, line and reason, so that nothing is lost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from powerbert_tf.common.files import replacing
from powerbert_tf.data.tables import Row
from powerbert_tf.data.text_columns import TextWriter

REJECTED_FILE = "rejected.jsonl"
_MOST_NAMED = 5  # in a message


class RejectedRows(Sequence[Row]):
    """Rows that are left out, in a file where they are many: one more can be added until they are read."""

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
    r"""Writes an object a row; removes an earlier file where there are none.

    Bytes that are not UTF-8 are spelled as Python's `surrogateescape` does, byte 0xE9 as `\udce9`.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / REJECTED_FILE
    if not rows:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as partial, partial.open("w", encoding="ascii") as file:
        for row in rows:
            file.write(rejected_line(row))


def rejected_line(row: Row) -> str:
    """A row as a line of the file."""
    return json.dumps(row.to_json()) + "\n"


def bad_rows_message(rejected: Sequence[Row]) -> str:
    """Names the first bad rows, and says what can be done."""
    named = "; ".join(f"{row.place}: {row.problem}" for row in rejected[:_MOST_NAMED])
    more = f"; and {len(rejected) - _MOST_NAMED} more" if len(rejected) > _MOST_NAMED else ""
    return (
        f"{len(rejected)} rows cannot be used: {named}{more}. Mend them, or pass --on_bad_row=skip to leave them out "
        "and find them in rejected.jsonl."
    )
