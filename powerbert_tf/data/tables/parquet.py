"""Parquet files, in batches of rows."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.lines import Meter
from powerbert_tf.data.tables.rows import OpenTable, Row, cell_text, column_names

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
    try:
        schema = pyarrow.parquet.read_schema(path)
        names, _ = column_names(schema.names)
        fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        return pyarrow.schema(fields, schema.metadata)
    except _ERRORS as error:
        raise _damaged_parquet(path, error) from None


def _damaged_parquet(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]}).")


def open_parquet(path: str, names: Sequence[str], typed: bool) -> OpenTable:
    """Opens a Parquet file; class numbers of `datasets` are read as the names that its metadata gives them.

    Args:
        path: The file.
        names: Columns that a flag names, which must be those of the file.
        typed: Whether rows keep the typed values, too.

    Raises:
        InputError: The file cannot be read, or has other columns.
    """
    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
        schema = file.schema_arrow
        classes = _class_names(schema)
    except _ERRORS as error:
        raise _damaged_parquet(path, error) from None
    columns, doubled = column_names(schema.names)
    if names and tuple(names) != columns:
        raise InputError(f"--columns: is for tables without a header; {path} has one.")
    meter = Meter()
    rows = _rows(path, file, columns, [classes.get(name) for name in schema.names], typed, meter)
    return OpenTable(path, columns, rows, meter=meter, doubled=doubled, class_names=classes)


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


def _rows(
    path: str,
    file: Any,
    columns: Sequence[str],
    classes: Sequence[Sequence[str] | None],
    typed: bool,
    meter: Meter,
) -> Iterator[Row]:
    number = 0
    size, num_rows = os.path.getsize(path), file.metadata.num_rows
    batches = file.iter_batches(batch_size=_ROWS_AT_ONCE)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            read = [_read_column(column, names, typed) for column, names in zip(batch.columns, classes, strict=True)]
        except _ERRORS as error:
            raise InputError(f"{path}:{number + 1}: {_damaged_parquet(path, error)}") from None
        for at in range(batch.num_rows):
            number += 1
            meter.move_to(size * number // num_rows)
            cells = {name: texts[at] for name, (texts, _) in zip(columns, read, strict=True)}
            values = {name: column[at] for name, (_, column) in zip(columns, read, strict=True)} if typed else None
            yield Row(path, number, cells, values=values).checked()


def _read_column(
    column: pyarrow.Array, classes: Sequence[str] | None, typed: bool
) -> tuple[list[str | None], list[Any]]:
    """Returns the cells of a column as texts, of classes their names; and typed if asked for, else the texts again."""
    if isinstance(column, pyarrow.DictionaryArray):
        column = column.dictionary_decode()
    is_large = pyarrow.types.is_large_string(column.type)
    if is_large or pyarrow.types.is_string(column.type):
        # Through bytes: a text column whose bytes are not UTF-8 is no error here.
        column = column.cast(pyarrow.large_binary() if is_large else pyarrow.binary())
        typed = False
    values = column.to_pylist()
    texts = [cell_text(value) for value in values] if classes is None else [_class(value, classes) for value in values]
    return texts, values if typed else texts


def _class(number: Any, names: Sequence[str]) -> str | None:
    """Returns the name of a class; None for -1, which `datasets` gives rows without a label."""
    if isinstance(number, int) and -1 <= number < len(names):
        return names[number] if number >= 0 else None
    return cell_text(number)
