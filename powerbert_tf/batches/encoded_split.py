"""Texts of a split -> token ids."""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from powerbert_tf.common.large_arrays import release
from powerbert_tf.common.machine import usable_cores
from powerbert_tf.data.race import input_texts
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

FEWEST_AT_ONCE, MOST_AT_ONCE = 512, 4096  # rows tokenized by one call
CHARACTERS_AT_ONCE = 1 << 22  # a call takes fewer rows if they are long
COUNTED_AT_ONCE = 64  # rows whose characters are counted together
_READ_AT_ONCE = 1 << 16  # spans


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSplit:
    """The token ids of a split, in memory or in a file.

    Axes: `n` rows, `K` inputs of each row, `m` tokens of all inputs.

    Attributes:
        token_ids: Ids of all inputs, one after the other, special tokens included, `[m]` of an integer type.
        spans: Where in `token_ids` each input begins, where its second text begins, and where it ends, int64
            `[n * K, 3]`; an input without a second text has the end in its place.
        labels: `[n]`, `[n, C]` of a multi-label task, or None for a test split.
        pad_id: Id of `[PAD]`.
        max_seq_length: N.
        choices: K, the options of multiple choice, which are next to each other; else 1.
    """

    token_ids: np.ndarray
    spans: np.ndarray
    labels: np.ndarray | None
    pad_id: int
    max_seq_length: int
    choices: int = 1

    def __len__(self) -> int:
        return len(self.spans) // self.choices

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row's longest input, special tokens included, int64 `[n]`."""
        lengths = np.empty(len(self.spans), "int64")
        for start in range(0, len(lengths), _READ_AT_ONCE):
            spans = self.spans[start : start + _READ_AT_ONCE]
            lengths[start : start + _READ_AT_ONCE] = spans[:, 2] - spans[:, 0]
            release(self.spans)
        return lengths.reshape(-1, self.choices).max(axis=1) if self.choices > 1 else lengths

    def take(self, rows: np.ndarray) -> "EncodedSplit":
        """Selects rows by their numbers, `[k]`, in that order; they are in memory."""
        spans = self.spans[self._inputs_of(rows)]
        lengths = spans[:, 2] - spans[:, 0]
        moved = spans[:, 0] - (np.cumsum(lengths) - lengths)  # by how much each input comes before its old place
        token_ids = self.token_ids[np.arange(lengths.sum()) + np.repeat(moved, lengths)]
        release(self.spans, self.token_ids)
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, token_ids=token_ids, spans=spans - moved[:, None], labels=labels)

    def pad(self, rows: np.ndarray, length: int, filled_to: int = 0) -> dict[str, np.ndarray]:
        """Makes one batch: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B * K, T]`.

        Args:
            rows: Row numbers.
            length: T, to which the inputs are padded.
            filled_to: Least B; examples of nothing but padding fill up what is missing.
        """
        spans = self.spans[self._inputs_of(rows)]
        positions = spans[:, :1] + np.arange(length)
        is_token = positions < spans[:, 2:]
        shape = (max(filled_to, len(rows)) * self.choices, length)
        token_ids = np.full(shape, self.pad_id, "int32")
        segment_ids, padding_mask = np.zeros(shape, "int32"), np.zeros(shape, "int32")
        token_ids[: len(spans)][is_token] = self.token_ids[positions[is_token]]
        segment_ids[: len(spans)] = is_token & (positions >= spans[:, 1:2])
        padding_mask[: len(spans)] = is_token
        release(self.spans, self.token_ids)
        return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}

    def _inputs_of(self, rows: np.ndarray) -> np.ndarray:
        return (rows[:, None] * self.choices + np.arange(self.choices)).reshape(-1) if self.choices > 1 else rows


