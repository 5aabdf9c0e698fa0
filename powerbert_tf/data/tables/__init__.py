"""Tables in files: CSV, TSV, JSON, Parquet, folders of text files. Each row knows its file and line."""

from powerbert_tf.data.tables.formats import find_files, open_table, open_text_lines
from powerbert_tf.data.tables.lines import STANDARD_INPUT
from powerbert_tf.data.tables.parquet import is_parquet, read_schema
from powerbert_tf.data.tables.rows import Cells, OpenTable, Row, TableFormat

__all__ = [
    "STANDARD_INPUT",
    "Cells",
    "OpenTable",
    "Row",
    "TableFormat",
    "find_files",
    "is_parquet",
    "open_table",
    "open_text_lines",
    "read_schema",
]
