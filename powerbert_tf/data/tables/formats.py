"""Opens a table in the format that its name tells: CSV, TSV, JSON lines, Parquet, or a folder of text files."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables.delimited import open_delimited
from powerbert_tf.data.tables.json_files import open_json
from powerbert_tf.data.tables.lines import COMPRESSIONS, STANDARD_INPUT, Text, zipped_name
from powerbert_tf.data.tables.parquet import PARQUET, open_parquet
from powerbert_tf.data.tables.rows import OpenTable, Row, TableFormat

TEXT, LABEL = "text", "label"  # columns of a table of class folders
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_JSON = (*_JSON_LINES, ".json")
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_UNLABELED = "unsup"  # IMDB's folder of reviews without a label


def find_files(given: str, flag: str) -> list[str]:
    """Returns the paths of the files that a flag names.

    These are a path, which is taken as it is if there is such a file, a glob such as `parts/*.csv`, whose files come in
    alphabetical order, or several of them separated by commas.

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


def open_table(path: str, table_format: TableFormat | None = None, typed: bool = False) -> OpenTable:
    """Opens a table in the format that its name tells.

    Args:
        path: A file; a folder that has a folder of text files for each class; or `-.csv`, `-.tsv` or `-.jsonl` for a
            table on standard input. A file of another name has delimiters if `table_format` names one.
        table_format: What is known about the table; the rest is found.
        typed: Whether rows of JSON and Parquet keep the typed values, too.

    Raises:
        InputError: The file or its header cannot be read, or its name does not tell its format. Taking rows raises it,
            too, if the file turns out to be damaged.
    """
    known = table_format or TableFormat()
    if os.path.isdir(path):
        return _open_class_folders(path, known.encoding)
    stem, suffix = os.path.splitext(path.lower())
    compression = ""
    if suffix in COMPRESSIONS:
        compression, suffix = suffix, os.path.splitext(stem)[1]
        if compression == ".zip" and suffix not in (*_DELIMITERS, *_JSON):
            suffix = os.path.splitext(zipped_name(path).lower())[1]
    if stem == STANDARD_INPUT:
        path = STANDARD_INPUT
    elif suffix in PARQUET and not compression:
        return open_parquet(path, known.columns, typed)
    if suffix in _JSON:
        return open_json(Text(path, compression, known.encoding), known, typed, suffix in _JSON_LINES)
    if suffix in _DELIMITERS or known.delimiter:
        return open_delimited(Text(path, compression, known.encoding), known, _DELIMITERS.get(suffix, known.delimiter))
    if suffix in _SPREADSHEETS:
        raise InputError(f"{path}: a spreadsheet; save it as CSV.")
    raise InputError(
        f"{path}: its name does not say the format; expected {', '.join((*_DELIMITERS, *_JSON, *PARQUET))}, also "
        f"with {', '.join(COMPRESSIONS)} behind it (not Parquet), a folder of text files for each class, or a file of "
        "another name with --delimiter."
    )


def _open_class_folders(path: str, encoding: str) -> OpenTable:
    """Opens a folder such as IMDB's `aclImdb/train` with `{pos,neg}/*.txt`; a file is one row, its line 1."""
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name != _UNLABELED)
    files = [(name, file) for name in folders for file in sorted(Path(path, name).glob("*.txt"))]
    if not files:
        raise InputError(
            f"{path}: a folder without <class>/*.txt; expected a file, or a folder of text files for each class."
        )

    def rows() -> Iterator[Row]:
        for label, file in files:
            text = Text(str(file), encoding=encoding)
            content = text.read()
            yield Row(str(file), 1, {TEXT: content, LABEL: label}).checked(text.encoding)

    return OpenTable(path, (TEXT, LABEL), rows())


def open_text_lines(columns: Sequence[str], encoding: str = "") -> OpenTable:
    """Opens standard input as plain texts, one per line; `columns` names the one text, or the two with a tab between.

    A blank line is a row, too, so that each line gets an answer.
    """
    source = Text(STANDARD_INPUT, encoding=encoding)

    def rows() -> Iterator[Row]:
        for number, line in source.lines():
            text = line.removesuffix("\n").removesuffix("\r")
            texts = text.split("\t") if len(columns) > 1 else [text]
            if len(texts) == len(columns):
                row = Row(STANDARD_INPUT, number, dict(zip(columns, texts, strict=True)))
                yield row.checked(source.encoding)
            else:
                problem = f"{counted(len(texts) - 1, 'tab')} in the line instead of {len(columns) - 1}"
                yield Row(STANDARD_INPUT, number, {}, problem, text)

    return OpenTable(STANDARD_INPUT, tuple(columns), rows(), meter=source)