def encode_split(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> EncodedSplit:
    """Tokenizes a whole split on all cores, in memory."""
    token_ids, spans = join_chunks(encode_chunks(split, tokenizer, max_seq_length))
    return EncodedSplit(token_ids, spans, split.labels, tokenizer.pad_id, max_seq_length, split.choices)


def join_chunks(chunks: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Joins what `encode_chunks` yields: ids `[m]` and spans `[n * K, 3]`."""
    ids, spans = zip(*chunks, strict=True)
    begins = np.cumsum([0, *map(len, ids[:-1])])
    return np.concatenate(ids), np.concatenate([part + begin for part, begin in zip(spans, begins, strict=True)])


def with_thinned_copies(encoded: EncodedSplit, copies: int, share: float, seed: int) -> EncodedSplit:
    """The split, and behind it copies of its rows, each without some of the tokens.

    Args:
        encoded: The split; the special tokens are those that its inputs begin and end with.
        copies: Number of copies; each leaves out other tokens.
        share: Share of the other tokens that is left out.
        seed: Decides which.
    """
    random = np.random.default_rng(seed)
    stays = np.isin(encoded.token_ids, encoded.token_ids[[encoded.spans[:, 0], encoded.spans[:, 2] - 1]])
    chunks = [(encoded.token_ids, encoded.spans)]
    for _ in range(copies):
        kept = stays | (random.random(len(stays)) >= share)
        begins = np.concatenate([[0], np.cumsum(kept)])
        chunks.append((encoded.token_ids[kept], begins[encoded.spans]))
    token_ids, spans = join_chunks(chunks)
    labels = None if encoded.labels is None else np.concatenate([encoded.labels] * (1 + copies))
    return dataclasses.replace(encoded, token_ids=token_ids, spans=spans, labels=labels)


def encode_chunks(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokenizes a split on all cores, some rows at a time.

    Yields:
        Token ids int32 `[m]` and spans int64 `[inputs, 3]` of the next rows, see `EncodedSplit`; each chunk's spans
        count from its own first token.
    """
    encode = _encoder(tokenizer, tokenizer.generation(), len(split.texts), max_seq_length, split.choices)
    cores = usable_cores()
    # Equal shares, the same number for each core.
    shares = math.ceil(len(split) / (cores * MOST_AT_ONCE)) * cores
    size = max(math.ceil(len(split) / shares), FEWEST_AT_ONCE)

    def encode_rows(rows: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
        token_ids, spans = encode(*(tf.constant(column) for column in zip(*rows, strict=True)))
        return token_ids.numpy(), spans.numpy()

    with ThreadPoolExecutor(cores) as executor:
        waiting: collections.deque[Future[tuple[np.ndarray, np.ndarray]]] = collections.deque()
        for rows in _cut(split, size):
            waiting.append(executor.submit(encode_rows, rows))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _cut(split: Split, size: int) -> Iterator[list[tuple[str, ...]]]:
    """The texts of each row, about `size` rows at a time, or fewer if they are long."""
    texts = zip(*split.texts, strict=True)
    rows: list[tuple[str, ...]] = []
    characters = 0
    while few := list(itertools.islice(texts, COUNTED_AT_ONCE)):
        rows += few
        characters += sum(map(len, itertools.chain.from_iterable(few)))
        if len(rows) >= size or characters > CHARACTERS_AT_ONCE:
            yield rows
            rows, characters = [], 0
    if rows:
        yield rows


@functools.lru_cache(maxsize=8)
def _encoder(
    tokenizer: Tokenizer, generation: int, num_texts: int, max_seq_length: int, choices: int
) -> tf.types.experimental.PolymorphicFunction:
    """Texts `[B]` -> ids `[m]` and spans `[B * K, 3]`, as a graph.

    Called one by one, the operations leave most of the time to Python, and that to one core. Tracing the graph takes as
    long as tokenizing some ten thousand texts, so it is traced once for all splits and each generation of the
    operations.
    """

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)] * num_texts)
    def encode(*texts):
        token_ids, segment_ids = tokenizer(input_texts(texts, choices), max_seq_length)
        ends = token_ids.row_limits()
        seconds = ends - tf.cast(tf.reduce_sum(segment_ids, axis=1), tf.int64)
        return token_ids.flat_values, tf.stack([token_ids.row_starts(), seconds, ends], axis=1)

    return encode


_WHOLE_PERCENT = 99  # of the texts that are to be whole
_MULTIPLE = 8  # of the proposal
_LEAST = 16
_MEASURED = 10_000  # examples


def propose_length(split: Split, tokenizer: Tokenizer, largest: int) -> tuple[int, str]:
    """Proposes the N that holds 99 % of the texts whole, a multiple of 8.

    Of more than 10,000 texts, a sample drawn with a seed is measured. `largest` is the number of positions of the
    checkpoint.

    Returns:
        N, and a line that says why.
    """
    lengths = encode_split(split.sample(_MEASURED, seed=0), tokenizer, largest).lengths
    needed = int(np.ceil(np.percentile(lengths, _WHOLE_PERCENT)))
    proposed = min(largest, max(_LEAST, -(-needed // _MULTIPLE) * _MULTIPLE))
    longest = f"{lengths.max()}{' or more' if lengths.max() == largest else ''}"
    whole = np.mean(lengths < largest if proposed == largest else lengths <= proposed)
    return (
        proposed,
        f"--max_seq_length={proposed}: holds {whole:.1%} of the training texts whole (mean {lengths.mean():.0f} "
        f"tokens, longest {longest})",
    )
