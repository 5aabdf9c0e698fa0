"""Word-pieces of a split, and batches of them padded to few lengths."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from powerbert_tf.batches.buckets import choose_buckets, padded_lengths
from powerbert_tf.batches.encoded_rows import HeldValues, Pieces
from powerbert_tf.batches.order import EpochsInOrder, RowsOfBatches, cut_from_the_end, longest_of, order_by_length
from powerbert_tf.common.machine import usable_cores
from powerbert_tf.data.race import input_texts
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

PADDINGS = ("batch", "max")
_LEAST_AT_ONCE, _MOST_AT_ONCE = 512, 4096  # rows tokenized by one call
LENGTH_BUCKETS = 32  # of a plain graph, which takes any length: enough that batches are padded to little but themselves


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """A split as word-pieces.

    Attributes:
        pieces: Word-pieces and segments, of `n * choices` inputs.
        labels: `[n]`, or None for a test split.
        pad_id: Id of `[PAD]`.
        max_seq_length: N.
        choices: K, inputs of each row: of multiple choice one an option, next to each other; else 1.
    """

    pieces: Pieces
    labels: np.ndarray | None
    pad_id: int
    max_seq_length: int
    choices: int = 1

    def __len__(self) -> int:
        return len(self.pieces) // self.choices

    def take(self, rows: np.ndarray) -> "EncodedSplit":
        """Some of the rows, `[k]` numbers, in that order; in memory."""
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, pieces=self.pieces.take(self.inputs_of(rows)), labels=labels)

    def inputs_of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the inputs of rows, `[k * choices]`."""
        return (rows[:, None] * self.choices + np.arange(self.choices)).reshape(-1) if self.choices > 1 else rows

    @property
    def lengths(self) -> np.ndarray:
        """Word-pieces of each row's longest input, special tokens included, `[n]`."""
        return self.small_lengths.astype("int64")

    @property
    def small_lengths(self) -> np.ndarray:
        """The same, of a small type, whose sums and products overflow."""
        lengths = self.pieces.lengths
        return lengths.reshape(-1, self.choices).max(axis=1) if self.choices > 1 else lengths

    @property
    def token_ids(self) -> tf.RaggedTensor:
        """`[n * choices, (length)]` int32, for those who want all of them in memory."""
        return self._ragged("token_ids")

    @property
    def segment_ids(self) -> tf.RaggedTensor:
        """`[n * choices, (length)]` int32, for those who want all of them in memory."""
        return self._ragged("segment_ids")

    def _ragged(self, name: str) -> tf.RaggedTensor:
        flat = self.pieces.flat(name, np.arange(len(self.pieces)))
        return tf.RaggedTensor.from_row_lengths(flat, self.pieces.lengths.astype("int64"))


def held_split(
    token_ids: tf.RaggedTensor,
    segment_ids: tf.RaggedTensor,
    labels: np.ndarray | None,
    pad_id: int,
    max_seq_length: int,
    choices: int = 1,
) -> EncodedSplit:
    """A split in memory, of ragged ids `[n * choices, (length)]`; the rest is as of `EncodedSplit`."""
    ids, segments = (HeldValues(ragged.flat_values.numpy()) for ragged in (token_ids, segment_ids))
    pieces = Pieces(ids, segments, token_ids.row_lengths().numpy())
    return EncodedSplit(pieces, labels, pad_id, max_seq_length, choices)


