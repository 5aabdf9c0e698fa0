"""Where the multiply-adds go between BERT as published, padded to N, and a reduced model on each example's own rows."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from powerbert_tf.elimination.retention import (
    EncoderSize,
    attention_multiply_adds,
    kept_lengths,
    multiply_adds,
    update_multiply_adds,
)


@dataclasses.dataclass(frozen=True)
class Gain:
    """One step on the way.

    Attributes:
        name: What is no longer computed.
        multiply_adds: What is left after the step, a mean example, of the encoders.
        exact: Whether the step changes no logit.
    """

    name: str
    multiply_adds: float
    exact: bool


def account_for(
    size: EncoderSize, configuration: Sequence[float], lengths: np.ndarray, max_seq_length: int
) -> list[Gain]:
    """The way from BERT as published to the reduced model, step by step.

    The order is part of the answer: what a step saves is saved of what the steps before it left.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Word-pieces of each example, `[n]`.
        max_seq_length: N.

    Returns:
        `padded to N`, where all begins, and then each step.
    """
    rows, counts = np.unique(lengths, return_counts=True)

    def mean(values: list[int]) -> float:
        return float(np.average(values, weights=counts))

    dense = [multiply_adds(size, int(length)) for length in rows]
    late = [_extracted_late(size, int(length), configuration) for length in rows]
    early = [multiply_adds(size, int(length), configuration) for length in rows]
    return [
        Gain("BERT as published, padded to N", _plain(size, max_seq_length), True),
        Gain("of the last encoder [CLS] alone is computed", multiply_adds(size, max_seq_length), True),
        Gain("padding removed: each example has its own rows", mean(dense), True),
        Gain("word-vectors eliminated after self-attention, where the paper does", mean(late), False),
        Gain("eliminated before self-attention computes their outputs", mean(early), True),
    ]


def _plain(size: EncoderSize, length: int) -> int:
    """Of an encoder stack that computes all rows to the end."""
    return size.num_encoders * (attention_multiply_adds(size, length, length) + update_multiply_adds(size, length))


def _extracted_late(size: EncoderSize, length: int, configuration: Sequence[float]) -> int:
    """Of a reduced model whose self-attention, its output projection included, is computed for rows about to leave."""
    *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
    entering = (length, *leaving)
    # What `multiply_adds` does not count: attention outputs, and their projection, of the rows that leave.
    wasted = sum(
        (rows - kept) * (rows * size.hidden_size + size.hidden_size**2)
        for rows, kept in zip(entering, leaving, strict=False)
    )
    return multiply_adds(size, length, configuration) + wasted
