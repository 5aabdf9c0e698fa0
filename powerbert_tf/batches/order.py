"""Which rows make which batch: row numbers of 4 bytes, and of an epoch when its turn comes. Plain arithmetic."""

import math
import threading
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

_GROUPED_BATCHES = 16  # that are sorted by length together: enough that little is padded
_KEPT_EPOCHS = 2  # one is being trained on while batches of the next are made ahead
_BLOCK = 1 << 20  # rows that are sorted at once


class RowsOfBatches(Sequence[np.ndarray]):
    """Row numbers of each batch, found when they are asked for.

    Args:
        rows: Of the batch of a number.
        numbers: Of these batches, `[batches]`.
    """

    def __init__(self, rows: Callable[[int], np.ndarray], numbers: Sequence[int] | np.ndarray):
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, at: slice) -> "RowsOfBatches": ...

    def __getitem__(self, at: int | slice) -> "np.ndarray | RowsOfBatches":
        if isinstance(at, slice):
            return RowsOfBatches(self._rows, self._numbers[at])
        return self._rows(int(self._numbers[at]))


def cut(order: np.ndarray, batch_size: int, numbers: Sequence[int] | np.ndarray | None = None) -> RowsOfBatches:
    """Batches of rows in order; the last one may be smaller.

    Args:
        order: Row numbers `[n]`.
        batch_size: Rows of a batch.
        numbers: The order of the batches; None as they are.
    """
    count = math.ceil(len(order) / batch_size)
    return RowsOfBatches(
        lambda number: order[number * batch_size : (number + 1) * batch_size],
        range(count) if numbers is None else numbers,
    )


def cut_from_the_end(order: np.ndarray, batch_size: int) -> RowsOfBatches:
    """Batches of rows in order; the first one may be smaller."""
    missing = -len(order) % batch_size
    return RowsOfBatches(
        lambda number: order[max(number * batch_size - missing, 0) : (number + 1) * batch_size - missing],
        range(math.ceil(len(order) / batch_size)),
    )


def order_by_length(lengths: np.ndarray) -> np.ndarray:
    """Row numbers `[n]`, the shortest first, in their own order where lengths are equal.

    It is `np.argsort(lengths, kind="stable")` with less memory: each block is sorted, and then goes to where the rows
    of each length before it end.
    """
    order = np.empty(len(lengths), _row_type(len(lengths)))
    blocks = range(0, len(lengths), _BLOCK)
    counts = np.zeros(int(lengths.max(initial=0)) + 1, "int64")
    for at in blocks:
        counts += np.bincount(lengths[at : at + _BLOCK], minlength=len(counts))
    places = np.cumsum(counts) - counts
    for at in blocks:
        block = lengths[at : at + _BLOCK]
        by_length = np.argsort(block, kind="stable")
        counts = np.bincount(block, minlength=len(places))
        behind = np.arange(len(block)) - np.repeat(np.cumsum(counts) - counts, counts)
        order[places[block[by_length]] + behind] = at + by_length
        places += counts
    return order


def longest_of(lengths: np.ndarray, order: np.ndarray, first: int, batch_size: int) -> np.ndarray:
    """The longest of each batch, `[batches]`.

    Args:
        lengths: Of each row, `[n]`.
        order: Row numbers of the batches, one after the other, `[n]`.
        first: Rows of the first batch.
        batch_size: Rows of each other one; the last may have fewer.
    """
    starts = [0, *range(first, len(order), batch_size)]
    return np.maximum.reduceat(lengths[order], starts).astype("int64")


def epoch_order(lengths: np.ndarray, batch_size: int, seed: int, epoch: int, grouped: bool) -> RowsOfBatches:
    """Which rows make each batch of an epoch; it depends on nothing but the arguments.

    Args:
        lengths: Word-pieces of each row, `[n]`.
        batch_size: Rows of a batch; one of them may be smaller.
        seed: Of the order.
        epoch: Number of the epoch; each has another order.
        grouped: Whether rows of similar length share a batch. They are sorted within groups of some batches only, so
            that batches differ from epoch to epoch.

    Returns:
        Row numbers of each batch; each row is in one of them.
    """
    return cut(*_draw_epoch(lengths, batch_size, seed, epoch, grouped))


def _draw_epoch(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, grouped: bool
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """The arguments of `cut`."""
    random = np.random.default_rng((seed, epoch))
    rows = np.arange(len(lengths), dtype=_row_type(len(lengths)))
    random.shuffle(rows)
    if not grouped:
        return rows, batch_size, None
    size = batch_size * _GROUPED_BATCHES
    for at in range(0, len(rows), size):
        group = rows[at : at + size]
        rows[at : at + size] = group[np.argsort(lengths[group], kind="stable")]
    return rows, batch_size, random.permutation(math.ceil(len(rows) / batch_size))


class EpochsInOrder:
    """The batches of one epoch after the other, see `epoch_order`; any number of threads may ask.

    Attributes:
        batches: Of an epoch.

    Args:
        lengths: As of `epoch_order`.
        batch_size: As of `epoch_order`.
        seed: As of `epoch_order`.
        grouped: As of `epoch_order`.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, grouped: bool):
        self._lengths, self._batch_size, self._seed, self._grouped = lengths, batch_size, seed, grouped
        self.batches = math.ceil(len(lengths) / batch_size)
        self._drawn: dict[int, tuple[np.ndarray, int, np.ndarray | None]] = {}
        self._lock = threading.Lock()

    def rows(self, number: int) -> np.ndarray:
        """Row numbers of a batch, counted through all epochs."""
        epoch, number = divmod(number, self.batches)
        return cut(*self._draw(epoch))[number]

    def longest(self, epochs: int) -> np.ndarray:
        """The longest of each batch of so many epochs, `[epochs * batches]`."""
        found = np.empty((epochs, self.batches), "int64")
        for epoch in reversed(range(epochs)):  # so that the first ones are kept
            order, size, numbers = self._draw(epoch)
            longest = longest_of(self._lengths, order, size, size)
            found[epoch] = longest if numbers is None else longest[numbers]
        return found.reshape(-1)

    def _draw(self, epoch: int) -> tuple[np.ndarray, int, np.ndarray | None]:
        with self._lock:
            if epoch not in self._drawn:
                while len(self._drawn) >= _KEPT_EPOCHS:
                    del self._drawn[next(iter(self._drawn))]
                self._drawn[epoch] = _draw_epoch(self._lengths, self._batch_size, self._seed, epoch, self._grouped)
            return self._drawn[epoch]


def _row_type(count: int) -> str:
    return "int32" if count < 2**31 else "int64"
