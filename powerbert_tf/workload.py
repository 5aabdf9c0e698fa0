"""The batches of a split on which speed is measured."""

import numpy as np

from powerbert_tf.batching import EncodedSplit, pad_rows
from powerbert_tf.buckets import choose_buckets, padded_lengths

PADDINGS = ("grouped", "batch", "max")


def latency_batches(
    encoded: EncodedSplit,
    batch_size: int,
    padding: str = "grouped",
    max_batches: int = 12,
    length_buckets: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """Batches of a split to measure on.

    Args:
        encoded: The split, with at least one example.
        batch_size: B. What remains after the last full batch is left out, unless there is no full one.
        padding: `"grouped"`: examples are sorted by length, a batch is padded to its longest, as
            `cost.grouped_lengths` says; `"batch"`: in the order of the split, padded to the batch's longest; `"max"`:
            in that order, padded to N.
        max_batches: More batches than these are thinned out evenly.
        length_buckets: Most padded lengths of the whole split's batches, see `buckets.choose_buckets`; None for each
            batch's own.

    Returns:
        `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` each.

    Raises:
        ValueError: `padding` is none of `PADDINGS`.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r}; expected one of {', '.join(PADDINGS)}.")
    lengths = encoded.lengths
    order = np.argsort(lengths, kind="stable") if padding == "grouped" else np.arange(len(lengths))
    count = max(len(order) // batch_size, 1)
    rows = [order[number * batch_size : (number + 1) * batch_size] for number in range(count)]
    longest = np.array([encoded.max_seq_length if padding == "max" else lengths[batch].max() for batch in rows])
    if length_buckets is not None:
        longest = padded_lengths(longest, choose_buckets(longest, length_buckets))
    numbers = np.arange(count)
    if count > max_batches:
        numbers = np.round(np.linspace(0, count - 1, max_batches)).astype(int)
    return [pad_rows(encoded, rows[number], longest[number]) for number in numbers]
