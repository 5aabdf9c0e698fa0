"""JSON lines: one object a line."""

import itertools
import json
from collections.abc import Iterator

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.lines import Meter, read_lines
from powerbert_tf.data.tables.row import Row, Table, cell_text, text_problem


def open_json_lines(path: str, compression: str, typed: bool = False) -> Table:
    """Opens a file of JSON objects, one a line. Blank lines are no rows.

    Args:
        path: The file, UTF-8.
        compression: Suffix in `lines.COMPRESSIONS`, or empty.
        typed: Whether rows keep the values as they are typed.

    Raises:
        InputError: The file is empty or cannot be read.
    """
    meter = Meter()
    rows = _rows(path, compression, typed, meter)
    before: list[Row] = []
    for row in rows:
        before.append(row)
        if not row.problem:
            break
    if not before:
        raise InputError(f"{path}: the file is empty; expected one JSON object a line.")
    return Table(path, tuple(before[-1].cells), itertools.chain(before, rows), uniform=False, meter=meter)


def _rows(path: str, compression: str, typed: bool, meter: Meter) -> Iterator[Row]:
    for number, line in read_lines(path, compression, meter):
        if line.strip():
            yield _row(path, number, line, typed)


def _row(path: str, number: int, line: bytes, typed: bool) -> Row:
    raw = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    problem = text_problem(raw)
    if problem:
        return Row(path, number, {}, problem, raw)
    try:
        value = json.loads(raw)
        if not isinstance(value, dict):
            return Row(path, number, {}, f"a JSON {type(value).__name__} instead of an object", raw)
        cells = {key: cell_text(item) for key, item in value.items()}
    except (ValueError, RecursionError, OverflowError) as error:
        return Row(path, number, {}, f"not a JSON object ({' '.join(str(error).split())})", raw)
    row = Row(path, number, cells, values=value if typed else None)
    for text in (*cells, *cells.values()):
        if text is not None:
            problem = text_problem(text)
            if problem:
                return row.rejected(problem)
    return row
