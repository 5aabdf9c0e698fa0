"""One row of a table, and the table that it is read from."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

ENCODING = "utf-8"
Cells = dict[str, str | None]
_MOST_LISTED = 20  # columns in a message


@dataclasses.dataclass(frozen=True)
class TableFormat:
    """What is known about the tables of files.

    Attributes:
        delimiter: Between cells; empty to find it.
        encoding: Of the text; empty to find it.
        columns: Names of the columns of a table without a header; empty for one with a header.
        quoted: Whether cells of CSV and TSV may be quoted; otherwise a quote is an ordinary character.
    """

    delimiter: str = ""
    encoding: str = ""
    columns: tuple[str, ...] = ()
    quoted: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row, readable or not.

    Attributes:
        file: Path of its file.
        line: Line of the file in which it begins, from 1; in Parquet and in a JSON document, the number of the row.
        cells: Column -> text as the file has it; None for a missing value (null or NaN). Empty if the row cannot be
            read.
        problem: Why the row cannot be used; empty if it can.
        raw: The text of a row without cells.
        values: The cells with their types in JSON or Parquet, if the table was opened for that; else None.
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
        """Returns the row with a problem."""
        return dataclasses.replace(self, problem=problem)

    def checked(self, encoding: str = ENCODING) -> "Row":
        """Returns the row, rejected if a name or a cell holds what no text should."""
        texts = filter(None, (*self.cells, *self.cells.values()))
        problem = next(filter(None, (text_problem(text, encoding) for text in texts)), "")
        return self.rejected(problem) if problem else self

    def to_json(self) -> dict[str, Any]:
        """Returns file, line, problem and the cells, or else the raw text, as JSON values."""
        content = {"row": self.cells} if self.cells else {"raw": self.raw}
        return {"file": self.file, "line": self.line, "reason": self.problem, **content}


class Meter:
    """Measures how much of a file has been read, in bytes on the disk, compressed or not; 0 where that is not known."""

    def __init__(self) -> None:
        self.position = 0

    @property
    def read_bytes(self) -> int:
        return self.position


@dataclasses.dataclass(frozen=True)
class OpenTable:
    """A table that is being read.

    Attributes:
        file: Its path.
        columns: Names of its columns; for JSON lines, the keys of the first row that can be read.
        rows: Its rows, in order, read as they are taken.
        uniform: Whether each row that can be read has all columns; rows of JSON lines need not.
        meter: Measures how much of the file has been read.
        doubled: Names that several columns share; the columns are `name`, `name.1` and so on, as in pandas.
        read_as: How the file was read, such as its delimiter, for the user.
        class_names: Column -> names of its classes in the order of their numbers, where the file tells them.
    """

    file: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    uniform: bool = True
    meter: Meter = dataclasses.field(default_factory=Meter)
    doubled: frozenset[str] = frozenset()
    read_as: str = ""
    class_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def name_of(self, given: str) -> str:
        """Returns the column that a flag names, with or without the blanks that its header has around it."""
        return given if given in self.columns or given.strip() not in self.columns else given.strip()

    def column_problem(self, column: str) -> str:
        """Returns why a column cannot be read; empty if it can."""
        if column in self.doubled:
            return f"{self.file} has several columns of that name; rename one"
        if column in self.columns or not self.uniform:
            return ""
        return f"no such column; {self.expected}"

    @property
    def expected(self) -> str:
        """The columns that a flag may name, and what to do if there are no names."""
        more = f" and {len(self.columns) - _MOST_LISTED} more" if len(self.columns) > _MOST_LISTED else ""
        listed = ", ".join(map(repr, self.columns[:_MOST_LISTED])) + more
        hint = ""
        if self.uniform and self.read_as:
            other = "--delimiter if it is another one, or " if len(self.columns) == 1 else ""
            hint = f"; pass {other}--columns if the file has no header"
        return f"expected one of the columns of {self.file}: {listed}{hint}"


def column_names(header: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Returns the names that pandas gives columns, without blanks around them, and the names that several share."""
    names: dict[str, None] = {}
    doubled = set()
    for number, given in enumerate(header):
        name = unique = given.strip() or f"Unnamed: {number}"
        count = 0
        while unique in names:
            doubled.add(name)
            count += 1
            unique = f"{name}.{count}"
        names[unique] = None
    return tuple(names), frozenset(doubled)


def text_problem(text: str, encoding: str = ENCODING) -> str:
    """Returns what a text holds that no text should; empty if there is nothing.

    It was decoded from `encoding` with `surrogateescape`, or its format can spell half a surrogate pair.
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
            return f"byte 0x{code - 0xDC00:02x} is not {encoding.upper()}"
        return f"half of a surrogate pair, U+{code:04X}"
    return ""


def cell_text(value: Any) -> str | None:
    """Returns a typed value as text: whole numbers without a fraction, null and NaN as None, nested values as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        # pandas turns a column of whole numbers into floats if one is missing.
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
