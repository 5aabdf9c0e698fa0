"""Files of answers: the input's columns, the prediction, the probabilities; as CSV, JSON lines or Parquet."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from powerbert_tf.streaming.answers import Answers
from powerbert_tf.tables import Row

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
    from powerbert_tf.streaming.parquet_writer import ParquetWriter

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
