"""Parquet, some rows at a time."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.lines import Meter
from powerbert_tf.data.tables.row import Row, Table, cell_text, text_problem

_ROWS_AT_ONCE = 1024
_BUFFER = 1 << 20  # bytes of a column; without one, the column of a whole row group is read at once


def open_parquet(path: str, typed: bool = False) -> Table:
    """Opens a Parquet file.

    Args:
        path: The file.
        typed: Whether rows keep the values as they are typed.

    Raises:
        InputError: It cannot be read, or names a column twice.
    """
    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
        columns = tuple(file.schema_arrow.names)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from None
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{path}: two columns are named {column!r}; rename one.")
    meter = Meter()
    return Table(path, columns, _rows(path, file, columns, typed, meter), meter=meter)


def read_schema(path: str) -> Any:
    """The `pyarrow.Schema` of a Parquet file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return pyarrow.parquet.read_schema(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]}).")


def _rows(path: str, file: Any, columns: tuple[str, ...], typed: bool, meter: Meter) -> Iterator[Row]:
    number = 0
    size, num_rows = os.path.getsize(path), file.metadata.num_rows
    batches = file.iter_batches(batch_size=_ROWS_AT_ONCE)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            decoded = [_decoded(column) for column in batch.columns]
            texts = [_texts(column) for column in decoded]
            values = [_values(*both) for both in zip(decoded, texts, strict=True)] if typed else []
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(f"{path}:{number + 1}: {_damaged(path, error)}") from None
        typed_rows = zip(*values, strict=True) if typed else itertools.repeat(None)
        for cells, row_values in zip(zip(*texts, strict=True), typed_rows, strict=False):
            number += 1
            typed_cells = None if row_values is None else dict(zip(columns, row_values, strict=True))
            row = Row(path, number, dict(zip(columns, cells, strict=True)), values=typed_cells)
            problems = (text_problem(text) for text in cells if text is not None)
            problem = next(filter(None, problems), "")
            meter.move_to(size * number // num_rows)
            yield row.rejected(problem) if problem else row


def _decoded(column: Any) -> Any:
    return column.dictionary_decode() if isinstance(column, pyarrow.DictionaryArray) else column


def _texts(column: Any) -> list[str | None]:
    try:
        return [cell_text(value) for value in column.to_pylist()]
    except UnicodeDecodeError:  # a text column whose bytes are not UTF-8
        kind = pyarrow.large_binary() if pyarrow.types.is_large_string(column.type) else pyarrow.binary()
        return [cell_text(value) for value in column.cast(kind).to_pylist()]


def _values(column: Any, texts: list[str | None]) -> list[Any]:
    """What is text is as it was read, so that bytes that are not UTF-8 are no error here."""
    kind = column.type
    return texts if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) else column.to_pylist()
