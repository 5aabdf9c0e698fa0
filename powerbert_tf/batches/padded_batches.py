"""Batches of an encoded split: which rows are in each, in which order, and to which length they are padded."""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from powerbert_tf.batches.buckets import choose_buckets, padded_lengths
from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.settings import LENGTH_BUCKETS
from powerbert_tf.models.classifier import INPUTS

_GROUPED_BATCHES = 16  # that are sorted by length together: enough that little is padded
_KEPT_EPOCHS = 2  # one is being trained on while batches of the next are made ahead


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Batches of a split, which are made when they are asked for.

    Attributes:
        encoded: The split.
        rows_of: Number of a batch -> its row numbers.
        numbers: The batches in their order, by their numbers, `[batches]`.
        lengths: Padded length of each, `[batches]`.
        filled_to: Batches with fewer rows are filled up to this number with examples of nothing but padding, so that
            all batches of one length have one shape; None leaves them as they are.
    """

    encoded: EncodedSplit
    rows_of: Callable[[int], np.ndarray]
    numbers: np.ndarray
    lengths: np.ndarray
    filled_to: int | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, at: int) -> np.ndarray:
        """Row numbers of the batch at a position."""
        return self.rows_of(int(self.numbers[at]))

    def order(self) -> np.ndarray:
        """Row numbers of all batches, one after the other."""
        return np.concatenate([self.rows(at) for at in range(len(self))])

    def select(self, which: slice | np.ndarray) -> "Batches":
        """Some of the batches, by their positions."""
        return dataclasses.replace(self, numbers=self.numbers[which], lengths=self.lengths[which])

    def of_each_length(self) -> "Batches":
        """The first batch of each length, the shortest first."""
        return self.select(np.unique(self.lengths, return_index=True)[1])

    def inputs(self, at: int) -> dict[str, np.ndarray]:
        """`{"token_ids", "segment_ids", "padding_mask"}` int32 `[B * choices, T]` of the batch at a position."""
        return self.encoded.pad(self.rows(at), int(self.lengths[at]), self.filled_to or 0)

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Inputs and row numbers of each batch, made while the one before is used."""
        with ThreadPoolExecutor(1) as maker:
            following = maker.submit(self.inputs, 0)
            for at in range(len(self)):
                inputs = following.result()
                if at + 1 < len(self):
                    following = maker.submit(self.inputs, at + 1)
                yield inputs, self.rows(at)

    def dataset(self, with_labels: bool) -> tf.data.Dataset:
        """The inputs of each batch, see `inputs`, for Keras' `fit` and for replicas.

        Args:
            with_labels: Whether labels `[B]` come with them; and, if batches are filled up, weights `[B]`, which are 1
                for an example and 0 for what was filled in.
        """
        labels = self.encoded.labels if with_labels else None
        num_inputs = None if self.filled_to is None else self.filled_to * self.encoded.choices
        types, shapes = [tf.int32] * len(INPUTS), [[num_inputs, None]] * len(INPUTS)
        if labels is not None:
            types.append(tf.as_dtype(labels.dtype))
            shapes.append([self.filled_to, *labels.shape[1:]])
            if self.filled_to is not None:
                types.append(tf.float32)
                shapes.append([self.filled_to])

        def read(at: Any) -> list[np.ndarray]:
            inputs, rows = self.inputs(int(at)), self.rows(int(at))
            arrays = [inputs[name] for name in INPUTS]
            if labels is not None:
                count = self.filled_to or len(rows)
                filled = np.zeros((count, *labels.shape[1:]), labels.dtype)
                filled[: len(rows)] = labels[rows]
                arrays += [filled, (np.arange(count) < len(rows)).astype("float32")]
            return arrays[: len(types)]

        def make(at):
            arrays = tf.numpy_function(read, [at], types)
            for array, shape in zip(arrays, shapes, strict=True):
                array.set_shape(shape)
            inputs = dict(zip(INPUTS, arrays, strict=False))
            return inputs if labels is None else (inputs, *arrays[len(INPUTS) :])

        return tf.data.Dataset.range(len(self)).map(make, num_parallel_calls=2).prefetch(4)


