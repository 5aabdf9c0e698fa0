"""One row of a table, and what makes a text unfit to read."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from powerbert_tf.data.tables.lines import Meter

Cells = dict[str, str | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row, readable or not.

    Attributes:
        file: Where it stands.
        line: Line of the file in which it begins, from 1; of a Parquet file, the number of the row.
        cells: Column -> text as the file has it; None for a value that is missing (null or NaN). Empty where the row
            cannot be read.
        problem: Why it cannot be used; empty where it can.
        raw: What the file has there, where there are no cells.
        values: The cells as JSON or Parquet types them, where a table was opened for that; else None.
    """

    file: str
    line: int
    cells: Cells
    problem: str = ""
    raw: str = ""
    values: Mapping[str, Any] | None = None

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    def rejected(self, problem: str) -> "Row":
        """The row with a problem."""
        return dataclasses.replace(self, problem=problem)

    def to_json(self) -> dict[str, Any]:
        """File, line, reason, and all that the file has there."""
        content = {"row": self.cells} if self.cells else {"raw": self.raw}
        return {"file": self.file, "line": self.line, "reason": self.problem, **content}


@dataclasses.dataclass(frozen=True)
class Table:
    """A file that is being read.

    Attributes:
        file: Its path.
        columns: Names of its columns; of JSON lines, the keys of the first row that can be read.
        rows: Its rows, in order; read as they are taken.
        uniform: Whether each row that can be read has all columns, as it need not in JSON lines.
        meter: How much of the file has been read.
    """

    file: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    uniform: bool = True
    meter: Meter = dataclasses.field(default_factory=Meter)


def text_problem(text: str) -> str:
    """What a text holds that no text should, empty where it is in order.

    Args:
        text: Decoded with `surrogateescape`, or from a file format that can spell half a surrogate pair.
    """
    if "\0" in text:
        return "a NUL character"
    if text.isascii():
        return ""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} is not UTF-8"
        return f"half of a surrogate pair, U+{code:04X}"
    return ""


def cell_text(value: Any) -> str | None:
    """A typed value as text: a whole number without a fraction, a null and NaN as None, a nested value as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        # Pandas turns a column of whole numbers into floats where one is missing.
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
