"""Rows with any number of labels, as tables spell them: as a list, as 0 and 1 for each label, with a separator."""

import ast
import collections
import dataclasses
import itertools
import json
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labels import LabelReader, parse_number, shortened, sort_names, too_many
from powerbert_tf.data.tables.rows import cell_text

NO_SEPARATOR = "none"  # value of the flag for labels that are never split
_SEPARATORS = ("|", ";", ",")  # that are found, in this order
_FLAGS = {"0": False, "1": True, "false": False, "true": True}
_LEAST_LISTS = 0.5  # share of the rows of a column of lists; the others are bad rows


def read_list(spelling: str) -> list[str] | None:
    """Reads a list of names or numbers, of JSON or as Python prints it; None if it is none.

    Raises nothing: NumPy's `['joy' 'anger']`, which Python would read as one name, is no list here.
    """
    if not spelling.startswith("["):
        return None
    try:
        values = json.loads(spelling)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings(action="ignore"):  # about escapes that Python does not print
                values = ast.literal_eval(spelling)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if repr(values) != spelling:
            return None
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        return None
    return [str(int(value)) if isinstance(value, bool) else (cell_text(value) or "").strip() for value in values]


def read_flags(cells: Sequence[tuple[str, str | None]]) -> tuple[str, str]:
    """Reads a column of 0 and 1 for each label.

    Args:
        cells: Name and cell of each column.

    Returns:
        The names of the labels that are 1, as a list of JSON; and why there are none, empty if all cells are right.
    """
    names = []
    for name, cell in cells:
        spelling = (cell or "").strip().casefold()
        number = parse_number(spelling)
        flag = bool(number) if number in (0, 1) else _FLAGS.get(spelling)
        if flag is None:
            return "", f"{name} is {shortened(cell or '') if spelling else 'empty'}; expected 0 or 1"
        if flag:
            names.append(name)
    return json.dumps(names, ensure_ascii=False), ""


@dataclasses.dataclass(frozen=True)
class ListForm:
    """How rows spell their labels.

    Attributes:
        has_lists: Whether each is a list; otherwise names with a separator.
        size: C, where lists have 0 or 1 for each label; 0 where they name them.
        separator: What is between names; empty if there is one.
    """

    has_lists: bool
    size: int = 0
    separator: str = ""

    def read(self, spelling: str) -> Sequence[str] | None:
        """The names of the labels, or else their numbers; None if it is spelled otherwise."""
        if not self.has_lists:
            parts = spelling.split(self.separator) if self.separator else [spelling]
            return [name for part in parts if (name := part.strip())]
        values = read_list(spelling)
        if values is None or "" in values:
            return None
        if not self.size:
            return values
        if len(values) != self.size or not {*values} <= {"0", "1"}:
            return None
        return [str(number) for number, value in enumerate(values) if value == "1"]

    def describe(self) -> str:
        """What one row's label is, for messages."""
        if not self.has_lists:
            return f"names with {self.separator!r} between" if self.separator else "a name"
        return f"a list of {self.size} numbers, 0 or 1" if self.size else "a list of names or numbers"


def find_form(spellings: Sequence[str], separator: str) -> ListForm | None:
    """Finds out whether rows have any number of labels, and how they are spelled; None if each has one.

    Lists are such labels. A separator is taken where it is given; else where two labels or more have it, and each of
    their parts is a label of other rows, too, so that no class has the separator in its name.

    Args:
        spellings: The label of each row.
        separator: Value of the flag: empty to look for one, `NO_SEPARATOR` for none.
    """
    found = set(spellings)
    lists = [values for values in map(read_list, found) if values is not None]
    if lists and len(lists) > _LEAST_LISTS * len(found):
        return ListForm(has_lists=True, size=_size_of_flags(lists))
    if separator:
        return None if separator == NO_SEPARATOR else ListForm(has_lists=False, separator=separator)
    for one in _SEPARATORS:
        composed = _split(found, one)
        parts = {part for of_row in composed.values() for part in of_row}
        numeric = one == "," and any(parse_number(part) is not None for part in parts)  # of 0,5 and 1,5
        if len(composed) > 1 and parts <= found and not numeric:
            return ListForm(has_lists=False, separator=one)
    return None


def _size_of_flags(lists: Sequence[Sequence[str]]) -> int:
    """C, if lists have 0 or 1 for each label: if most have nothing else, and repeat it, or all have one length."""
    flags = [values for values in lists if {*values} <= {"0", "1"}]
    sizes = collections.Counter(map(len, lists))
    size, _ = sizes.most_common(1)[0]
    repeated = sum(len(values) > len({*values}) for values in flags)
    is_certain = repeated > _LEAST_LISTS * len(lists) or (len(flags) == len(lists) and len(sizes) == 1)
    return size if size > 1 and is_certain else 0


def _split(found: Collection[str], separator: str) -> dict[str, list[str]]:
    return {name: [part.strip() for part in name.split(separator)] for name in found if separator in name}


def doubtful_separator(classes: Sequence[str]) -> str:
    """A warning about classes whose names look like several labels of a row; empty if none do."""
    for separator in _SEPARATORS:
        composed = _split(classes, separator)
        parts = list(itertools.chain.from_iterable(composed.values()))
        if len(composed) > 1 and len(set(parts)) < len(parts) - len(composed) / 2:
            first, second, *_ = composed
            return (
                f"{first!r} and {second!r} are classes of their own; --label_separator={separator!r} makes several "
                f"labels of them, --label_separator={NO_SEPARATOR} says that they are right"
            )
    return ""


def find_labels(form: ListForm, spellings: Iterable[str], column: str) -> tuple[str, ...]:
    """Returns the labels that occur, sorted as numbers if all are numbers, else as names.

    Raises:
        InputError: There is only one label, or there are nearly as many as rows.
    """
    if form.size:
        return tuple(map(str, range(form.size)))
    found = collections.Counter(name for spelling in spellings for name in {*(form.read(spelling) or ())})
    if len(found) < 2:
        there = f"{next(iter(found))!r} alone occurs" if found else "no row has a label"
        raise InputError(f"--label_column={column}: {there}; expected two labels or more.")
    if too_many(found, found.total()):
        raise InputError(
            f"--label_column={column}: {len(found)} different labels, {found.total()} in all rows; expected labels of "
            "several rows each; is it another column, or another --label_separator?"
        )
    return sort_names(found)


class LabelsReader:
    """Reads the labels of a row: 0 and 1 `[C]`."""

    dtype = "uint8"

    def __init__(self, classes: Sequence[str], form: ListForm):
        self.shape: tuple[int, ...] = (len(classes),)
        self._form = form
        # Numbers of the values of a list are positions, whatever the names.
        self._read = LabelReader(tuple(map(str, range(len(classes)))) if form.size else classes)

    def __call__(self, spelling: str) -> Any:
        """Returns the labels, or the reason why they are none."""
        names = self._form.read(spelling)
        if names is None:
            return f"the label {shortened(spelling)} is not {self._form.describe()}"
        row = np.zeros(self.shape, self.dtype)
        for name in names:
            number = self._read(name)
            if isinstance(number, str):
                return number
            row[int(number)] = 1
        return row