def training_batches(
    encoded: EncodedSplit,
    batch_size: int,
    epochs: int,
    seed: int,
    padding: str = "batch",
    length_buckets: int = LENGTH_BUCKETS,
    fill: bool = False,
    copies: int = 1,
) -> Batches:
    """Batches of all epochs, one after the other; each epoch has its own order, see `EpochOrder`.

    Args:
        encoded: A split with labels.
        batch_size: Rows of a batch; one in each epoch may be smaller.
        epochs: Number of epochs.
        seed: Seed of the order.
        padding: `"batch"` groups rows of similar length and pads to the bucket of the longest, `"max"` pads to N.
        length_buckets: Most padded lengths, which `buckets.choose_buckets` finds.
        fill: Whether the smaller batches are filled up.
        copies: How often the split has its rows, one copy behind the other; each epoch takes the next copy.
    """
    lengths = encoded.lengths.astype("int32")
    num_rows = len(lengths) // copies
    order = EpochOrder(lengths[:num_rows], batch_size, seed, grouped=padding == "batch")

    def rows(number: int) -> np.ndarray:
        return order.rows(number) + number // order.num_batches % copies * num_rows

    count = epochs * order.num_batches
    return _padded(encoded, lengths, rows, count, padding, length_buckets, batch_size if fill else None)


def prediction_batches(
    encoded: EncodedSplit,
    batch_size: int,
    padding: str = "batch",
    length_buckets: int = LENGTH_BUCKETS,
    fill: bool = False,
    grouped: bool = True,
    buckets: np.ndarray | None = None,
) -> Batches:
    """Batches of all rows, sorted by length, so that little is padded.

    `grouped=False` leaves the rows in the order of the split. `buckets` are the padded lengths; None for those that
    `length_buckets` and `padding` ask for. The other arguments are those of `training_batches`.

    If the rows do not make full batches, the first one is smaller: to fill up the shortest costs least.
    """
    lengths = encoded.lengths.astype("int32")
    order = np.argsort(lengths, kind="stable") if grouped else np.arange(len(lengths))
    order = order.astype(_row_type(len(lengths)))
    missing = -len(order) % batch_size

    def rows_of(number: int) -> np.ndarray:
        return order[max(number * batch_size - missing, 0) : (number + 1) * batch_size - missing]

    count = math.ceil(len(order) / batch_size)
    wanted = length_buckets if buckets is None else buckets
    return _padded(encoded, lengths, rows_of, count, padding, wanted, batch_size if fill else None)


def _padded(
    encoded: EncodedSplit,
    lengths: np.ndarray,
    rows_of: Callable[[int], np.ndarray],
    count: int,
    padding: str,
    buckets: np.ndarray | int,
    filled_to: int | None,
) -> Batches:
    """Pads each of `count` batches to N or to the bucket of its longest row; `buckets` are given, or their number."""
    if padding == "max":
        padded = np.full(count, encoded.max_seq_length)
    else:
        longest = np.array([int(lengths[rows_of(number)].max()) for number in range(count)])
        padded = padded_lengths(longest, choose_buckets(longest, buckets) if isinstance(buckets, int) else buckets)
    return Batches(encoded, rows_of, np.arange(count), padded, filled_to)


class EpochOrder:
    """Which rows make each batch of each epoch; any number of threads may ask.

    The order depends on nothing but the arguments and the number of the epoch, so that training can be resumed.

    Attributes:
        num_batches: Batches of an epoch.

    Args:
        lengths: Tokens of each row, `[n]`.
        batch_size: Rows of a batch; one in each epoch may be smaller.
        seed: Seed of the order.
        grouped: Whether rows of similar length share a batch. They are sorted within groups of some batches only, so
            that batches differ from epoch to epoch.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, grouped: bool):
        self._lengths, self._batch_size, self._seed, self._grouped = lengths, batch_size, seed, grouped
        self.num_batches = math.ceil(len(lengths) / batch_size)
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def rows(self, number: int) -> np.ndarray:
        """Row numbers of a batch, which is counted through all epochs."""
        epoch, at = divmod(number, self.num_batches)
        rows, numbers = self._draw(epoch)
        start = int(numbers[at]) * self._batch_size
        return rows[start : start + self._batch_size]

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of an epoch `[n]`, and the order of the batches that are cut from them."""
        with self._lock:
            if epoch not in self._drawn:
                while len(self._drawn) >= _KEPT_EPOCHS:
                    del self._drawn[next(iter(self._drawn))]
                random = np.random.default_rng((self._seed, epoch))
                rows = np.arange(len(self._lengths), dtype=_row_type(len(self._lengths)))
                random.shuffle(rows)
                numbers = np.arange(self.num_batches)
                if self._grouped:
                    size = self._batch_size * _GROUPED_BATCHES
                    for start in range(0, len(rows), size):
                        group = rows[start : start + size]
                        rows[start : start + size] = group[np.argsort(self._lengths[group], kind="stable")]
                    numbers = random.permutation(self.num_batches)
                self._drawn[epoch] = rows, numbers
            return self._drawn[epoch]


def _row_type(count: int) -> str:
    return "int32" if count < 2**31 else "int64"
