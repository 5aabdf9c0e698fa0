"""CSV, TSV and the like, record by record, each with the line in which it begins.

Python's `csv` in strict mode splits records, as in the Python engine of pandas. `pandas.read_csv` itself fills up a row
that is too short, takes `"a" b` for `a b` and a carriage return for the end of a row, all without a word; after an
unclosed quote it cannot read on.
"""

import collections
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables.lines import Text
from powerbert_tf.data.tables.rows import OpenTable, Row, TableFormat, column_names, text_problem

_DELIMITERS = ",;\t|"
_LARGEST_CELL = 1 << 24  # characters; an unclosed quote must not read the whole file into memory
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # Excel's first line
# `csv` takes a carriage return for the end of a record; `surrogateescape` never spells a byte so.
_RETURN, _STAND_IN = "\r", "\udc0d"
_SAMPLE_LINES, _SAMPLE_SIZE = 500, 1 << 20
_UNCLOSED = 'a quote (") is opened and never closed'

csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))

Lines = Iterator[tuple[int, str]]
Dialect = dict[str, Any]  # arguments of `csv.reader`


class _Record(NamedTuple):
    """A record: the line in which it begins, its text and cells; or the first line alone, and why it cannot be read."""

    line: int
    text: str
    cells: list[str]
    problem: str = ""


def open_delimited(text: Text, table_format: TableFormat, delimiter: str) -> OpenTable:
    """Opens a table of lines with delimiters; see `open_table`.

    A quoted cell may hold delimiters, line ends and doubled quotes; a quote inside an unquoted cell is an ordinary
    character. If a record cannot be read, only its first line is rejected, and reading resumes at the next line. Blank
    lines are skipped. Delimiter, escaped quotes and blanks behind delimiters are what flags say, else those that give
    most of the first rows as many cells as the header has; `delimiter`, which the name of the file tells, wins a tie.
    """
    path, lines, given = text.path, text.lines(), table_format.columns
    first = next(lines, (1, ""))
    if _RETURN in first[1] and not first[1].endswith("\n"):  # the whole file, with the line ends of an old Macintosh
        lines = enumerate(io.StringIO(first[1].replace(_RETURN, "\n")), start=1)
        first = next(lines)
    end = "\r\n" if first[1].endswith("\r\n") else "\n"
    separator = _SEPARATOR.fullmatch(first[1])
    if separator:
        delimiters = table_format.delimiter or separator[1]
    else:
        lines = itertools.chain([first], lines)
        delimiters = table_format.delimiter or delimiter + _DELIMITERS.replace(delimiter, "")
    dialect, lines = _find_dialect(lines, delimiters, table_format.quoted, end)
    records = _records(lines, dialect, end)
    header = next(records, None)
    if header is None:
        raise InputError(f"{path}: the file is empty; expected a header with column names, then rows.")
    _check_header(header, given, text)
    if given and [cell.strip().casefold() for cell in header.cells] != [name.casefold() for name in given]:
        records = itertools.chain([header], records)
    columns, doubled = column_names(given or header.cells)
    read_as = f"delimiter {dialect['delimiter']!r}{' and blanks' if dialect['skipinitialspace'] else ''}"
    read_as += f", {text.encoding}" + (', \\" for a quote' if dialect["escapechar"] else "")
    read_as += ", no header" if given else ""
    rows = _rows(path, records, columns, text.encoding)
    return OpenTable(path, columns, rows, meter=text, doubled=doubled, read_as=read_as)


def _check_header(header: _Record, given: Sequence[str], text: Text) -> None:
    """Checks the first record, which holds names of columns, or else the first row of the columns `given` by a flag."""
    place = f"{text.path}:{header.line}"
    if header.problem:
        way = "fix it, or pass another --delimiter, or --quoting=none"
        raise InputError(f"{place}: the header cannot be read: {header.problem}; {way}.")
    if given and len(header.cells) != len(given):
        named, found = counted(len(given), "column"), counted(len(header.cells), "cell")
        raise InputError(f"--columns={','.join(given)}: names {named}; {place} has {found}.")
    if not given and any(_RETURN in cell for cell in header.cells):
        raise InputError(f"{place}: a carriage return in the header; convert the line ends to Unix's.")
    if not given and (problem := text_problem("".join(header.cells), text.encoding)):
        raise InputError(f"{place}: the header cannot be read: {problem}; pass another --encoding.")


