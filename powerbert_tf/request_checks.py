"""Requests that a served model refuses, as operations of its graph: each error says what was expected."""

from collections.abc import Sequence

import tensorflow as tf


def checked_ids(
    token_ids: tf.Tensor,
    segment_ids: tf.Tensor,
    padding_mask: tf.Tensor,
    *,
    max_seq_length: int,
    vocab_size: int,
    num_segments: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The inputs of a model, int32 `[B, T]` each, which are not used before they are known to be right.

    Without this an id out of its table is whatever the device makes of it: an error, a row of zeros, another row.

    Args:
        token_ids: From 0 to `vocab_size - 1`.
        segment_ids: From 0 to `num_segments - 1`.
        padding_mask: 1 for a word-piece, 0 for padding, which is on the right; at least one 1 a row.
        max_seq_length: N; T is from 1 to N.
        vocab_size: Rows of the table of word-pieces.
        num_segments: Rows of the table of segments.

    Returns:
        The three inputs. Running them fails with `InvalidArgumentError` where something is wrong.
    """
    shape = tf.shape(token_ids)
    binary = tf.logical_or(padding_mask == 0, padding_mask == 1)
    checks = [
        (
            tf.logical_and(shape[1] >= 1, shape[1] <= max_seq_length),
            ["token_ids has", shape[1], f"columns; expected 1 to {max_seq_length}, the maximum length."],
        ),
        _same_shape("segment_ids", segment_ids, shape),
        _same_shape("padding_mask", padding_mask, shape),
        _inside("token_ids", token_ids, vocab_size, "the vocabulary."),
        _inside("segment_ids", segment_ids, num_segments, "the segments."),
        (binary, ["padding_mask has values other than 0 (padding) and 1 (word-piece); expected those only."]),
        (
            tf.reduce_any(padding_mask == 1, axis=1),
            ["padding_mask has a row of zeros; expected a 1 in each row."],
        ),
        (
            padding_mask[:, 1:] <= padding_mask[:, :-1],
            ["padding_mask has a 1 after a 0; expected padding on the right of each row."],
        ),
    ]
    with tf.control_dependencies([_require(checks)]):
        return tf.identity(token_ids), tf.identity(segment_ids), tf.identity(padding_mask)


def _same_shape(name: str, values: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, list]:
    given = tf.shape(values)
    return tf.equal(given, shape), [f"{name} has the shape", given, "; expected that of token_ids,", shape]


def _inside(name: str, values: tf.Tensor, size: int, where: str) -> tuple[tf.Tensor, list]:
    inside = tf.logical_and(values >= 0, values < size)
    lowest, highest = tf.reduce_min(values), tf.reduce_max(values)
    return inside, [f"{name} has ids from", lowest, "to", highest, f"; expected 0 to {size - 1}, {where}"]


def checked_texts(texts: Sequence[tf.Tensor], names: Sequence[str]) -> list[tf.Tensor]:
    """One or two tensors of strings `[B]`, which are not used before they are known to be of one size."""
    sizes = [tf.size(text) for text in texts]
    equal = tf.equal(sizes, sizes[0])
    words: list = [f"{' and '.join(names)} have"]
    for number, size in enumerate(sizes):
        words += ["and", size] if number else [size]
    with tf.control_dependencies([_require([(equal, [*words, "strings; expected as many of each."])])]):
        return [tf.identity(text) for text in texts]


def checked_batch(values: tf.Tensor, batch_size: int, choices: int = 1) -> tf.Tensor:
    """A tensor `[B * choices, ...]` of at most `batch_size` examples."""
    rows = tf.shape(values)[0] // choices
    expected = f"examples; expected at most {batch_size}, the batch that the model was exported for."
    with tf.control_dependencies([_require([(rows <= batch_size, ["the request has", rows, expected])])]):
        return tf.identity(values)


def _require(checks: Sequence[tuple[tf.Tensor, list]]) -> tf.Operation:
    """Fails with the message of the first condition that does not hold everywhere; the others may follow from it."""
    last: list[tf.Operation] = []
    for condition, message in checks:
        with tf.control_dependencies(last):
            last = [tf.debugging.Assert(tf.reduce_all(condition), message)]
    return last[0]
