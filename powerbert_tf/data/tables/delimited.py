"""CSV, TSV and the like, record by record, each with the line in which it begins.

Python's `csv` in strict mode splits records, as in pandas. `pandas.read_csv` itself fills up a row that is too short
without a word, and can neither name the line of a bad row nor read on after it.
"""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.tables.lines import Pushback, Text, number_lines
from powerbert_tf.data.tables.rows import OpenTable, Row, TableFormat, column_names, text_problem

_DELIMITERS = ",;\t|"
_LARGEST_CELL = 1 << 24  # characters; an unclosed quote must not read the whole file into memory
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # Excel's first line
# `csv` takes a carriage return for the end of a record; `surrogateescape` never spells a byte so.
_RETURN, _STAND_IN = "\r", "\udc0d"
_SAMPLE_LINES, _SAMPLE_SIZE = 500, 1 << 20
_UNCLOSED = 'a quote (") is opened and never closed'

csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))

Lines = Pushback[tuple[int, str]]


@dataclasses.dataclass(frozen=True)
class _Dialect:
    """How cells are written.

    Attributes:
        delimiter: Between cells.
        quoted: Whether cells may be quoted; a quote in a quoted cell is doubled. Otherwise it is a character.
        escape: Character in front of a quote in a cell, and of itself; or empty.
        spaced: Whether blanks behind a delimiter belong to it.
    """

    delimiter: str
    quoted: bool
    escape: str = ""
    spaced: bool = False


class _Record(NamedTuple):
    """One record.

    Attributes:
        line: Number of the line in which it begins.
        text: Its lines; of a record that cannot be read, the first one.
        cells: Its cells; empty if it cannot be read.
        problem: Why it cannot be read.
    """

    line: int
    text: str
    cells: list[str]
    problem: str = ""


def open_delimited(text: Text, table_format: TableFormat, delimiter: str) -> OpenTable:
    """Opens a table of lines with delimiters.

    A quoted cell may hold delimiters, line ends and doubled quotes; a quote inside an unquoted cell is an ordinary
    character. If a record cannot be read, only its first line is rejected, and reading resumes at the next line. Blank
    lines are skipped.

    Args:
        text: The file.
        table_format: What flags say. Otherwise delimiter, escaped quotes and blanks behind delimiters are those that
            give most of the first rows as many cells as the header has.
        delimiter: The one that the name of the file tells; it wins if others do as well.

    Raises:
        InputError: There is no header, or the file cannot be read.
    """
    path, lines = text.path, Pushback(text.lines())
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path}: the file is empty; expected a header with column names, then rows.")
    if _RETURN in first[1] and not first[1].endswith("\n"):  # the whole file, with the line ends of an old Macintosh
        lines = Pushback(number_lines([first[1].replace(_RETURN, "\n")], path))
        first = next(lines)
    end = "\r\n" if first[1].endswith("\r\n") else "\n"
    separator = _SEPARATOR.fullmatch(first[1])
    if separator:
        delimiter = separator[1]
    else:
        lines.give_back([first])
    delimiter = table_format.delimiter or delimiter
    dialect = _find_dialect(lines, end, delimiter, bool(table_format.delimiter or separator), table_format.quoted)
    records = _records(lines, dialect, end)
    header = next(records, None)
    if header is None:
        raise InputError(f"{path}: the file is empty; expected a header with column names, then rows.")
    given = table_format.columns
    _check_header(header, given, text)
    if given and [cell.strip().casefold() for cell in header.cells] != [name.casefold() for name in given]:
        records = itertools.chain([header], records)
    columns, doubled = column_names(given or header.cells)
    read_as = f"delimiter {dialect.delimiter!r}{' and blanks' if dialect.spaced else ''}, {text.encoding}"
    read_as += ', \\" for a quote' if dialect.escape else ""
    read_as += ", no header" if given else ""
    rows = _rows(path, records, columns, text.encoding)
    return OpenTable(path, columns, rows, meter=text.meter, doubled=doubled, read_as=read_as)


