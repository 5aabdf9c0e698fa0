"""Opens a table in the format that its name tells: CSV, TSV, JSON lines, Parquet, or a folder of text files."""

import glob
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.delimited import open_delimited
from powerbert_tf.data.tables.lines import BYTE_ORDER_MARK, COMPRESSIONS, STANDARD_INPUT, Meter, read_lines
from powerbert_tf.data.tables.rows import OpenTable, Row, cell_text, text_problem

TEXT, LABEL = "text", "label"  # columns of a table of class folders
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_PARQUET_ERRORS = (OSError, ValueError, pyarrow.ArrowException)
_ROWS_AT_ONCE = 1024
_BUFFER = 1 << 20  # bytes of a column; without one, the column of a whole row group is read at once
_UNLABELED = "unsup"  # IMDB's folder of reviews without a label


def find_files(given: str, flag: str) -> list[str]:
    """Returns the paths of the files that a flag names; those of a glob in alphabetical order.

    Args:
        given: A path, a glob such as `parts/*.csv`, or several of them separated by commas. The path of an existing
            file is taken as it is, whatever characters it has.
        flag: Name of the flag, for messages.

    Raises:
        InputError: A file does not exist or is named twice.
    """
    if os.path.exists(given):
        return [given]
    found: list[str] = []
    for part in filter(None, map(str.strip, given.split(","))):
        matches = [part] if os.path.exists(part) else sorted(glob.glob(part, recursive=True))
        if not matches:
            raise InputError(
                f"--{flag}={given}: {part}: no such file; expected a file, several with commas between, or a glob."
            )
        found += matches
    if not found:
        raise InputError(f"--{flag}={given}: expected a file, several with commas between, or a glob.")
    for path in found:
        if found.count(path) > 1:
            raise InputError(f"--{flag}={given}: {path} is named twice; expected each file once.")
    return found


def open_table(path: str, quoted: bool = True, typed: bool = False) -> OpenTable:
    """Opens a table in the format that its name tells.

    Args:
        path: A file; a folder that has a folder of text files for each class; or `-.csv`, `-.tsv` or `-.jsonl` for a
            table on standard input.
        quoted: Whether cells of CSV and TSV may be quoted; otherwise a quote is an ordinary character.
        typed: Whether rows of JSON lines and Parquet keep the typed values, too.

    Raises:
        InputError: The file or its header cannot be read, or its name does not tell its format. Taking rows raises it,
            too, if the file turns out to be damaged.
    """
    if os.path.isdir(path):
        return _open_class_folders(path)
    stem, suffix = os.path.splitext(path.lower())
    from_standard_input = stem == STANDARD_INPUT
    compression = ""
    if suffix in COMPRESSIONS:
        compression, suffix = suffix, os.path.splitext(stem)[1]
    if from_standard_input:
        path = STANDARD_INPUT
    if suffix in _DELIMITERS:
        return open_delimited(path, compression, _DELIMITERS[suffix], quoted)
    if suffix in _JSON_LINES:
        return _open_json_lines(path, compression, typed)
    if suffix in _PARQUET and not compression and not from_standard_input:
        return _open_parquet(path, typed)
    raise InputError(
        f"{path}: its name does not tell a format; expected {', '.join((*_DELIMITERS, *_JSON_LINES, *_PARQUET))}, also "
        f"with {', '.join(COMPRESSIONS)} behind it (not Parquet), or a folder of text files for each class."
    )


def _open_class_folders(path: str) -> OpenTable:
    """Opens a folder such as IMDB's `aclImdb/train` with `{pos,neg}/*.txt`; a file is one row, its line 1."""
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name != _UNLABELED)
    files = [(name, file) for name in folders for file in sorted(Path(path, name).glob("*.txt"))]
    if not files:
        raise InputError(
            f"{path}: a folder without <class>/*.txt; expected a file, or a folder of text files for each class."
        )

    def rows() -> Iterator[Row]:
        for label, file in files:
            try:
                text = file.read_bytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
            except OSError as error:
                raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
            yield Row(str(file), 1, {TEXT: text, LABEL: label}).checked((text,))

    return OpenTable(path, (TEXT, LABEL), rows())


