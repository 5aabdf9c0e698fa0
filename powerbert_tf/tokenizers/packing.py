"""One or two texts -> the input of BERT: truncated, with special tokens and segments."""

from collections.abc import Sequence

import tensorflow as tf

from powerbert_tf.checkpoints.checkpoint import LONGEST_FIRST, ROUND_ROBIN, WATERFALL
from powerbert_tf.common.errors import InputError

_HEAD_SHARE = 4  # of what head_tail keeps, one part in so many is the beginning: 128 of 510, as Sun et al. (2019)


def pack_texts(
    texts: Sequence[tf.RaggedTensor],
    max_seq_length: int,
    cls_id: int,
    sep_id: int,
    truncation: str = "head",
    separators: int = 1,
    pair_truncation: str = ROUND_ROBIN,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Makes `[CLS] a [SEP]` of one text, `[CLS] a [SEP] b [SEP]` of two.

    Tokens beyond `max_seq_length` are cut off: of which of two texts, `pair_truncation` says, and where, `truncation`.

    Args:
        texts: Ids `[B, (n)]` int32 of the first and perhaps of the second texts, without special tokens.
        max_seq_length: Most tokens of an input, special ones included.
        cls_id: Id of `[CLS]`.
        sep_id: Id of `[SEP]`.
        truncation: What is kept of a text that is too long: `"head"`, its beginning; `"head_tail"`, a quarter from its
            beginning, rounded up, and the rest from its end.
        separators: Number of `[SEP]` between two texts: 2 for RoBERTa.
        pair_truncation: How two texts share the room, see `Checkpoint.pair_truncation`.

    Returns:
        Ids `[B, (n)]` and segments `[B, (n)]` (0 up to the first `[SEP]`, 1 after it), both int32.

    Raises:
        InputError: `max_seq_length` has no room for the special tokens.
    """
    num_special_tokens = 2 + separators * (len(texts) - 1)
    if max_seq_length < num_special_tokens:
        raise InputError(
            f"max_seq_length={max_seq_length}: {len(texts)} text(s) take {num_special_tokens} special tokens "
            f"already; expected at least {num_special_tokens}; raise it."
        )
    room = max_seq_length - num_special_tokens
    kept = _truncate([text.row_lengths() for text in texts], room, pair_truncation)

    # Every input is a row of parts, [CLS], head and tail of a, [SEP] and so on, each a stretch of `values`: one gather
    # lays all out. tf_text.combine_segments joins ragged tensors one by one, which takes as long as the tokenization.
    values = tf.concat([[cls_id], [sep_id] * separators, *(text.flat_values for text in texts)], axis=0)
    one = tf.ones_like(kept[0])
    starts, lengths = [0 * one], [one]  # of [CLS]
    offset = tf.constant(1 + separators, tf.int64)
    for number, (text, length) in enumerate(zip(texts, kept, strict=True), start=1):
        head = (length + _HEAD_SHARE - 1) // _HEAD_SHARE if truncation == "head_tail" else length
        ends = text.row_starts() + text.row_lengths() + offset
        starts += [text.row_starts() + offset, ends - (length - head), one]
        lengths += [head, length - head, one if number == len(texts) else separators * one]  # the last is of [SEP]
        offset += tf.size(text.flat_values, out_type=tf.int64)
    part_starts, part_lengths = (tf.reshape(tf.stack(parts, axis=1), [-1]) for parts in (starts, lengths))
    positions = tf.ragged.range(part_starts, part_starts + part_lengths).flat_values
    row_splits = tf.concat([[0], tf.cumsum(tf.add_n(lengths))], axis=0)
    token_ids = tf.RaggedTensor.from_row_splits(tf.gather(values, positions), row_splits, validate=False)
    if len(texts) == 1:
        return token_ids, tf.zeros_like(token_ids)
    segment_ids = _ones_between(row_splits[:-1] + 1 + separators + kept[0], row_splits[1:])
    return token_ids, token_ids.with_flat_values(segment_ids)


def _truncate(lengths: Sequence[tf.Tensor], room: int, pair_truncation: str) -> list[tf.Tensor]:
    """Tokens of each text that are kept, `[B]` int64 each."""
    if len(lengths) == 1:
        return [tf.minimum(lengths[0], room)]
    first, second = lengths
    # What the second text gets if both are too long for half of the room; else each gets what the other leaves.
    share = {
        ROUND_ROBIN: room // 2,
        LONGEST_FIRST: tf.where(first > second, tf.constant(room // 2, tf.int64), room - room // 2),
        WATERFALL: 0,
    }[pair_truncation]
    second = tf.minimum(second, tf.maximum(room - first, share))
    return [tf.minimum(first, room - second), second]


def _ones_between(starts: tf.Tensor, stops: tf.Tensor) -> tf.Tensor:
    """int32 `[stops[-1]]`: 1 from each start to its stop, else 0."""
    one = tf.ones_like(starts, tf.int32)
    # A stop may be at the very end, hence the room for one more.
    total = tf.reduce_max(tf.concat([[0], stops], axis=0))
    steps = tf.scatter_nd(tf.concat([starts, stops], 0)[:, None], tf.concat([one, -one], 0), [total + 1])
    return tf.cumsum(steps)[:-1]
