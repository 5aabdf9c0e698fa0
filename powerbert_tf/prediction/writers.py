"""Tables of answers, as CSV, JSON lines or Parquet: the columns of the input, the prediction, the probabilities."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables import Row
from powerbert_tf.prediction.answers import Answers, answer_text

# Before Python 3.13, the csv module does not quote a carriage return, and then some readers reject the file.
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


@dataclasses.dataclass(frozen=True)
class AnswerTable:
    """Format and columns of the files of answers.

    Attributes:
        form: `"csv"`, `"jsonl"` or `"parquet"`.
        columns: Columns of the input.
        answer_columns: From `answers.answer_columns`.
        schema: The `pyarrow.Schema` of an input that has one; without it, Parquet has the input's columns as texts.
        is_choice: Whether `columns` are some of the input's, and others of a JSON line are left out, too.
    """

    form: str
    columns: Sequence[str]
    answer_columns: Sequence[str]
    schema: Any = None
    is_choice: bool = False

    def open(self, path: Path) -> "Writer":
        """Opens a file; `write` adds rows, and `close` ends it.

        Raises:
            OSError: It cannot be written.
        """
        if self.form == "parquet":
            return _ParquetWriter(path, self)
        if self.form == "csv":
            return _TextWriter(path, self._csv_row, _csv_line([*self.columns, *self.answer_columns]))
        return _TextWriter(path, self._json_row)

    def _csv_row(self, row: Row, answer: Sequence[Any]) -> str:
        cells = [row.cells.get(column) or "" for column in self.columns]
        return _csv_line([*cells, *map(answer_text, answer)])

    def _json_row(self, row: Row, answer: Sequence[Any]) -> str:
        content = row.cells if row.values is None else row.values
        if self.is_choice:
            content = {column: content.get(column) for column in self.columns}
        added = dict(zip(self.answer_columns, answer, strict=True))
        try:
            return json.dumps({**content, **added}, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
        except ValueError:  # JSON has no NaN and no infinity
            finite = {key: row.cells[key] if _is_not_finite(value) else value for key, value in content.items()}
            return json.dumps({**finite, **added}, ensure_ascii=False, default=_plain) + "\n"


class _TextWriter:
    def __init__(self, path: Path, line: Callable[[Row, Sequence[Any]], str], header: str = ""):
        self._line = line
        self._file = path.open("w", encoding="utf-8", newline="")
        self._file.write(header)

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        found = zip(rows, answers.predictions, answers.probabilities.tolist(), strict=True)
        self._file.write("".join([self._line(row, [first, *others]) for row, first, others in found]))

    def close(self) -> None:
        self._file.close()


def _csv_line(cells: Sequence[str]) -> str:
    quoted = ('"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _ParquetWriter:
    """Writes a row group for each window."""

    def __init__(self, path: Path, table: AnswerTable):
        self._path = path
        self._typed = table.schema is not None
        fields = map(_plain_field, table.schema) if self._typed else ((n, pyarrow.string()) for n in table.columns)
        self._fields = pyarrow.schema(fields)
        self._answer_columns = table.answer_columns
        self._writer: Any = None

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        """Adds rows.

        Raises:
            InputError: A value does not fit the type of its column.
        """

        def value(row: Row, name: str) -> Any:
            return row.values[name] if self._typed and row.values else row.cells.get(name)

        try:
            arrays = [pyarrow.array([value(row, f.name) for row in rows], type=f.type) for f in self._fields]
        except pyarrow.ArrowException as error:
            raise InputError(
                f"{rows[0].place}: cannot be written as Parquet ({' '.join(str(error).split())[:200]}); expected "
                "--predict_format=jsonl."
            ) from None
        arrays += [pyarrow.array(answers.predictions, type=self._kind(answers))]
        arrays += [pyarrow.array(column, type=pyarrow.float64()) for column in answers.probabilities.T]
        table = pyarrow.Table.from_arrays(arrays, names=[*self._fields.names, *self._answer_columns])
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(str(self._path), table.schema, compression="zstd")
        self._writer.write_table(table)

    def _kind(self, answers: Answers) -> Any:
        if not answers.probabilities.shape[1]:
            return pyarrow.float64()
        return pyarrow.list_(pyarrow.string()) if isinstance(answers.predictions[0], list) else pyarrow.string()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


Writer = _TextWriter | _ParquetWriter


def _plain_field(field: Any) -> Any:
    """The field without a dictionary, whose values could differ from file to file."""
    kind = field.type
    return pyarrow.field(field.name, kind.value_type if pyarrow.types.is_dictionary(kind) else kind)
