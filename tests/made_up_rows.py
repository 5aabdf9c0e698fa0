"""Encoded splits from lists of token ids, and back."""

from collections.abc import Sequence

import numpy as np

from powerbert_tf.batches.encoded_split import EncodedSplit


def encoded_rows(
    rows: Sequence[Sequence[int]],
    max_seq_length: int,
    labels: np.ndarray | None = None,
    pad_id: int = 0,
    second: Sequence[int] | None = None,
) -> EncodedSplit:
    """A split with these token ids; the second text of each row begins at the position `second`."""
    lengths = np.array([len(row) for row in rows])
    ends = np.cumsum(lengths)
    seconds = ends if second is None else ends - lengths + second
    spans = np.stack([ends - lengths, seconds, ends], axis=1)
    return EncodedSplit(np.concatenate(rows).astype("int32"), spans, labels, pad_id, max_seq_length)


def token_ids_of(encoded: EncodedSplit) -> list[list[int]]:
    """Token ids of each input."""
    return [encoded.token_ids[start:end].tolist() for start, _, end in encoded.spans]


def segment_ids_of(encoded: EncodedSplit) -> list[list[int]]:
    """Segment ids of each input."""
    return [[0] * int(second - start) + [1] * int(end - second) for start, second, end in encoded.spans]
