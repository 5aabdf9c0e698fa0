"""Word-pieces of a split, and batches of them padded to few lengths."""

import dataclasses
import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from powerbert_tf.buckets import choose_buckets, padded_lengths
from powerbert_tf.cores import usable_cores
from powerbert_tf.tokenization import Tokenizer
from powerbert_tf.tsv import Split

PADDINGS = ("batch", "max")
_LEAST_AT_ONCE, _MOST_AT_ONCE = 512, 4096  # rows tokenized by one call
_GROUPED_BATCHES = 16  # that are sorted by length together: enough that little is padded
LENGTH_BUCKETS = 32  # of a plain graph, which takes any length: enough that batches are padded to little but themselves


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """A split as word-pieces.

    Attributes:
        token_ids: `[n, (length)]` int32.
        segment_ids: `[n, (length)]` int32.
        labels: `[n]`, or None for a test split.
        pad_id: Id of `[PAD]`.
        max_seq_length: N.
    """

    token_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor
    labels: np.ndarray | None
    pad_id: int
    max_seq_length: int

    def __len__(self) -> int:
        return self.token_ids.shape[0]

    def take(self, rows: np.ndarray) -> "EncodedSplit":
        """Some of the rows, `[k]` numbers, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        token_ids, segment_ids = (tf.gather(ragged, rows) for ragged in (self.token_ids, self.segment_ids))
        return dataclasses.replace(self, token_ids=token_ids, segment_ids=segment_ids, labels=labels)

    @property
    def lengths(self) -> np.ndarray:
        """Word-pieces of each row, special tokens included, `[n]`."""
        return self.token_ids.row_lengths().numpy()


def encode_split(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> EncodedSplit:
    """Tokenizes a whole split, on all cores."""
    encode = _encoder(tokenizer, tokenizer.generation(), len(split.texts), max_seq_length)
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
    return EncodedSplit(token_ids, segment_ids, split.labels, tokenizer.pad_id, max_seq_length)


@functools.lru_cache(maxsize=8)
def _encoder(
    tokenizer: Tokenizer, generation: int, num_texts: int, max_seq_length: int
) -> tf.types.experimental.PolymorphicFunction:
    """Texts `[B]` -> ids, and segments without their row splits, as a graph.

    Called one by one, the operations leave most of the time to Python, and that to one core. Tracing the graph takes as
    long as tokenizing some ten thousand texts, hence once for all splits and each generation of the operations.
    """

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)] * num_texts)
    def encode(*texts):
        token_ids, segment_ids = tokenizer(texts, max_seq_length)
        return token_ids, segment_ids.flat_values

    return encode


def epoch_order(lengths: np.ndarray, batch_size: int, seed: int, epoch: int, grouped: bool) -> list[np.ndarray]:
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
    random = np.random.default_rng((seed, epoch))
    rows = random.permutation(len(lengths))
    if not grouped:
        return np.split(rows, range(batch_size, len(rows), batch_size))
    groups = np.split(rows, range(batch_size * _GROUPED_BATCHES, len(rows), batch_size * _GROUPED_BATCHES))
    ordered = np.concatenate([group[np.argsort(lengths[group], kind="stable")] for group in groups])
    batches = np.split(ordered, range(batch_size, len(rows), batch_size))
    return [batches[number] for number in random.permutation(len(batches))]


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
    rows: list[np.ndarray]
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
        rows = [self.rows[number] for number in numbers]
        return dataclasses.replace(self, rows=rows, lengths=self.lengths[numbers])

    def dataset(self, with_labels: bool) -> tf.data.Dataset:
        """`{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` of each batch.

        Args:
            with_labels: Whether labels `[B]` come with them; and, where batches are filled up, weights `[B]` that are 1
                for an example and 0 for what was filled in.
        """
        encoded = self.encoded
        rows = tf.RaggedTensor.from_row_lengths(np.concatenate(self.rows), [len(batch) for batch in self.rows])
        numbered = tf.data.Dataset.from_tensor_slices((rows, np.array(self.lengths, "int64")))

        def make(rows, length):
            count = tf.shape(rows, tf.int64)[0]
            size = count if self.filled_to is None else self.filled_to
            token_ids, segment_ids = (tf.gather(ragged, rows) for ragged in (encoded.token_ids, encoded.segment_ids))

            def fill(values):
                return tf.pad(values, [[0, size - count], *[[0, 0]] * (values.shape.rank - 1)])

            inputs = {
                "token_ids": token_ids.to_tensor(encoded.pad_id, shape=[size, length]),
                "segment_ids": segment_ids.to_tensor(0, shape=[size, length]),
                "padding_mask": tf.sequence_mask(fill(token_ids.row_lengths()), length, dtype=tf.int32),
            }
            if not with_labels:
                return inputs
            labels = fill(tf.gather(encoded.labels, rows))
            if self.filled_to is None:
                return inputs, labels
            return inputs, labels, fill(tf.ones([count], tf.float32))

        return numbered.map(make, num_parallel_calls=2).prefetch(4)


def grouped_rows(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch, by length, so that little is padded.

    Where the rows do not make full batches, the first one is smaller: to fill up the shortest costs least.
    """
    return _from_the_end(np.argsort(lengths, kind="stable"), batch_size)


def _from_the_end(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return np.split(order, range(len(order) % batch_size or batch_size, len(order), batch_size))


def pad_rows(encoded: EncodedSplit, rows: np.ndarray, length: int, filled_to: int = 0) -> dict[str, np.ndarray]:
    """One batch, made without TensorFlow: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]`.

    Args:
        encoded: The split.
        rows: Row numbers.
        length: T, what they are padded to.
        filled_to: Least B; rows of nothing but padding fill up what is missing.
    """
    positions = np.arange(length)
    mask = positions < encoded.lengths[rows][:, None]
    more = ((0, max(filled_to - len(rows), 0)), (0, 0))

    def dense(ragged, pad):
        values = ragged.flat_values.numpy()
        flat = ragged.row_starts().numpy()[rows][:, None] + positions
        found = np.where(mask, values[np.minimum(flat, len(values) - 1)], pad).astype("int32")
        return np.pad(found, more, constant_values=pad)

    return {
        "token_ids": dense(encoded.token_ids, encoded.pad_id),
        "segment_ids": dense(encoded.segment_ids, 0),
        "padding_mask": np.pad(mask.astype("int32"), more),
    }


def _padded(
    encoded: EncodedSplit, rows: list[np.ndarray], batch_size: int, padding: str, length_buckets: int, fill: bool
) -> Batches:
    if padding == "max":
        lengths = np.full(len(rows), encoded.max_seq_length)
    else:
        row_lengths = encoded.lengths
        longest = np.array([row_lengths[batch].max() for batch in rows])
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
    lengths = encoded.lengths
    rows = [
        batch
        for epoch in range(epochs)
        for batch in epoch_order(lengths, batch_size, seed, epoch, grouped=padding == "batch")
    ]
    return _padded(encoded, rows, batch_size, padding, length_buckets, fill)


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
    rows = grouped_rows(encoded.lengths, batch_size) if grouped else _from_the_end(np.arange(len(encoded)), batch_size)
    return _padded(encoded, rows, batch_size, padding, length_buckets, fill)
