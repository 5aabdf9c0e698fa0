"""Tables in files: CSV, TSV, JSON lines, Parquet, folders of text files. Each row knows its file and line."""

from powerbert_tf.data.tables.formats import find_files, is_parquet, open_table, open_text_lines, read_schema
from powerbert_tf.data.tables.lines import STANDARD_INPUT
from powerbert_tf.data.tables.rows import Cells, OpenTable, Row

__all__ = [
    "STANDARD_INPUT",
    "Cells",
    "OpenTable",
    "Row",
    "find_files",
    "is_parquet",
    "open_table",
    "open_text_lines",
    "read_schema",
]