def open_text_lines(columns: Sequence[str]) -> OpenTable:
    """Opens standard input as plain texts, one per line; `columns` names the one text, or the two with a tab between.

    A blank line is a row, too, so that each line gets an answer.
    """
    meter = Meter()

    def rows() -> Iterator[Row]:
        for number, line in read_lines(STANDARD_INPUT, meter=meter):
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
            texts = text.split("\t") if len(columns) > 1 else [text]
            if len(texts) == len(columns):
                yield Row(STANDARD_INPUT, number, dict(zip(columns, texts, strict=True))).checked((text,))
            else:
                problem = f"{len(texts) - 1} tabs in the line instead of {len(columns) - 1}"
                yield Row(STANDARD_INPUT, number, {}, problem, text)

    return OpenTable(STANDARD_INPUT, tuple(columns), rows(), meter=meter)


def _open_json_lines(path: str, compression: str, typed: bool) -> OpenTable:
    """Opens a file with a JSON object per line; blank lines are skipped."""
    meter = Meter()
    lines = read_lines(path, compression, meter)
    rows = (_json_row(path, number, line, typed) for number, line in lines if line.strip())
    before: list[Row] = []
    for row in rows:
        before.append(row)
        if not row.problem:
            break
    if not before:
        raise InputError(f"{path}: the file is empty; expected one JSON object a line.")
    return OpenTable(path, tuple(before[-1].cells), itertools.chain(before, rows), uniform=False, meter=meter)


def _json_row(path: str, number: int, line: bytes, typed: bool) -> Row:
    raw = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    problem = text_problem(raw)
    if problem:
        return Row(path, number, {}, problem, raw)
    try:
        value = json.loads(raw)
        if not isinstance(value, dict):
            return Row(path, number, {}, f"a JSON {type(value).__name__} instead of an object", raw)
        if not value:
            return Row(path, number, {}, "a JSON object without fields", raw)
        cells = {key: cell_text(item) for key, item in value.items()}
    except (ValueError, RecursionError, OverflowError) as error:
        return Row(path, number, {}, f"not a JSON object ({' '.join(str(error).split())})", raw)
    return Row(path, number, cells, values=value if typed else None).checked((*cells, *cells.values()))


def is_parquet(path: str) -> bool:
    """Whether a file has a suffix of Parquet."""
    return os.path.splitext(path.lower())[1] in _PARQUET


def read_schema(path: str) -> pyarrow.Schema:
    """Reads the schema of a Parquet file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return pyarrow.parquet.read_schema(path)
    except _PARQUET_ERRORS as error:
        raise _damaged_parquet(path, error) from None


def _damaged_parquet(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]}).")


def _open_parquet(path: str, typed: bool) -> OpenTable:
    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
        columns = tuple(file.schema_arrow.names)
    except _PARQUET_ERRORS as error:
        raise _damaged_parquet(path, error) from None
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{path}: two columns are named {column!r}; rename one.")
    meter = Meter()
    return OpenTable(path, columns, _parquet_rows(path, file, columns, typed, meter), meter=meter)


def _parquet_rows(path: str, file: Any, columns: tuple[str, ...], typed: bool, meter: Meter) -> Iterator[Row]:
    number = 0
    size, num_rows = os.path.getsize(path), file.metadata.num_rows
    batches = file.iter_batches(batch_size=_ROWS_AT_ONCE)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            read = [_read_column(column, typed) for column in batch.columns]
        except _PARQUET_ERRORS as error:
            raise InputError(f"{path}:{number + 1}: {_damaged_parquet(path, error)}") from None
        for at in range(batch.num_rows):
            number += 1
            meter.move_to(size * number // num_rows)
            cells = {name: texts[at] for name, (texts, _) in zip(columns, read, strict=True)}
            values = {name: column[at] for name, (_, column) in zip(columns, read, strict=True)} if typed else None
            yield Row(path, number, cells, values=values).checked()


def _read_column(column: pyarrow.Array, typed: bool) -> tuple[list[str | None], list[Any]]:
    """Returns the cells of a column as texts and, if asked for, as typed values; else the texts again."""
    if isinstance(column, pyarrow.DictionaryArray):
        column = column.dictionary_decode()
    is_large = pyarrow.types.is_large_string(column.type)
    if is_large or pyarrow.types.is_string(column.type):
        # Through bytes: a text column whose bytes are not UTF-8 is no error here.
        column = column.cast(pyarrow.large_binary() if is_large else pyarrow.binary())
        typed = False
    values = column.to_pylist()
    texts = [cell_text(value) for value in values]
    return texts, values if typed else texts
