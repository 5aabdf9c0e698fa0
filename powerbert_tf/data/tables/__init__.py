"""Tables in files: CSV, TSV, JSON lines, Parquet, a folder of text files a class; each row with its file and line."""

from powerbert_tf.data.tables.find import find_files
from powerbert_tf.data.tables.lines import STANDARD_INPUT
from powerbert_tf.data.tables.read import is_parquet, open_table
from powerbert_tf.data.tables.row import Cells, Row, Table
from powerbert_tf.data.tables.text_lines import open_text_lines

__all__ = ["STANDARD_INPUT", "Cells", "Row", "Table", "find_files", "is_parquet", "open_table", "open_text_lines"]
