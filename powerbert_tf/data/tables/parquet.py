"""Parquet files, in batches of rows."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.rows import Meter, OpenTable, Row, cell_text, column_names

PARQUET = (".parquet", ".pq")
_ERRORS = (OSError, ValueError, pyarrow.ArrowException)
_ROWS_AT_ONCE = 1024
_BUFFER = 1 << 20  # bytes of a column; without one, the column of a whole row group is read at once


def is_parquet(path: str) -> bool:
    """Whether a file has a suffix of Parquet."""
    return os.path.splitext(path.lower())[1] in PARQUET


def read_schema(path: str) -> pyarrow.Schema:
    """Reads the schema of a Parquet file, its columns named as in its table.

    Raises:
        InputError: The file cannot be read.
    """
    schema = _open(path).schema_arrow
    names, _ = column_names(schema.names)
    return pyarrow.schema(list(map(pyarrow.Field.with_name, schema, names)), schema.metadata)


def _open(path: str) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
    except _ERRORS as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]}).")


def open_parquet(path: str, names: Sequence[str], typed: bool) -> OpenTable:
    """Opens a Parquet file, which must have the columns that a flag names; see `open_table`.

    Class numbers of `datasets` are read as the names that its metadata gives them.
    """
    file = _open(path)
    schema = file.schema_arrow
    classes = _class_names(schema)
    labels = [classes.get(name, ()) for name in schema.names]
    columns, doubled = column_names(schema.names)
    if names and tuple(names) != columns:
        raise InputError(f"--columns: is for tables without a header; {path} has one.")
    meter = Meter()

    def rows() -> Iterator[Row]:
        number, size, read = 0, os.path.getsize(path), []
        batches = file.iter_batches(_ROWS_AT_ONCE)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                read = [_read_column(*column) for column in zip(batch.columns, labels, strict=True)]
            except _ERRORS as error:
                raise InputError(f"{path}:{number + 1}: {_damaged(path, error)}") from None
            for at in range(batch.num_rows):
                number += 1
                meter.position = size * number // file.metadata.num_rows
                cells = {name: texts[at] for name, (texts, _) in zip(columns, read, strict=True)}
                values = {name: column[at] for name, (_, column) in zip(columns, read, strict=True)} if typed else None
                yield Row(path, number, cells, values=values).checked()

    return OpenTable(path, columns, rows(), meter=meter, doubled=doubled, class_names=classes)


def _class_names(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Returns the names of the classes of each column that is a `ClassLabel` of Hugging Face's `datasets`."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if feature["_type"] == "ClassLabel" and feature["names"]
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # no such metadata


def _read_column(column: pyarrow.Array, names: Sequence[str]) -> tuple[list[str | None], list[Any]]:
    """Returns the cells of a column as texts, of classes their names; and typed, where they are no texts."""
    kind = column.type.value_type if isinstance(column, pyarrow.DictionaryArray) else column.type
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        # Through bytes: a text column whose bytes are not UTF-8 is no error here.
        texts = list(map(cell_text, column.cast(pyarrow.large_binary()).to_pylist()))
        return texts, texts
    values = column.to_pylist()
    known = {-1: None, **dict(enumerate(names))} if names else {}  # `datasets` has -1 where there is no label
    return [known[value] if names and value in known else cell_text(value) for value in values], values