def _rows(path: str, records: Iterator[_Record], columns: tuple[str, ...], encoding: str) -> Iterator[Row]:
    for line, text, cells, problem in records:
        if problem:
            yield Row(path, line, {}, problem, text.partition("\n")[0].removesuffix("\r"))
        else:
            yield Row(path, line, dict(zip(columns, cells, strict=True)), text_problem(text, encoding))


def _records(lines: Lines, dialect: Dialect, end: str) -> Iterator[_Record]:
    """Yields records; those with fewer or more cells than the first are a problem."""
    width = 0
    taken: list[tuple[int, str]] = []
    again: collections.deque[tuple[int, str]] = collections.deque()

    def feed() -> Iterator[str]:
        while numbered := again.popleft() if again else next(lines, None):
            taken.append(numbered)
            yield numbered[1] if _RETURN not in numbered[1] else _without_returns(numbered[1], end)

    while True:
        try:
            for cells in csv.reader(feed(), strict=True, **dialect):
                width = width or len(cells)
                if cells:  # else a blank line
                    if len(cells) != width:
                        raise csv.Error(f"the row has {counted(len(cells), 'cell')} instead of {width}")
                    text = taken[0][1] if len(taken) == 1 else "".join(line for _, line in taken)
                    if _RETURN in text:
                        cells = [cell.replace(_STAND_IN, _RETURN) for cell in cells]
                    yield _Record(taken[0][0], text, cells)
                taken.clear()
            return
        except csv.Error as error:
            first, *rest = taken
            taken.clear()
            again.extendleft(reversed(rest))
            yield _Record(*first, [], _reason(str(error), dialect))


def _without_returns(line: str, end: str) -> str:
    body = line.removesuffix("\r\n" if line.endswith('"\r\n') else end)
    return body.replace(_RETURN, _STAND_IN) + line[len(body) :]


def _reason(error: str, dialect: Dialect) -> str:
    if "expected after" in error:
        return f"a closing quote is not followed by {dialect['delimiter']!r} (unbalanced quotes?)"
    return error if error.startswith("the row") else _UNCLOSED


def _find_dialect(lines: Lines, delimiters: str, quoted: bool, end: str) -> tuple[Dialect, Lines]:
    """Returns the dialect in which most of the first records have as many cells as the header, two at least.

    The first of `delimiters` wins a tie. The lines are returned, too, to be read once more.
    """
    sample: list[tuple[int, str]] = []
    size = 0
    while len(sample) < _SAMPLE_LINES and size < _SAMPLE_SIZE and (numbered := next(lines, None)):
        sample.append(numbered)
        size += len(numbered[1])
    is_cut = len(sample) == _SAMPLE_LINES or size >= _SAMPLE_SIZE
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    # In front of a quote in a cell, and of itself.
    escapes = (None, "\\") if quoted and any('\\"' in line for _, line in sample) else (None,)
    dialects = [
        {"delimiter": delimiter, "quoting": quoting, "escapechar": escape, "skipinitialspace": spaced}
        for delimiter, escape, spaced in itertools.product(delimiters, escapes, (False, True) if quoted else (False,))
        if delimiter != escape and not (spaced and delimiter == " ")
    ]
    best = max(dialects, key=lambda dialect: _share_of_rows(sample, dialect, end, is_cut))
    return best, itertools.chain(sample, lines)


def _share_of_rows(sample: list[tuple[int, str]], dialect: Dialect, end: str, is_cut: bool) -> float:
    records = _records(iter(sample), dialect, end)
    if is_cut:  # perhaps the end of the sample is in a cell
        records = itertools.takewhile(lambda record: record.problem != _UNCLOSED, records)
    widths = [len(record.cells) for record in records]
    return sum(map(bool, widths)) / len(widths) if max(widths, default=0) > 1 else 0.0
