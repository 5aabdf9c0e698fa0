"""Multiply-adds of a stack of encoders, and what each way to skip some of them saves: plain arithmetic."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from powerbert_tf.elimination.retention import kept_lengths


@dataclasses.dataclass(frozen=True)
class EncoderSize:
    """The sizes that the cost of a stack of encoders depends on: L, H and the feed-forward size."""

    num_encoders: int
    hidden_size: int
    intermediate_size: int


def attention_multiply_adds(size: EncoderSize, rows: int, kept: int) -> int:
    """Multiply-adds of self-attention up to the outputs of its heads: for `kept` queries out of `rows`."""
    projections = 3 * rows * size.hidden_size**2  # query, key, value
    return projections + rows**2 * size.hidden_size + kept * rows * size.hidden_size  # scores; probabilities by values


def update_multiply_adds(size: EncoderSize, kept: int) -> int:
    """Multiply-adds of the output projection and the feed-forward network, for the rows that stay."""
    return kept * size.hidden_size**2 + 2 * kept * size.hidden_size * size.intermediate_size


def last_multiply_adds(size: EncoderSize, rows: int) -> int:
    """Multiply-adds of the last encoder, which computes [CLS] only."""
    projections = (2 * rows + 1) * size.hidden_size**2  # keys and values of all rows, one query
    return projections + 2 * rows * size.hidden_size + update_multiply_adds(size, 1)


def multiply_adds(size: EncoderSize, length: int, configuration: Sequence[float] | None = None) -> int:
    """Multiply-adds of the encoders for one example, without embeddings, pooler and head (under 1 %).

    The attention probabilities decide which rows stay. So encoder j projects and scores the rows that encoder j-1 kept,
    and computes the rest for its own rows only. The last encoder computes [CLS] only.

    Args:
        size: The stack.
        length: Rows that enter the first encoder, padding included if it is computed.
        configuration: Retention configuration, or None for plain BERT.
    """
    *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
    entering = (length, *leaving)
    inner = (
        attention_multiply_adds(size, rows, kept) + update_multiply_adds(size, kept)
        for rows, kept in zip(entering, leaving, strict=False)
    )
    return sum(inner) + last_multiply_adds(size, entering[-1])


def mean_over_lengths(count: Callable[[int], int | Sequence[int]], lengths: np.ndarray) -> Any:
    """The mean of `count(length)`, a number or `[k]`, over examples whose tokens are `lengths`, `[n]`."""
    rows, counts = np.unique(lengths, return_counts=True)
    return np.average([count(int(length)) for length in rows], axis=0, weights=counts).tolist()


@dataclasses.dataclass(frozen=True)
class SavingStep:
    """One step from BERT as published to the reduced model.

    Attributes:
        name: What the step does.
        multiply_adds: What the encoders still compute after it, for an average example.
        exact: Whether the step changes no logit.
    """

    name: str
    multiply_adds: float
    exact: bool


def saving_steps(
    size: EncoderSize, configuration: Sequence[float], lengths: np.ndarray, max_seq_length: int
) -> list[SavingStep]:
    """The steps from BERT as published to the reduced model; the first is BERT itself.

    Their order matters: each step saves from what the steps before it left.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Tokens of each example, `[n]`.
        max_seq_length: N.
    """

    def published(length: int) -> int:
        return size.num_encoders * (attention_multiply_adds(size, length, length) + update_multiply_adds(size, length))

    dense = functools.partial(multiply_adds, size)
    early = functools.partial(multiply_adds, size, configuration=configuration)

    def late(length: int) -> int:
        # Self-attention also computes outputs, and projects them, for the rows that it then eliminates.
        *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
        return early(length) + sum(
            (rows - kept) * (rows * size.hidden_size + size.hidden_size**2)
            for rows, kept in zip((length, *leaving), leaving, strict=False)
        )

    return [
        SavingStep("BERT as published, padded to N", published(max_seq_length), True),
        SavingStep("the last encoder computes [CLS] only", dense(max_seq_length), True),
        SavingStep("padding removed: each example has its own rows", mean_over_lengths(dense, lengths), True),
        SavingStep(
            "word-vectors eliminated after self-attention, as in the paper", mean_over_lengths(late, lengths), False
        ),
        SavingStep("eliminated before self-attention computes their outputs", mean_over_lengths(early, lengths), True),
    ]


def summarize_cost(
    size: EncoderSize, configuration: Sequence[float], lengths: np.ndarray, max_seq_length: int
) -> dict[str, Any]:
    """Multiply-adds of an average example, dense and reduced, with padding and without.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Tokens of each example, `[n]`.
        max_seq_length: N.

    Returns:
        `padded` (both models compute N rows, the paper's way), `unpadded` (both compute each example's own rows) and
        `padded_to_unpadded` (dense padded, reduced unpadded), each with `dense`, `reduced` and their ratio `saved`;
        `kept` with the mean number of rows that leave each encoder, without padding; and the mean length.
    """

    def compare(dense: float, reduced: float) -> dict[str, float]:
        return {"dense": dense, "reduced": reduced, "saved": dense / reduced}

    full = functools.partial(multiply_adds, size)
    reduced = functools.partial(multiply_adds, size, configuration=configuration)
    padded = compare(full(max_seq_length), reduced(max_seq_length))
    unpadded = compare(mean_over_lengths(full, lengths), mean_over_lengths(reduced, lengths))
    kept = mean_over_lengths(functools.partial(kept_lengths, configuration, size.num_encoders), lengths)
    return {
        "padded": padded,
        "unpadded": unpadded,
        "padded_to_unpadded": compare(padded["dense"], unpadded["reduced"]),
        "kept": [round(value, 2) for value in kept],
        "mean_length": float(np.mean(lengths)),
    }
