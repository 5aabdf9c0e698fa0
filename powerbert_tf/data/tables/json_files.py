"""JSON: an object a line, an array of rows, or a document with columns, as pandas and `datasets` write them.

Python's `json` reads values; `pandas.read_json` rounds long numbers, and names no line where one cannot be read.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables.lines import Text
from powerbert_tf.data.tables.rows import OpenTable, Row, TableFormat, cell_text, column_names, text_problem

_LARGEST_ROW = 1 << 26  # characters
_PIECE = 1 << 16
_BLANK = " \t\r\n"
_SPACE = re.compile(f"[{_BLANK}]*")
_ERRORS = (ValueError, OverflowError, RecursionError)
_Item = tuple[int, str, Any]  # line or number of a row, its text where it has one, its value or why it has none
_EXPECTED = (
    "expected one JSON object per line, an array of objects, or an object of columns, as "
    "pandas.DataFrame.to_json writes it"
)


def open_json(text: Text, table_format: TableFormat, typed: bool, is_lines: bool) -> OpenTable:
    """Opens a JSON file; see `open_table`.

    `columns` of the format name the cells of rows that are arrays. A file whose name says that it has an object a line
    may be an array of objects, too.
    """
    path, given = text.path, table_format.columns
    items, form = _find_items(text, is_lines)
    rows: Iterator[Row] = (_row(path, item, given, typed, text.encoding) for item in items)
    before: list[Row] = []
    for row in rows:
        before.append(row)
        if not row.problem:
            break
    if not before:
        raise InputError(f"{path}: the file is empty; {_EXPECTED}.")
    columns = tuple(before[-1].cells)
    if given and columns and columns != given:
        raise InputError(f"--columns: is for tables without a header; the rows of {path} name their cells.")
    rows, read_as = itertools.chain(before, rows), f"JSON, {form}, {text.encoding}"
    return OpenTable(path, columns, rows, uniform=False, meter=text, read_as=read_as)


def _find_items(text: Text, is_lines: bool) -> tuple[Iterable[_Item], str]:
    """Returns the rows, and the form of the file in words."""
    before, bracket, inside = text.peek().partition("[")
    if bracket and not before.strip(_BLANK) and (not is_lines or inside.lstrip(_BLANK)[:1] in ("", "{")):
        return _array_items(text), "an array"
    lines = ((number, line) for number, line in text.lines() if line.strip())
    head = list(itertools.islice(lines, 2))
    items = list(itertools.starmap(_line_item, head))
    if not is_lines and items and isinstance(items[0][2], Exception):  # perhaps a document of many lines
        head += lines
        items = [_line_item(1, "".join(line for _, line in head))]
    if len(items) == 1 and isinstance(items[0][2], dict):
        return _document_items(items[0][2]), "one document"
    return itertools.starmap(_line_item, itertools.chain(head, lines)), "an object a line"


def _line_item(number: int, line: str) -> _Item:
    raw = line.rstrip("\r\n")
    try:
        return number, raw, json.loads(raw)
    except _ERRORS as error:
        return number, raw, error


def _array_items(text: Text) -> Iterator[_Item]:
    """Yields the elements of an array; only the current one is in memory."""
    decode, number = json.JSONDecoder().raw_decode, 0
    buffer = text.read(_PIECE).lstrip(_BLANK)
    at = 1  # behind the bracket
    while True:
        at = _behind_blanks(buffer, at)
        if buffer[at : at + 1] == "]":
            break
        try:
            value, end = decode(buffer, at)
            behind = _behind_blanks(buffer, end)
            if buffer[behind : behind + 1] not in (",", "]"):
                raise ValueError("expected a comma behind it")
        except _ERRORS as error:
            longer = text.read(max(_PIECE, len(buffer) - at))
            buffer, at = buffer[at:] + longer, 0
            if not longer or len(buffer) > _LARGEST_ROW:
                place = f"{text.path}:{number + 1}"
                raise InputError(f"{place}: this row of a JSON array cannot be read ({first_line(error)}).") from None
            continue
        number += 1
        yield number, buffer[at:end], value
        at = behind + (buffer[behind] == ",")
    pieces = itertools.chain([buffer[at + 1 :]], iter(functools.partial(text.read, _PIECE), ""))
    if any(piece.strip(_BLANK) for piece in pieces):
        raise InputError(f"{text.path}:{number}: more behind the end of the JSON array; {_EXPECTED}.")


def _behind_blanks(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # matches everywhere


def _document_items(value: dict[str, Any]) -> Iterator[_Item]:
    """Yields the rows of an object, as `pandas.DataFrame.to_json` and `datasets` write it; else itself as one row."""
    contents = list(value.values())
    tables = [content for content in contents if _is_list_of(dict, content)]
    rows: list[Any] = [value]
    if _is_list_of(list, value.get("data")) and isinstance(value.get("columns"), list):  # orient="split"
        names, _ = column_names(map(str, value["columns"]))
        rows = [dict(zip(names, row, strict=True)) if len(row) == len(names) else row for row in value["data"]]
    elif len(tables) == 1:  # orient="table", or rows with something about them
        rows = tables[0]
    elif contents and all(isinstance(content, dict) and content for content in contents):
        is_index = all(map(str.isdigit, value)) and not all(map(str.isdigit, contents[0]))
        keys = dict.fromkeys(itertools.chain.from_iterable(contents))
        rows = contents if is_index else [{name: value[name].get(key) for name in value} for key in keys]
    elif contents and all(isinstance(content, list) for content in contents) and len(set(map(len, contents))) == 1:
        rows = [dict(zip(value, row, strict=True)) for row in zip(*contents, strict=True)]
    return ((number, "", row) for number, row in enumerate(rows, start=1))


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, kind) for one in value)


def _row(path: str, item: _Item, columns: Sequence[str], typed: bool, encoding: str) -> Row:
    number, raw, value = item
    if columns and isinstance(value, list) and len(value) == len(columns):
        value = dict(zip(columns, value, strict=True))
    if problem := text_problem(raw, encoding) or _value_problem(value, columns):
        return Row(path, number, {}, problem, raw or json.dumps(value))
    try:
        cells = {key: cell_text(content) for key, content in value.items()}
    except _ERRORS as error:
        return Row(path, number, {}, _value_problem(error, ()), raw or repr(value))
    row = Row(path, number, cells, values=value if typed else None)
    return row if raw and "\\u" not in raw else row.checked()


def _value_problem(value: Any, columns: Sequence[str]) -> str:
    if isinstance(value, Exception):
        return f"not a JSON object ({first_line(value)})"
    if columns and isinstance(value, list):
        return f"the row has {counted(len(value), 'cell')} instead of {len(columns)}"
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__} instead of an object"
    return "" if value else "a JSON object without fields"
