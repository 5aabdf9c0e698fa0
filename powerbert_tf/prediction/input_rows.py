"""The rows to answer, from the first one or from where an earlier run stopped."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data import tables
from powerbert_tf.data.rejected_rows import require_columns, row_problem
from powerbert_tf.prediction.answers import answer_columns
from powerbert_tf.prediction.writers import AnswerTable

_TABLES_OF_STANDARD_INPUT = tuple(tables.STANDARD_INPUT + suffix for suffix in (".csv", ".tsv", ".jsonl"))
_FLAG = "predict_file"


@dataclasses.dataclass(frozen=True)
class Place:
    """How far the input has been read.

    Attributes:
        file: Number of files that have been read completely.
        rows: Number of rows taken from the next file, rejected ones included.
        read_bytes: Bytes read from all files together, as far as their sizes are known.
    """

    file: int = 0
    rows: int = 0
    read_bytes: int = 0


def find_input(given: str) -> list[str]:
    """The files of `--predict_file`, or `-`, `-.csv`, `-.tsv` or `-.jsonl` for standard input.

    Raises:
        InputError: There is no such file.
    """
    return [given] if _is_standard_input(given) else tables.find_files(given, _FLAG)


def _is_standard_input(path: str) -> bool:
    return path == tables.STANDARD_INPUT or path in _TABLES_OF_STANDARD_INPUT


class InputRows:
    """The rows of files that have the same columns.

    Attributes:
        columns: All columns of the input; for JSON lines, those of the first row.
        is_uniform: Whether each row has exactly these columns.
        read_as: How the first file is read, for the user; empty for Parquet.
        texts: Columns of the one or two texts.
        answer_columns: Columns of the answers, which the input may not have.

    Args:
        paths: The files, from `find_input`.
        texts: Columns of the one or two texts; an empty name for one that is not known.
        table_format: See `tables.open_table`.
        classes: Classes of the answers; empty for a regression.
        form: Format of the answers; `"jsonl"` allows JSON lines with different keys.
        kept: Columns of the input that stand beside the answers; none for all.

    Raises:
        InputError: A file or a column is missing, or the columns differ.
    """

    def __init__(
        self,
        paths: Sequence[str],
        texts: Sequence[str],
        table_format: tables.TableFormat,
        classes: Sequence[str],
        form: str,
        kept: Sequence[str] = (),
    ):
        self._table_format = table_format
        self._form = form
        self._kept = tuple(kept)
        self.texts = tuple(texts)
        self.answer_columns = answer_columns(classes)
        self.paths = tuple(paths)
        self.from_standard_input = _is_standard_input(paths[0])
        self._sizes = [
            0 if os.path.isdir(path) or self.from_standard_input else os.path.getsize(path) for path in self.paths
        ]
        first = self._open(0)
        # Opening standard input twice would lose what has been read of it.
        self._opened: tables.OpenTable | None = first
        self.columns, self.is_uniform, self.read_as = first.columns, first.uniform, first.read_as
        self.texts = tuple(map(first.name_of, self.texts))
        self._check_columns(first)

    def _open(self, number: int) -> tables.OpenTable:
        path = self.paths[number]
        if path == tables.STANDARD_INPUT:
            return tables.open_text_lines(self.texts, self._table_format.encoding)
        return tables.open_table(path, self._table_format, typed=True)

    def _check_columns(self, table: tables.OpenTable) -> None:
        for flag, column in zip(("text_column", "text_pair_column"), self.texts, strict=False):
            if not column:
                raise InputError(f"--{flag}: missing; {table.expected}.")
            if problem := table.column_problem(column):
                raise InputError(f"--{flag}={column}: {problem}.")
        for column in self._kept:
            if problem := table.column_problem(column):
                raise InputError(f"--predict_columns={column}: {problem}.")
        taken = [column for column in self._kept or table.columns if column in self.answer_columns]
        if taken and table.uniform:
            raise InputError(
                f"{table.file}:1: has a column {taken[0]!r}, which is a column of the answers; rename or remove it."
            )
        if self.is_uniform and table.uniform and set(table.columns) != set(self.columns):
            differ = sorted({*table.columns} ^ {*self.columns})
            raise InputError(
                f"{table.file}:1: the columns differ from those of {self.paths[0]}: {', '.join(differ)}; expected the "
                "same columns in all files."
            )

    def rows(self, start: Place, stop: int | None = None) -> Iterator[tuple[Place, tables.Row]]:
        """Yields each row with the place after it; a row that cannot be used has a `problem`.

        Args:
            start: Where to begin.
            stop: The file before which to end; None for the end of all files.

        Raises:
            InputError: A file is damaged, has other columns, or has fewer rows than were taken from it before.
        """
        for number in range(start.file, len(self.paths) if stop is None else stop):
            table = self._opened if number == 0 and self._opened is not None else self._open(number)
            self._opened = None
            self._check_columns(table)
            require_columns(table, self.texts)
            before, taken = sum(self._sizes[:number]), 0
            skipped = start.rows if number == start.file else 0
            for row in table.rows:
                taken += 1
                if taken > skipped:
                    problem = row.problem or self._problem(row)
                    place = Place(number, taken, before + table.meter.read_bytes)
                    yield place, row.rejected(problem) if problem else row
            if taken < skipped:
                raise InputError(
                    f"{table.file}: has {counted(taken, 'row')}; an interrupted run took {skipped} of them before."
                )

    def _problem(self, row: tables.Row) -> str:
        problem = row_problem(row, self.texts)
        if problem or self.is_uniform:
            return problem
        for key in self._kept or row.cells:
            if key in self.answer_columns:
                return f"has the key {key!r}, which is a column of the answers"
            if self._form != "jsonl" and key not in self.columns:
                return f"has the key {key!r}, which the first row does not have; --predict_format=jsonl takes any"
        return ""

    @property
    def total_bytes(self) -> int | None:
        """Size of all files; None if it is not known."""
        return sum(self._sizes) if all(self._sizes) else None

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema` of Parquet files, the same for all; None for other files.

        Raises:
            InputError: The schemas of two files differ.
        """
        if not all(map(tables.is_parquet, self.paths)):
            return None
        first = tables.read_schema(self.paths[0])
        for path in self.paths[1:]:
            if not tables.read_schema(path).equals(first):
                raise InputError(
                    f"{path}: has another schema than {self.paths[0]}; Parquet answers need one schema for all files."
                )
        return first

    @property
    def table(self) -> AnswerTable:
        """Format and columns of the answers.

        Raises:
            InputError: The answers are Parquet, and the schemas of two files differ.
        """
        schema = self.schema if self._form == "parquet" else None
        if schema is not None and self._kept:
            schema = pyarrow.schema([schema.field(name) for name in self._kept])
        return AnswerTable(self._form, self._kept or self.columns, self.answer_columns, schema, bool(self._kept))

    def describe(self) -> list[dict[str, Any]]:
        """Path, size and time of change of each file, which identify the input without reading it."""
        standard = self.from_standard_input
        return [
            {
                "file": path if standard else os.path.abspath(path),
                "bytes": size,
                "changed_ns": 0 if standard else os.stat(path).st_mtime_ns,
            }
            for path, size in zip(self.paths, self._sizes, strict=True)
        ]

    @property
    def name(self) -> str:
        """Name of the default folder of the answers."""
        if self.from_standard_input:
            return "standard_input"
        first = Path(self.paths[0]).resolve()
        return first.name.split(".")[0] if len(self.paths) == 1 else first.parent.name
