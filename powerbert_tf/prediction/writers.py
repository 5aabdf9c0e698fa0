"""Files of answers: the input's columns, the prediction, the probabilities; as CSV, JSON lines or Parquet.

Answers as Parquet, a row group a window.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables import Row
from powerbert_tf.prediction.answers import Answers

# The csv module leaves a carriage return without quotes before Python 3.13, and then not all readers take it.
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


class Writer(Protocol):
    """Writes one file."""

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Ends the file."""


class _CsvWriter:
    def __init__(self, path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any):
        self._columns = columns
        self._file = path.open("w", encoding="utf-8", newline="")
        self._file.write(_csv_line([*columns, *answer_columns]))

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        lines = []
        for row, prediction, probabilities in zip(
            rows, answers.predictions, answers.probabilities.tolist(), strict=True
        ):
            cells = [row.cells.get(column) or "" for column in self._columns]
            answer = prediction if isinstance(prediction, str) else f"{prediction:.6f}"
            lines.append(_csv_line([*cells, answer, *(f"{value:.6f}" for value in probabilities)]))
        self._file.write("".join(lines))

    def close(self) -> None:
        self._file.close()


def _csv_line(cells: Sequence[str]) -> str:
    return ",".join(_quoted(cell) if _NEEDS_QUOTES.search(cell) else cell for cell in cells) + "\n"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


class _JsonLinesWriter:
    def __init__(self, path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any):
        self._answer_columns = answer_columns
        self._file = path.open("w", encoding="utf-8", newline="")

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        lines = []
        for row, prediction, probabilities in zip(
            rows, answers.predictions, answers.probabilities.tolist(), strict=True
        ):
            answer = dict(zip(self._answer_columns, [prediction, *probabilities], strict=True))
            lines.append(_json_line(row, answer))
        self._file.write("".join(lines))

    def close(self) -> None:
        self._file.close()


def _json_line(row: Row, answer: dict[str, Any]) -> str:
    content = row.cells if row.values is None else row.values
    try:
        return json.dumps({**content, **answer}, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    except ValueError:  # NaN and infinity, which JSON has not
        finite = {key: row.cells[key] if _is_not_finite(value) else value for key, value in content.items()}
        return json.dumps({**finite, **answer}, ensure_ascii=False, default=_plain) + "\n"


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _parquet_writer(path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any) -> Writer:
    # Its library is loaded where it is needed.

    return ParquetWriter(path, columns, answer_columns, schema)


_WRITERS: dict[str, Callable[..., Writer]] = {"csv": _CsvWriter, "jsonl": _JsonLinesWriter, "parquet": _parquet_writer}


def open_writer(form: str, path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any) -> Writer:
    """Opens a file of answers.

    Args:
        form: `"csv"`, `"jsonl"` or `"parquet"`.
        path: The file.
        columns: Of the input.
        answer_columns: Of the answers, from `predictions.answer_columns`.
        schema: The input's `pyarrow.Schema`, where it has one; without it, its columns are texts in Parquet.

    Raises:
        OSError: It cannot be written.
    """
    return _WRITERS[form](path, columns, answer_columns, schema)


class ParquetWriter:
    """A `writers.Writer`; arguments as of `writers.open_writer`."""

    def __init__(self, path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any):
        self._path = path
        self._typed = schema is not None
        fields = (
            [_plain_field(field) for field in schema] if self._typed else [(name, pyarrow.string()) for name in columns]
        )
        self._fields = pyarrow.schema(fields)
        self._answer_columns = answer_columns
        self._writer: Any = None

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        """Adds rows.

        Raises:
            InputError: A value does not fit the type of its column.
        """
        try:
            arrays = [
                pyarrow.array(
                    [
                        row.values[field.name] if self._typed and row.values else row.cells.get(field.name)
                        for row in rows
                    ],
                    type=field.type,
                )
                for field in self._fields
            ]
        except pyarrow.ArrowException as error:
            raise InputError(
                f"{rows[0].place}: cannot be written as Parquet ({' '.join(str(error).split())[:200]}); expected "
                "--predict_format=jsonl."
            ) from None
        kind = pyarrow.string() if answers.probabilities.shape[1] else pyarrow.float64()
        arrays += [pyarrow.array(answers.predictions, type=kind)]
        arrays += [pyarrow.array(column, type=pyarrow.float64()) for column in answers.probabilities.T]
        table = pyarrow.Table.from_arrays(arrays, names=[*self._fields.names, *self._answer_columns])
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(str(self._path), table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()


def _plain_field(field: Any) -> Any:
    """The field without a dictionary, whose values could differ from file to file."""
    kind = field.type
    return pyarrow.field(field.name, kind.value_type if pyarrow.types.is_dictionary(kind) else kind)
