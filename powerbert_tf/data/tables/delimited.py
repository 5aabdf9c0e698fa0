"""CSV and TSV, record by record, each with the line in which it begins.

Neither the `csv` module nor pandas can report the line in which an unreadable record begins and read on after it, and
neither takes a carriage return in an unquoted cell, which pandas writes.
"""

import re
from collections import deque
from collections.abc import Iterator

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.lines import Meter, read_lines
from powerbert_tf.data.tables.rows import OpenTable, Row, text_problem

_LARGEST_RECORD = 1 << 26  # characters; an unclosed quote must not read the whole file into memory
# From after an opening quote to the closing one; "" is a quote in the cell. Possessive: `""` is never a closing quote.
_TO_CLOSING_QUOTE = re.compile(r'[^"]*+(?:""[^"]*+)*+"')


class _RecordError(Exception):
    """A record cannot be read; the message is the reason."""


class _Lines:
    """Decoded lines, which can be given back to be taken again."""

    def __init__(self, path: str, compression: str):
        self.meter = Meter()
        self._source = read_lines(path, compression, self.meter)
        self._given_back: deque[tuple[int, str]] = deque()

    def take(self) -> tuple[int, str] | None:
        if self._given_back:
            return self._given_back.popleft()
        number, line = next(self._source, (0, b""))
        return (number, line.decode("utf-8", "surrogateescape")) if number else None

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        self._given_back.extendleft(reversed(lines))


def open_delimited(path: str, compression: str, delimiter: str, quoted: bool) -> OpenTable:
    """Opens a CSV or TSV file with a header.

    A quoted cell may hold delimiters, line ends and doubled quotes; a quote inside an unquoted cell is an ordinary
    character. If a record cannot be read, only its first line is rejected, and reading resumes at the next line. Blank
    lines are skipped.

    Args:
        path: The file, UTF-8.
        compression: Suffix in `lines.COMPRESSIONS`, or empty.
        delimiter: Between cells.
        quoted: Whether cells may be quoted; otherwise a quote is an ordinary character.

    Raises:
        InputError: There is no header, it names a column twice, its lines end with carriage returns alone, or the file
            cannot be read.
    """
    lines = _Lines(path, compression)
    first = lines.take()
    if first is None:
        raise InputError(f"{path}: the file is empty; expected a header with column names, then rows.")
    end = "\r\n" if first[1].endswith("\r\n") else "\n"
    try:
        columns = _cells(first, lines, [], delimiter, quoted, end)
    except _RecordError as reason:
        raise InputError(f"{path}:1: the header cannot be read: {reason}.") from None
    problem = text_problem("".join(columns))
    if problem:
        raise InputError(f"{path}:1: the header cannot be read: {problem}; expected UTF-8.")
    if end == "\n" and any("\r" in column for column in columns):
        raise InputError(f"{path}:1: a carriage return in the header; convert the line ends to those of Unix.")
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise InputError(f"{path}:1: the header names the column {column!r} twice; rename one.")
        seen.add(column)
    return OpenTable(path, tuple(columns), _rows(path, lines, columns, delimiter, quoted, end), meter=lines.meter)


def _rows(path: str, lines: _Lines, columns: list[str], delimiter: str, quoted: bool, end: str) -> Iterator[Row]:
    while (first := lines.take()) is not None:
        number, line = first
        if line in ("\n", end):
            continue
        more: list[tuple[int, str]] = []
        try:
            cells = _cells(first, lines, more, delimiter, quoted, end)
            if len(cells) != len(columns):
                raise _RecordError(f"the row has {len(cells)} cells instead of {len(columns)}")
        except _RecordError as reason:
            lines.give_back(more)
            yield Row(path, number, {}, str(reason), _without_end(line, end))
            continue
        row = Row(path, number, dict(zip(columns, cells, strict=True)))
        yield row.checked((line, *(text for _, text in more)))


def _cells(
    first: tuple[int, str], lines: _Lines, more: list[tuple[int, str]], delimiter: str, quoted: bool, end: str
) -> list[str]:
    """Returns the cells of the record that begins with the line `first`; adds the lines taken after it to `more`."""
    line = first[1]
    if not quoted or '"' not in line:
        return _without_end(line, end).split(delimiter)
    cells: list[str] = []
    position = 0
    while True:
        if not line.startswith('"', position):
            stop = line.find(delimiter, position)
            if stop < 0:
                cells.append(_without_end(line[position:], end))
                return cells
            cells.append(line[position:stop])
            position = stop + 1
            continue
        parts: list[str] = []
        position += 1
        taken = len(line)
        while (closing := _TO_CLOSING_QUOTE.match(line, position)) is None:
            parts.append(line[position:])
            following = lines.take()
            if following is None or taken > _LARGEST_RECORD:
                if following is not None:
                    more.append(following)
                raise _RecordError('a quote (") is opened and never closed')
            more.append(following)
            line, position = following[1], 0
            taken += len(line)
        parts.append(line[position : closing.end() - 1])
        cells.append("".join(parts).replace('""', '"'))
        position = closing.end()
        rest = line[position:]
        if rest in ("", "\n", "\r\n"):
            return cells
        if not rest.startswith(delimiter):
            raise _RecordError(f"{rest[0]!r} behind a closing quote instead of {delimiter!r} (unbalanced quotes?)")
        position += 1


def _without_end(line: str, end: str) -> str:
    r"""Returns a line without its `end`; if that is `\n`, a `\r` before it belongs to the cell."""
    line = line.removesuffix("\n")
    return line.removesuffix("\r") if end == "\r\n" else line
