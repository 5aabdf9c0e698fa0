"""Multiply-adds of a stack of encoders, and what each way to skip some of them saves: plain arithmetic."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from powerbert_tf.elimination.retention import kept_lengths


@dataclasses.dataclass(frozen=True)
class EncoderSize:
    """The sizes that the cost of a stack of encoders depends on.

    Attributes:
        num_encoders: L.
        hidden_size: H.
        intermediate_size: I, neurons of a feed-forward network.
        attention_size: Columns of the outputs of all heads of an encoder; None for H.
        neurons: I of each encoder, where they differ; else None.
        attention_sizes: `attention_size` of each encoder, where they differ; else None.
        num_heads: A, heads whose outputs these are; what fewer heads cost can be counted only where it is known.
    """

    num_encoders: int
    hidden_size: int
    intermediate_size: int
    attention_size: int | None = None
    neurons: tuple[int, ...] | None = None
    attention_sizes: tuple[int, ...] | None = None
    num_heads: int = 1

    @property
    def columns(self) -> int:
        """Columns of the outputs of all heads."""
        return self.attention_size or self.hidden_size

    @functools.cached_property
    def encoders(self) -> tuple["EncoderSize", ...]:
        """The size of each encoder, as a stack of one."""
        neurons = self.neurons or (self.intermediate_size,) * self.num_encoders
        columns = self.attention_sizes or (self.columns,) * self.num_encoders
        return tuple(EncoderSize(1, self.hidden_size, *sizes) for sizes in zip(neurons, columns, strict=True))


def attention_multiply_adds(size: EncoderSize, rows: int, kept: int) -> int:
    """Multiply-adds of self-attention up to the outputs of its heads: for `kept` queries out of `rows`."""
    columns = size.columns
    projections = 3 * rows * size.hidden_size * columns  # query, key, value
    return projections + rows**2 * columns + kept * rows * columns  # scores; probabilities by values


def update_multiply_adds(size: EncoderSize, kept: int) -> int:
    """Multiply-adds of the output projection and the feed-forward network, for the rows that stay."""
    return kept * size.columns * size.hidden_size + 2 * kept * size.hidden_size * size.intermediate_size


def last_multiply_adds(size: EncoderSize, rows: int) -> int:
    """Multiply-adds of the last encoder, which computes [CLS] only."""
    columns = size.columns
    projections = (2 * rows + 1) * size.hidden_size * columns  # keys and values of all rows, one query
    return projections + 2 * rows * columns + update_multiply_adds(size, 1)


def multiply_adds(size: EncoderSize, length: int, configuration: Sequence[float] | None = None) -> int:
    """Multiply-adds of the encoders for one example, without embeddings, pooler and head (under 1 %).

    The attention probabilities decide which rows stay. So encoder j projects and scores the rows that encoder j-1 kept,
    and computes the rest for its own rows only. The last encoder computes [CLS] only.

    Args:
        size: The stack.
        length: Rows that enter the first encoder, padding included if it is computed.
        configuration: Retention configuration, or None to keep all rows.
    """
    *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
    entering = (length, *leaving)
    *inner, last = size.encoders
    return last_multiply_adds(last, entering[-1]) + sum(
        attention_multiply_adds(one, rows, kept) + update_multiply_adds(one, kept)
        for one, rows, kept in zip(inner, entering, leaving, strict=False)
    )


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
    size: EncoderSize,
    configuration: Sequence[float],
    lengths: np.ndarray,
    max_seq_length: int,
    narrowed: EncoderSize | None = None,
) -> list[SavingStep]:
    """The steps from BERT as published to the reduced model; the first is BERT itself.

    Their order matters: each step saves from what the steps before it left.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Tokens of each example, `[n]`.
        max_seq_length: N.
        narrowed: The encoders of the reduced model, if they are narrower.
    """

    def published(length: int) -> int:
        return size.num_encoders * (attention_multiply_adds(size, length, length) + update_multiply_adds(size, length))

    dense = functools.partial(multiply_adds, size)
    reduced = narrowed or size
    early = functools.partial(multiply_adds, reduced, configuration=configuration)

    def late(length: int) -> int:
        # Self-attention also computes outputs, and projects them, for the rows that it then eliminates.
        *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
        return early(length) + sum(
            (rows - kept) * one.columns * (rows + size.hidden_size)
            for one, rows, kept in zip(reduced.encoders, (length, *leaving), leaving, strict=False)
        )

    narrower = functools.partial(multiply_adds, reduced)
    return [
        SavingStep("BERT as published, padded to N", published(max_seq_length), True),
        SavingStep("the last encoder computes [CLS] only", dense(max_seq_length), True),
        SavingStep("padding removed: each example has its own rows", mean_over_lengths(dense, lengths), True),
        *([SavingStep("narrower encoders", mean_over_lengths(narrower, lengths), False)] if narrowed else []),
        SavingStep(
            "word-vectors eliminated after self-attention, as in the paper", mean_over_lengths(late, lengths), False
        ),
        SavingStep("eliminated before self-attention computes their outputs", mean_over_lengths(early, lengths), True),
    ]


def summarize_cost(
    size: EncoderSize,
    configuration: Sequence[float],
    lengths: np.ndarray,
    max_seq_length: int,
    narrowed: EncoderSize | None = None,
) -> dict[str, Any]:
    """Multiply-adds of an average example, dense and reduced, with padding and without.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Tokens of each example, `[n]`.
        max_seq_length: N.
        narrowed: The encoders of the reduced model, if they are narrower.

    Returns:
        `padded` (both models compute N rows, the paper's way), `unpadded` (both compute each example's own rows) and
        `padded_to_unpadded` (dense padded, reduced unpadded), each with `dense`, `reduced` and their ratio `saved`;
        `kept` with the mean number of rows that leave each encoder, without padding; and the mean length.
    """

    def compare(dense: float, reduced: float) -> dict[str, float]:
        return {"dense": dense, "reduced": reduced, "saved": dense / reduced}

    full = functools.partial(multiply_adds, size)
    reduced = functools.partial(multiply_adds, narrowed or size, configuration=configuration)
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
