"""Texts of requests in a user's own file, without labels."""

import itertools
from collections.abc import Iterator, Sequence

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.rejected_rows import name_rows, require_columns, row_problem
from powerbert_tf.data.tables.formats import find_files, open_table
from powerbert_tf.data.tables.rows import Row

_FLAG = "requests"


def read_requests(given: str, columns: Sequence[str], most: int) -> list[list[str]]:
    """Reads the texts of requests, in the order of the files.

    Args:
        given: A table, several separated by commas, or a glob.
        columns: Names of the columns of texts.
        most: Rows that are read.

    Returns:
        A list of texts for each column.

    Raises:
        InputError: There is no such file or column, a row cannot be used, or there is none.
    """
    rows = list(itertools.islice(_rows(given, columns), most))
    if not rows:
        raise InputError(f"--{_FLAG}={given}: no rows; expected at least one, with {', '.join(columns)}.")
    if bad := [row for row in rows if row.problem]:
        problem = f"{counted(len(bad), 'row')} cannot be used: {name_rows(bad, len(bad))}"
        raise InputError(f"--{_FLAG}={given}: {problem}. Mend them, or leave them out.")
    return [[row.cells[column] or "" for row in rows] for column in columns]


def _rows(given: str, columns: Sequence[str]) -> Iterator[Row]:
    for path in find_files(given, _FLAG):
        table = open_table(path)
        try:
            require_columns(table, columns)
        except InputError as error:
            raise InputError(f"--{_FLAG}={given}: {error}") from None
        for row in table.rows:
            yield row.rejected(row.problem or row_problem(row, columns))
