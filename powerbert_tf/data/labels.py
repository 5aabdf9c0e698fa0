"""Labels as a table spells them: numbers or classes, which classes, how many of each.

Which rows become the dev set: those of scikit-learn's `train_test_split`, found in a few bytes a row.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from powerbert_tf.common.errors import InputError

# float() takes underscores, nan and inf, too.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SHARE_OF_NUMBERS = 0.9  # of labels that are real-valued; the others are bad rows
_LARGEST = float(np.finfo(np.float32).max)
_NO_VALUE = ("nan", "NaN")  # what is written where a value was missing
_MOST_CLASSES = 0.5  # times the rows: beyond it, the column is no label


def parse_number(spelling: str) -> float | None:
    """A finite float32, or None where the spelling is none."""
    if not _NUMBER.fullmatch(spelling):
        return None
    value = float(spelling)
    return value if abs(value) <= _LARGEST else None


def label_problem(spelling: str | None, column: str) -> str:
    """Why this is no label at all, empty where it may be one."""
    if spelling is None or not spelling.strip():
        return f"{column} is empty"
    if spelling.strip() in _NO_VALUE:
        return f"{column} is {spelling.strip()}, which is no value"
    return ""


def are_real_valued(spellings: Sequence[str]) -> bool:
    """Whether labels are numbers to be predicted and not names: nearly all are numbers, and not all are whole."""
    count, fractions = 0, False
    for number in map(parse_number, spellings):
        if number is not None:
            count += 1
            fractions = fractions or not number.is_integer()
    return fractions and count >= _SHARE_OF_NUMBERS * len(spellings)


def find_classes(spellings: Sequence[str], column: str) -> tuple[str, ...]:
    """The classes that occur, in the order of their numbers where all are numbers, else of their names.

    Raises:
        InputError: There is one alone, or there are nearly as many as rows.
    """
    found = set(spellings)
    if len(found) < 2:
        raise InputError(
            f"--label_column={column}: all rows have the label {next(iter(found))!r}; expected two or more."
        )
    if len(found) > max(2, _MOST_CLASSES * len(spellings)):
        numbers = all(parse_number(spelling) is not None for spelling in found)
        hint = "; pass --regression to predict numbers" if numbers else "; is it another column?"
        raise InputError(
            f"--label_column={column}: {len(found)} different labels in {len(spellings)} rows; expected classes of "
            f"several rows each{hint}."
        )

    def order(name: str) -> tuple[float, str]:
        number = parse_number(name)
        return (math.inf if number is None else number, name)

    numeric = all(parse_number(name) is not None for name in found)
    return tuple(sorted(found, key=order if numeric else None))


def balanced_weights(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Weight of each class in the loss, `n / (C n_c)`: each class as a whole weighs the same, the mean is 1.

    Args:
        labels: Class numbers `[n]`.
        num_classes: C. A class without a row weighs nothing.
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = np.count_nonzero(counts)
    return tuple(len(labels) / (present * count) if count else 0.0 for count in counts.tolist())


def draw_dev_rows(classes: np.ndarray | None, num_rows: int, count: int, seed: int) -> np.ndarray:
    """Which rows are drawn, `[num_rows]` bool.

    Args:
        classes: Class numbers `[num_rows]`, of which each is drawn in its share; None to draw regardless of classes.
        num_rows: How many there are.
        count: How many to draw, fewer than there are; at least one of each class, and so many that one stays.
        seed: Of the draw.
    """
    draw = np.random.RandomState(seed)  # the generator of scikit-learn
    drawn = np.zeros(num_rows, bool)
    if classes is None:
        drawn[_permutation(draw, num_rows)[:count]] = True
        return drawn
    present, counts = np.unique(classes, return_counts=True)
    stay = _shares(counts, num_rows - count, draw)
    leave = _shares(counts - stay, count, draw)
    for one, size, first, number in zip(present, counts, stay, leave, strict=True):
        permutation = _permutation(draw, int(size))
        rows = np.flatnonzero(classes == one)
        drawn[rows[permutation[first : first + number]]] = True
    return drawn


def _permutation(draw: np.random.RandomState, size: int) -> np.ndarray:
    """`draw.permutation(size)` in numbers of 4 bytes, which are drawn alike."""
    numbers = np.arange(size, dtype="int32" if size < 2**31 else "int64")
    draw.shuffle(numbers)
    return numbers


def _shares(counts: np.ndarray, total: int, draw: np.random.RandomState) -> np.ndarray:
    """How many of `total` each class gets: its share rounded down, the rest by largest remainder, ties by lot."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    missing = int(total - shares.sum())
    remainders = exact - shares
    for remainder in np.unique(remainders)[::-1]:
        if missing <= 0:
            break
        tied = np.flatnonzero(remainders == remainder)
        chosen = draw.choice(tied, size=min(len(tied), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    return shares.astype(int)
