"""Labels as a table spells them: whether they are numbers or classes, which classes, and how many of each."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted

# float() takes underscores, nan and inf, too.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SHARE_OF_NUMBERS = 0.9  # of the labels of a regression; the others are bad rows
_LARGEST = float(np.finfo(np.float32).max)
_NO_VALUE = ("nan", "NaN")  # written for a missing value
NO_LABEL = ("-", "-1", "-1.0")  # of rows that annotators did not agree on, in SNLI and in Hugging Face's data sets
_MOST_NAMED = 10  # classes in the reason why a label is none
_LONGEST_SHOWN = 40  # characters of a label in a message
_MOST_CLASSES = 0.5  # times the rows: a column with more is no label


def parse_number(spelling: str) -> float | None:
    """Returns a finite float32, or None if the spelling is none."""
    if not _NUMBER.fullmatch(spelling):
        return None
    value = float(spelling)
    return value if abs(value) <= _LARGEST else None


class LabelReader:
    """Reads labels: numbers of classes, or for a regression, without classes, the numbers themselves."""

    shape: tuple[int, ...] = ()  # of a label

    def __init__(self, classes: Sequence[str]):
        self.dtype = "int32" if classes else "float32"
        self._numbers = {name: number for number, name in enumerate(classes)}
        values = {parse_number(name): number for number, name in enumerate(classes)}
        # Of classes that are all numbers, 1 is 1.0.
        self._values = {} if None in values or len(values) < len(classes) else values
        self._known = ", ".join(classes[:_MOST_NAMED]) + (", ..." if len(classes) > _MOST_NAMED else "")

    def __call__(self, spelling: str) -> float | str:
        """Returns the label, or the reason why it is none."""
        label: float | None
        if self._numbers:
            label = self._numbers.get(spelling)
            if label is None and self._values:
                label = self._values.get(parse_number(spelling))
        else:
            label = parse_number(spelling.strip())
        if label is not None:
            return label
        if not self._numbers:
            return f"the label {shortened(spelling)} is not a finite number"
        unlabeled = "; it marks rows without a label, unless classes in task.json list it"
        return f"the label {shortened(spelling)} is none of {self._known}{unlabeled if spelling in NO_LABEL else ''}"


def shortened(spelling: str) -> str:
    """A spelling in quotes, cut if it is long, for messages."""
    return repr(spelling if len(spelling) <= _LONGEST_SHOWN else spelling[:_LONGEST_SHOWN] + "...")


def label_problem(spelling: str | None, column: str) -> str:
    """Returns why this is no label at all; empty if it may be one."""
    if spelling is None or not spelling.strip():
        return f"{column} is empty"
    if spelling.strip() in _NO_VALUE:
        return f"{column} is {spelling.strip()}, which is not a value"
    return ""


def are_withheld(spellings: Iterable[str], read_label: Callable[[str], Any]) -> bool:
    """Whether a test file has no labels: all are empty, no value, or a -1 that is none, as in TensorFlow Datasets."""
    missing = "-1" if isinstance(read_label("-1"), str) else ""
    return all(label_problem(spelling, "") or spelling.strip() == missing for spelling in spellings)


def _without_marks(found: set[str]) -> set[str]:
    """Returns the labels without `-` and `-1` where these mark rows without a label.

    They are classes beside a `+`, or among numbers that are not 0 to C - 1; so is -1 beside 0 and 1.
    """
    named = found.difference(NO_LABEL)
    values = {parse_number(name) for name in named}
    marks_numbers = None in values or (len(values) > 2 and values == set(range(len(values))))
    if len(named) < 2 or "+" in named:
        return found
    return {name for name in found if name in named or (name != "-" and not marks_numbers)}


def doubtful_classes(classes: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Returns warnings about classes that differ in case or white space alone, of one row, and about a -1 among two."""
    warnings = []
    if {parse_number(name) for name in classes} == {-1, 0, 1}:
        warnings.append("-1 is a class beside 0 and 1; remove its rows if it marks those without a label")
    spelled: dict[str, list[str]] = {}
    for name in classes:
        spelled.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in spelled.values():
        if len(names) > 1:
            warnings.append(f"{' and '.join(map(repr, names))} are classes of their own; are they the same?")
    rare = [name for name, count in zip(classes, counts, strict=True) if count == 1]
    if rare:
        more = f" and {len(rare) - _MOST_NAMED} more" if len(rare) > _MOST_NAMED else ""
        warnings.append(f"only one row has each of the classes {', '.join(rare[:_MOST_NAMED])}{more}")
    return warnings


def are_real_valued(spellings: Sequence[str]) -> bool:
    """Whether labels are numbers to predict, not names: nearly all are numbers, and not all of them whole."""
    count, fractions = 0, False
    for number in map(parse_number, spellings):
        if number is not None:
            count += 1
            fractions = fractions or not number.is_integer()
    return fractions and count >= _SHARE_OF_NUMBERS * len(spellings)


def find_classes(spellings: Sequence[str], column: str) -> tuple[str, ...]:
    """Returns the classes that occur, sorted as numbers if all are numbers, else as names.

    Raises:
        InputError: There is only one class, or there are nearly as many as rows.
    """
    found = _without_marks(set(spellings))
    if len(found) < 2:
        raise InputError(
            f"--label_column={column}: all rows have the label {next(iter(found))!r}; expected two or more."
        )
    if too_many(found, len(spellings)):
        numeric = all(parse_number(spelling) is not None for spelling in found)
        regression = "pass --regression to predict numbers; " if numeric else ""
        raise InputError(
            f"--label_column={column}: {len(found):,} different labels in {counted(len(spellings), 'row')}; "
            f"expected classes of several rows each; {regression}name another column, or list "
            "them as classes in a task.json."
        )
    return sort_names(found)


def too_many(found: Collection[str], num_rows: int) -> bool:
    """Whether there are so many different labels that the column is no label."""
    return len(found) > max(2, _MOST_CLASSES * num_rows)


def sort_names(found: Collection[str]) -> tuple[str, ...]:
    """Sorts names as numbers if all are numbers, else by their letters."""
    numeric = all(parse_number(name) is not None for name in found)
    return tuple(sorted(found, key=(lambda name: (parse_number(name), name)) if numeric else None))


def balanced_weights(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Returns the weight of each class in the loss, `n / (C n_c)`: all classes weigh the same, and the mean is 1.

    Args:
        labels: Class numbers `[n]`.
        num_classes: C. A class without rows has weight 0 and does not count.
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = np.count_nonzero(counts)
    return tuple(len(labels) / (present * count) if count else 0.0 for count in counts.tolist())
