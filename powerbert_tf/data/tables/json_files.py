"""JSON: an object a line, an array of rows, or a document with columns, as pandas and `datasets` write them."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables.lines import Pushback, Text, number_lines
from powerbert_tf.data.tables.rows import OpenTable, Row, TableFormat, cell_text, text_problem

_LARGEST_ROW = 1 << 26  # characters
_PIECE = 1 << 16
_BLANK = " \t\r\n"
_SPACE = re.compile(f"[{_BLANK}]*")
_EXPECTED = (
    "expected a JSON object a line, an array of objects, or an object of columns, as pandas.DataFrame.to_json writes it"
)


def open_json(text: Text, table_format: TableFormat, typed: bool, is_lines: bool) -> OpenTable:
    """Opens a JSON file.

    Args:
        text: The file.
        table_format: `columns` name the cells of rows that are arrays.
        typed: Whether rows keep the typed values, too.
        is_lines: Whether the name of the file says that it has an object a line; an array of objects is taken, too.

    Raises:
        InputError: The file is empty, or is no table.
    """
    path, pieces = text.path, Pushback(text.pieces())
    head: list[str] = []
    for piece in pieces:
        head.append(piece)
        if piece.strip(_BLANK):
            break
    start = head[-1].strip(_BLANK) if head else ""
    pieces.give_back(head)
    if start.startswith("[") and (not is_lines or start[1:].lstrip(_BLANK)[:1] in ("", "{")):
        items, read_as = _array_items(pieces, path), "an array"
    else:
        lines = Pushback(number_lines(pieces, path))
        document = _read_document(lines, is_lines)
        items = _line_items(lines) if document is None else iter(_document_items(document))
        read_as = "an object a line" if document is None else "one document"
    rows = (_row(path, item, table_format.columns, typed, text.encoding) for item in items)
    before: list[Row] = []
    for row in rows:
        before.append(row)
        if not row.problem:
            break
    if not before:
        raise InputError(f"{path}: the file is empty; {_EXPECTED}.")
    columns = tuple(before[-1].cells)
    if table_format.columns and columns and columns != table_format.columns:
        raise InputError(f"--columns: is for tables without a header; the rows of {path} name their cells.")
    read_as = f"JSON, {read_as}, {text.encoding}"
    return OpenTable(path, columns, itertools.chain(before, rows), uniform=False, meter=text.meter, read_as=read_as)


class _Item(NamedTuple):
    """A row: its line or number, its text where it has one, and its value, or why it has none."""

    number: int
    raw: str
    value: Any = None
    problem: str = ""


def _row(path: str, item: _Item, columns: Sequence[str], typed: bool, encoding: str) -> Row:
    value, number = item.value, item.number
    problem = text_problem(item.raw, encoding) or item.problem
    if not problem and isinstance(value, list) and columns:
        problem = f"the row has {counted(len(value), 'cell')} instead of {len(columns)}"
        if len(value) == len(columns):
            value, problem = dict(zip(columns, value, strict=True)), ""
    if not problem and not isinstance(value, dict):
        problem = f"a JSON {type(value).__name__} instead of an object"
    if not problem and not value:
        problem = "a JSON object without fields"
    if problem:
        return Row(path, number, {}, problem, item.raw or json.dumps(value))
    try:
        cells = {key: cell_text(content) for key, content in value.items()}
    except (ValueError, OverflowError) as error:
        return Row(path, number, {}, _not_json(error), item.raw or repr(value))
    row = Row(path, number, cells, values=value if typed else None)
    return row if item.raw and "\\u" not in item.raw else row.checked((*cells, *cells.values()))


def _not_json(error: Exception) -> str:
    return f"not a JSON object ({' '.join(str(error).split())})"


def _line_items(lines: Iterable[tuple[int, str]]) -> Iterator[_Item]:
    for number, line in lines:
        raw = line.rstrip("\r\n")
        if not raw.strip():
            continue
        try:
            yield _Item(number, raw, json.loads(raw))
        except (ValueError, RecursionError) as error:
            yield _Item(number, raw, problem=_not_json(error))


def _array_items(pieces: Iterator[str], path: str) -> Iterator[_Item]:
    """Yields the elements of an array; only the current one is in memory."""
    decoder, number = json.JSONDecoder(), 0
    buffer, at = _fill(pieces, ""), 0
    at = _SPACE.match(buffer).end() + 1  # type: ignore[union-attr]  # behind the bracket
    while True:
        at = _SPACE.match(buffer, at).end()  # type: ignore[union-attr]
        if buffer[at : at + 1] == "]":
            break
        try:
            value, end = decoder.raw_decode(buffer, at)
            behind = _SPACE.match(buffer, end).end()  # type: ignore[union-attr]
            if buffer[behind : behind + 1] not in (",", "]"):
                raise ValueError("expected a comma behind it")
        except (ValueError, RecursionError) as error:
            longer = _fill(pieces, buffer[at:])
            if len(longer) == len(buffer) - at or len(longer) > _LARGEST_ROW:
                reason = " ".join(str(error).split())
                raise InputError(f"{path}:{number + 1}: this row of a JSON array cannot be read ({reason}).") from None
            buffer, at = longer, 0
            continue
        number += 1
        yield _Item(number, buffer[at:end], value)
        at = behind + (buffer[behind] == ",")
    if buffer[at + 1 :].strip(_BLANK) or any(piece.strip(_BLANK) for piece in pieces):
        raise InputError(f"{path}:{number}: more behind the end of the JSON array; {_EXPECTED}.")


def _fill(pieces: Iterator[str], text: str) -> str:
    """Returns the text and what follows it, at least as much again."""
    parts, length = [text], -len(text)
    for piece in pieces:
        parts.append(piece)
        length += len(piece)
        if length >= _PIECE:
            break
    return "".join(parts)


def _read_document(lines: Pushback[tuple[int, str]], is_lines: bool) -> Any:
    """Returns the value of a file that is a single object; None, with the lines given back, if it is none."""
    taken: list[tuple[int, str]] = []
    texts: list[str] = []
    for numbered in lines:
        taken.append(numbered)
        texts += [numbered[1]] if numbered[1].strip() else []
        if len(texts) == 2:
            break
    lines.give_back(taken)
    try:
        value = json.loads(texts[0]) if texts else None
        return value if len(texts) == 1 and isinstance(value, dict) else None
    except (ValueError, RecursionError):
        if is_lines:
            return None
    everything = list(lines)
    try:
        return json.loads("".join(line for _, line in everything))
    except (ValueError, RecursionError):
        lines.give_back(everything)
        return None


def _document_items(value: dict[str, Any]) -> list[_Item]:
    """Returns the rows of an object, as `pandas.DataFrame.to_json` and `datasets` write it; else itself as one row."""
    import pandas as pd  # takes half a second, which the flags of a run without such a file need not wait for

    contents = list(value.values())
    tables = [content for content in contents if _holds(list, dict, content)]
    rows: list[Any] = [value]
    if isinstance(value.get("data"), list) and _holds(list, list, value["data"]):  # orient="split"
        rows = pd.DataFrame(value["data"], columns=value.get("columns"), dtype=object).to_dict("records")
    elif len(tables) == 1:  # orient="table", or rows with something about them
        rows = tables[0]
    elif contents and all(_holds(dict, object, content) for content in contents):
        is_index = all(map(str.isdigit, value)) and not all(map(str.isdigit, contents[0]))
        rows = contents if is_index else pd.DataFrame(value, dtype=object).to_dict("records")
    elif contents and all(isinstance(content, list) for content in contents) and len(set(map(len, contents))) == 1:
        rows = pd.DataFrame(value, dtype=object).to_dict("records")
    return [_Item(number, "", row) for number, row in enumerate(rows, start=1)]


def _holds(container: Any, kind: type, value: Any) -> bool:
    """Whether a value is a list or a dict, not empty, of values of a kind."""
    return isinstance(value, container) and len(value) > 0 and all(isinstance(one, kind) for one in value)
