"""Which rows become the dev set: those of scikit-learn's `train_test_split`, found in a few bytes a row.

Its own way holds each row as several Python objects, a hundred bytes. What it draws with a seed is drawn here, too,
number for number: of each class a permutation, and by lot which classes give one row more where shares are not whole.
"""

import numpy as np


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