def encode_split(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> EncodedSplit:
    """Tokenizes a whole split, on all cores."""
    encode = _encoder(tokenizer, tokenizer.generation(), len(split.texts), max_seq_length, split.choices)
    cores = usable_cores()
    # Equal shares, the same number for each core.
    shares = math.ceil(len(split) / (cores * _MOST_AT_ONCE)) * cores
    size = max(math.ceil(len(split) / shares), _LEAST_AT_ONCE)

    def encode_from(start):
        return encode(*(tf.constant(column[start : start + size]) for column in split.texts))

    with ThreadPoolExecutor(cores) as executor:
        chunks = list(executor.map(encode_from, range(0, len(split), size)))
    token_ids = tf.concat([chunk for chunk, _ in chunks], axis=0)
    segment_ids = token_ids.with_flat_values(tf.concat([segments for _, segments in chunks], axis=0))
    return held_split(token_ids, segment_ids, split.labels, tokenizer.pad_id, max_seq_length, split.choices)


@functools.lru_cache(maxsize=8)
def _encoder(
    tokenizer: Tokenizer, generation: int, num_texts: int, max_seq_length: int, choices: int
) -> tf.types.experimental.PolymorphicFunction:
    """Texts `[B]` -> ids, and segments without their row splits, as a graph.

    Called one by one, the operations leave most of the time to Python, and that to one core. Tracing the graph takes as
    long as tokenizing some ten thousand texts, hence once for all splits and each generation of the operations.
    """

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)] * num_texts)
    def encode(*texts):
        token_ids, segment_ids = tokenizer(input_texts(texts, choices), max_seq_length)
        return token_ids, segment_ids.flat_values

    return encode


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Batches of a split before they are made: which rows are in each, and to what length it is padded.

    Attributes:
        encoded: The split.
        rows: Row numbers of each batch.
        lengths: What each is padded to, `[batches]`.
        filled_to: Rows that each is filled up to with examples of nothing but padding, so that batches of one length
            have one shape; None leaves them as they are.
    """

    encoded: EncodedSplit
    rows: Sequence[np.ndarray]
    lengths: np.ndarray
    filled_to: int | None = None

    def after(self, count: int) -> "Batches":
        """All but the first `count`."""
        return dataclasses.replace(self, rows=self.rows[count:], lengths=self.lengths[count:])

    def first(self, count: int) -> "Batches":
        """The first `count` alone."""
        return dataclasses.replace(self, rows=self.rows[:count], lengths=self.lengths[:count])

    def of_each_length(self) -> "Batches":
        """The first batch of each length, the shortest first."""
        _, numbers = np.unique(self.lengths, return_index=True)
        rows = RowsOfBatches(self.rows.__getitem__, numbers)
        return dataclasses.replace(self, rows=rows, lengths=self.lengths[numbers])

    def dataset(self, with_labels: bool) -> tf.data.Dataset:
        """`{"token_ids", "segment_ids", "padding_mask"}` int32 `[B * choices, T]` of each batch.

        Args:
            with_labels: Whether labels `[B]` come with them; and, where batches are filled up, weights `[B]` that are 1
                for an example and 0 for what was filled in.
        """
        labels = self.encoded.labels if with_labels else None
        choices = self.encoded.choices
        rows_to_fill = None if self.filled_to is None else choices * self.filled_to
        types, shapes = [tf.int32], [[len(_INPUTS), rows_to_fill, None]]
        if labels is not None:
            types.append(tf.as_dtype(labels.dtype))
            shapes.append([self.filled_to, *labels.shape[1:]])

        def read(number) -> list[np.ndarray]:
            rows = self.rows[int(number)]
            inputs = pad_rows(self.encoded, rows, int(self.lengths[number]), self.filled_to or 0)
            packed = np.stack([inputs[name] for name in _INPUTS])  # one array to hand over, not three
            if labels is None:
                return [packed]
            filled = np.zeros((packed.shape[1] // choices, *labels.shape[1:]), labels.dtype)
            filled[: len(rows)] = labels[rows]
            return [packed, filled]

        def make(number):
            # Python, as rows may be in a file, where TensorFlow cannot read from any place.
            packed, *more = tf.numpy_function(read, [number], types)
            for value, shape in zip((packed, *more), shapes, strict=True):
                value.set_shape(shape)
            inputs = dict(zip(_INPUTS, tf.unstack(packed), strict=True))
            if not more:
                return inputs
            if self.filled_to is None:
                return inputs, more[0]
            # Every example has a [CLS], and what was filled in has nothing.
            return inputs, more[0], tf.cast(inputs["padding_mask"][::choices, 0], tf.float32)

        return tf.data.Dataset.range(len(self.rows)).map(make, num_parallel_calls=2).prefetch(4)


_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def grouped_rows(lengths: np.ndarray, batch_size: int) -> Sequence[np.ndarray]:
    """Row numbers of each batch, by length, so that little is padded.

    Where the rows do not make full batches, the first one is smaller: to fill up the shortest costs least.
    """
    return cut_from_the_end(order_by_length(lengths), batch_size)


def pad_rows(encoded: EncodedSplit, rows: np.ndarray, length: int, filled_to: int = 0) -> dict[str, np.ndarray]:
    """One batch, made without TensorFlow: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B * choices, T]`.

    Args:
        encoded: The split.
        rows: Row numbers.
        length: T, what they are padded to.
        filled_to: Least B; rows of nothing but padding fill up what is missing.
    """
    pieces = encoded.pieces
    shape = (max(filled_to, len(rows)) * encoded.choices, length)
    rows = encoded.inputs_of(rows)
    inputs = {
        "token_ids": np.full(shape, encoded.pad_id, "int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "padding_mask": np.zeros(shape, "int32"),
    }
    inputs["token_ids"][: len(rows)] = pieces.gather("token_ids", rows, length, encoded.pad_id)
    inputs["segment_ids"][: len(rows)] = pieces.gather("segment_ids", rows, length, 0)
    inputs["padding_mask"][: len(rows)] = np.arange(length) < pieces.lengths[rows][:, None]
    return inputs


def _padded(
    encoded: EncodedSplit,
    rows: Sequence[np.ndarray],
    longest: np.ndarray | None,
    batch_size: int,
    length_buckets: int,
    fill: bool,
) -> Batches:
    """Batches padded to few lengths; to N where `longest`, of each batch, is None."""
    if longest is None:
        lengths = np.full(len(rows), encoded.max_seq_length)
    else:
        lengths = padded_lengths(longest, choose_buckets(longest, length_buckets))
    return Batches(encoded, rows, lengths, batch_size if fill else None)


def training_batches(
    encoded: EncodedSplit,
    batch_size: int,
    epochs: int,
    seed: int,
    padding: str = "batch",
    length_buckets: int = LENGTH_BUCKETS,
    fill: bool = False,
) -> Batches:
    """Batches of all epochs, one after the other; each epoch has its own order, see `epoch_order`.

    Args:
        encoded: A split with labels.
        batch_size: Rows of a batch; one in each epoch may be smaller.
        epochs: How many.
        seed: Of the order.
        padding: `"batch"` groups rows of similar length and pads to the bucket of the longest, `"max"` pads to N.
        length_buckets: Most padded lengths; which ones, `buckets.choose_buckets` finds.
        fill: Whether the smaller batches are filled up.
    """
    grouped = padding == "batch"
    order = EpochsInOrder(encoded.small_lengths, batch_size, seed, grouped)
    rows = RowsOfBatches(order.rows, range(epochs * order.batches))
    longest = order.longest(epochs) if grouped else None
    return _padded(encoded, rows, longest, batch_size, length_buckets, fill)


def prediction_batches(
    encoded: EncodedSplit,
    batch_size: int,
    padding: str = "batch",
    length_buckets: int = LENGTH_BUCKETS,
    fill: bool = False,
    grouped: bool = True,
) -> Batches:
    """All rows, as `grouped_rows` has them, or, without `grouped`, in the order of the split.

    The other arguments are those of `training_batches`.
    """
    lengths = encoded.small_lengths
    order = order_by_length(lengths) if grouped else np.arange(len(lengths))
    rows = cut_from_the_end(order, batch_size)
    longest = None if padding == "max" else longest_of(lengths, order, len(rows[0]), batch_size)
    return _padded(encoded, rows, longest, batch_size, length_buckets, fill)
