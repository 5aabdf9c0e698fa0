"""Opens a table by the name of its file."""

import os

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.class_folders import open_class_folders
from powerbert_tf.data.tables.delimited import open_delimited
from powerbert_tf.data.tables.json_lines import open_json_lines
from powerbert_tf.data.tables.lines import COMPRESSIONS, STANDARD_INPUT
from powerbert_tf.data.tables.row import Table

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_EXPECTED = (
    f"expected {', '.join((*_DELIMITERS, *_JSON_LINES, *_PARQUET))}, "
    f"also with {', '.join(COMPRESSIONS)} behind it (not Parquet), or a folder of text files for each class"
)


def open_table(path: str, quoted: bool = True, typed: bool = False) -> Table:
    """Opens a table, whose format is told by the end of its name.

    Args:
        path: A file, a folder with a folder of text files for each class, or `-.csv`, `-.tsv`, `-.jsonl` for a table
            on standard input.
        quoted: Whether cells of CSV and TSV may stand in quotes; otherwise a quote is an ordinary character.
        typed: Whether rows of JSON lines and Parquet keep the values as they are typed.

    Raises:
        InputError: The file or its header cannot be read, or its name does not tell its format. Taking rows raises it,
            too, where the file turns out to be damaged.
    """
    if os.path.isdir(path):
        return open_class_folders(path)
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
        return open_json_lines(path, compression, typed)
    if suffix in _PARQUET and not compression and not from_standard_input:
        return open_parquet(path, typed)
    raise InputError(f"{path}: its name does not tell a format; {_EXPECTED}.")


def is_parquet(path: str) -> bool:
    """Whether a file's name tells that it is Parquet."""
    return os.path.splitext(path.lower())[1] in _PARQUET


def open_parquet(path: str, typed: bool = False) -> Table:
    """Opens a Parquet file; its library is loaded where it is needed."""
    from powerbert_tf.data.tables import parquet

    return parquet.open_parquet(path, typed)