def _check_header(header: _Record, given: Sequence[str], text: Text) -> None:
    """Checks the first record, which holds names of columns, or else the first row of the columns `given` by a flag."""
    place = f"{text.path}:{header.line}"
    if header.problem:
        way = "mend it, or pass another --delimiter, or --quoting=none"
        raise InputError(f"{place}: the header cannot be read: {header.problem}; {way}.")
    if given and len(header.cells) != len(given):
        named, found = counted(len(given), "column"), counted(len(header.cells), "cell")
        raise InputError(f"--columns={','.join(given)}: names {named}; {place} has {found}.")
    if not given and any(_RETURN in cell for cell in header.cells):
        raise InputError(f"{place}: a carriage return in the header; convert the line ends to Unix's.")
    if not given and (problem := text_problem("".join(header.cells), text.encoding)):
        raise InputError(f"{place}: the header cannot be read: {problem}; pass another --encoding.")


def _rows(path: str, records: Iterator[_Record], columns: tuple[str, ...], encoding: str) -> Iterator[Row]:
    for record in records:
        if record.problem:
            yield Row(path, record.line, {}, record.problem, record.text.partition("\n")[0].removesuffix("\r"))
        else:
            row = Row(path, record.line, dict(zip(columns, record.cells, strict=True)))
            yield row.checked((record.text,), encoding)


def _records(lines: Lines, dialect: _Dialect, end: str) -> Iterator[_Record]:
    """Yields records; those with fewer or more cells than the first are a problem."""
    width = 0
    taken: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        for numbered in lines:
            taken.append(numbered)
            yield numbered[1] if _RETURN not in numbered[1] else _without_returns(numbered[1], end)

    def bad(problem: str) -> _Record:
        (number, line), *rest = taken
        taken.clear()
        lines.give_back(rest)
        return _Record(number, line, [], problem)

    while True:
        reader = csv.reader(
            feed(),
            delimiter=dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
            escapechar=dialect.escape or None,
            skipinitialspace=dialect.spaced,
            strict=True,
        )
        try:
            for cells in reader:
                width = width or len(cells)
                if len(cells) != width and cells:
                    yield bad(f"the row has {counted(len(cells), 'cell')} instead of {width}")
                elif cells:  # else a blank line
                    number, text = taken[0]
                    if len(taken) > 1:
                        text = "".join(line for _, line in taken)
                    if _RETURN in text:
                        cells = [cell.replace(_STAND_IN, _RETURN) for cell in cells]
                    yield _Record(number, text, cells)
                taken.clear()
            return
        except csv.Error as error:
            yield bad(_reason(error, dialect))


def _without_returns(line: str, end: str) -> str:
    body = line.removesuffix("\r\n" if line.endswith('"\r\n') else end)
    return body.replace(_RETURN, _STAND_IN) + line[len(body) :]


def _reason(error: csv.Error, dialect: _Dialect) -> str:
    if "expected after" in str(error):
        return f"a closing quote is not followed by {dialect.delimiter!r} (unbalanced quotes?)"
    return "a NUL character" if "NUL" in str(error) else _UNCLOSED  # the former before Python 3.11


def _find_dialect(lines: Lines, end: str, delimiter: str, is_given: bool, quoted: bool) -> _Dialect:
    """Returns the dialect in which most of the first records have as many cells as the header, two at least."""
    sample: list[tuple[int, str]] = []
    size = 0
    for numbered in itertools.islice(lines, _SAMPLE_LINES):
        sample.append(numbered)
        size += len(numbered[1])
        if size > _SAMPLE_SIZE:
            break
    is_cut = next(lines, None)
    if is_cut:
        lines.give_back([is_cut])
    lines.give_back(sample)
    has_escapes = any('\\"' in line for _, line in sample)
    kinds = [("", False), ("", True), ("\\", False), ("\\", True)] if quoted else [("", False)]
    best, most = _Dialect(delimiter, quoted), 0.0
    for one in delimiter if is_given else delimiter + _DELIMITERS.replace(delimiter, ""):
        for escape, spaced in kinds:
            if (has_escapes or not escape) and one != escape and not (spaced and one == " "):
                dialect = _Dialect(one, quoted, escape, spaced)
                share = _share_of_rows(sample, dialect, end, bool(is_cut))
                if share > most:
                    best, most = dialect, share
    return best


def _share_of_rows(sample: list[tuple[int, str]], dialect: _Dialect, end: str, is_cut: bool) -> float:
    width, good, total = 0, 0, 0
    for record in _records(Pushback(sample), dialect, end):
        if is_cut and record.problem == _UNCLOSED:
            break  # perhaps the end of the sample is in a cell
        width = width or len(record.cells)
        good += not record.problem
        total += 1
    return good / total if width > 1 else 0.0
