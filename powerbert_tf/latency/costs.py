"""What batches cost by length and retention configuration, and which targets can be reached: plain arithmetic.

A speed-up is meant against the same model without elimination on the same length-grouped batches, so that padding,
which grouping removes for nothing, is no part of it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import (
    EncoderSize,
    attention_multiply_adds,
    last_multiply_adds,
    update_multiply_adds,
)
from powerbert_tf.elimination.retention import CLS_ALONE, PARTS, keep_all, round_up, rows_kept

GROUPED = "grouped by length"  # the batches on which the dense model is the baseline of all speed-ups
CURVES = ("attention", "extracting_attention", "update", "last", "outside")  # of a table, by rows


@dataclasses.dataclass(frozen=True, eq=False)
class CostTable:
    """Cost of the parts of one batch by its rows (word-vectors an example), linear between the rows given.

    Attributes:
        unit: `"ms"`, measured, or `"multiply-adds"`, counted.
        device: What it was measured on; empty where it was counted.
        batch_size: Examples of the batch.
        rows: The rows at which costs are known, increasing, `[g]`.
        attention: Self-attention of an encoder that eliminates nothing, up to its heads' outputs, `[g]`.
        extracting_attention: The same with scores and gather, of an encoder that eliminates, by the rows that enter.
        update: Output projection and feed-forward network of an encoder, by the rows that leave.
        last: The last encoder, of which [CLS] alone is computed, by the rows that enter.
        outside: Embeddings, pooler and head, by the rows of the input.
    """

    unit: str
    device: str
    batch_size: int
    rows: np.ndarray
    attention: np.ndarray
    extracting_attention: np.ndarray
    update: np.ndarray
    last: np.ndarray
    outside: np.ndarray

    def encoder(self, entering: np.ndarray, leaving: np.ndarray, extracts: bool) -> np.ndarray:
        """Cost of an encoder but the last, for a batch of `entering` rows of which `leaving` stay; arrays alike.

        An encoder that extracts ranks its rows although none leaves, as in a short sentence.
        """
        attention = self.extracting_attention if extracts else self.attention
        return np.interp(entering, self.rows, attention) + np.interp(leaving, self.rows, self.update)


def count_costs(size: EncoderSize, max_seq_length: int, batch_size: int) -> CostTable:
    """A table of multiply-adds, for where nothing can be measured."""
    rows = np.arange(1, max_seq_length + 1)

    def curve(count: Callable[[int], int]) -> np.ndarray:
        return batch_size * np.array([count(int(row)) for row in rows], "float64")

    return CostTable(
        unit="multiply-adds",
        device="",
        batch_size=batch_size,
        rows=rows,
        attention=curve(lambda row: attention_multiply_adds(size, row, row)),
        # Half of the rows stay, as where it is measured.
        extracting_attention=curve(lambda row: attention_multiply_adds(size, row, math.ceil(row / 2))),
        update=curve(lambda row: update_multiply_adds(size, row)),
        last=curve(lambda row: last_multiply_adds(size, row)),
        outside=np.zeros(len(rows)),
    )


def grouped_lengths(lengths: np.ndarray, batch_size: int) -> np.ndarray:
    """Padded length of each batch when examples are sorted by length: that of the batch's longest example, `[batches]`.

    Args:
        lengths: Word-pieces of each example, `[n]`.
        batch_size: Examples of a batch; the last one may be smaller.
    """
    ordered = np.sort(lengths)
    last = np.append(np.arange(batch_size, len(ordered), batch_size), len(ordered)) - 1
    return ordered[last]


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
    """What a configuration costs on the batches of a workload.

    Attributes:
        table: Cost of one batch.
        lengths: Padded length of each batch, `[batches]`, see `grouped_lengths`.
        num_encoders: L.
    """

    table: CostTable
    lengths: np.ndarray
    num_encoders: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Costs":
        """Costs of what `dataclasses.asdict` made of them, with lists for arrays."""
        table = dict(values["table"])
        table |= {name: np.array(table[name]) for name in ("rows", *CURVES)}
        return cls(CostTable(**table), np.array(values["lengths"]), values["num_encoders"])

    def of(self, configuration: Sequence[float] | None) -> float:
        """Mean cost of a batch.

        Args:
            configuration: Counts or fractions, not necessarily validated; None for the model without elimination.
        """
        entering, before = self.lengths, None
        total = np.interp(entering, self.table.rows, self.table.outside)
        for kept in ([1.0] * self.num_encoders if configuration is None else configuration)[:-1]:
            leaving = np.minimum(_rows(kept, self.lengths), entering)
            extracts = kept < (keep_all((kept,), int(self.table.rows[-1])) if before is None else before)
            total = total + self.table.encoder(entering, leaving, extracts)
            entering, before = leaving, kept
        return float(np.mean(total + np.interp(entering, self.table.rows, self.table.last)))

    @functools.cached_property
    def dense(self) -> float:
        """Mean cost of a batch without elimination."""
        return self.of(None)

    def speedup(self, configuration: Sequence[float] | None) -> float:
        """Times faster than without elimination."""
        return self.dense / self.of(configuration)

    @functools.cached_property
    def largest_speedup(self) -> float:
        """That of keeping [CLS] alone from the first encoder on."""
        return self.speedup((CLS_ALONE,) * self.num_encoders)


def _rows(kept: float, lengths: np.ndarray) -> np.ndarray:
    if isinstance(kept, float):
        return np.maximum(rows_kept(kept, lengths), 1)
    return np.minimum(kept, lengths)


def require_reachable(costs: Costs, flag: str, target_speedup: float) -> None:
    """Refuses a target that no configuration can reach.

    Args:
        costs: Of the workload.
        flag: `target_speedup` or such, for the message.
        target_speedup: Times faster than without elimination.

    Raises:
        InputError: The target is below 1 or above what keeping [CLS] alone gives.
    """
    if not 1 <= target_speedup <= costs.largest_speedup:
        raise InputError(
            f"--{flag}={target_speedup:g}: out of reach; expected a speed-up from 1 to {costs.largest_speedup:.2f}, "
            "which keeping [CLS] alone from the first encoder on would give."
        )


def speedup_for_latency(costs: Costs, target_latency_ms: float) -> float:
    """The speed-up that brings the mean batch to a latency.

    Raises:
        InputError: The table holds no times, or no configuration is so fast, or the model is already.
    """
    if costs.table.unit != "ms":
        raise InputError(
            f"--target_latency_ms={target_latency_ms:g}: needs measured times; expected --cost_model=measured."
        )
    fastest = costs.dense / costs.largest_speedup
    if not fastest <= target_latency_ms <= costs.dense:
        raise InputError(
            f"--target_latency_ms={target_latency_ms:g}: out of reach; expected {fastest:.3g} (keeping [CLS] alone "
            f"from the first encoder on) to {costs.dense:.3g} ms (eliminating nothing) for a batch of "
            f"{costs.table.batch_size}, the mean over the dev split."
        )
    return costs.dense / target_latency_ms


def fit_to_budget(fractions: Sequence[float], costs: Costs, target_speedup: float) -> tuple[float, ...]:
    """The configuration f_j ** gamma that is as fast as the target, or just faster.

    A power leaves the order of the encoders and what is kept whole. Where nothing was eliminated yet there is nothing
    to scale, and the geometric schedule comes out.

    Args:
        fractions: f, `[L]` in [0, 1]; entries larger than the one before are lowered to it.
        costs: Of the workload.
        target_speedup: Times faster than without elimination, reachable (see `require_reachable`); beyond that
            the fastest configuration comes back.

    Returns:
        Fractions in whole `retention.PARTS`, none larger than the one before, and [CLS] alone in the last encoder.
    """
    geometric = (1 - 1 / PARTS) ** np.arange(1, len(fractions) + 1)
    lowered = np.minimum(np.minimum.accumulate(np.asarray(fractions, "float64")), geometric)
    logs = np.log(np.maximum(lowered, CLS_ALONE))

    def power(log_gamma: float) -> tuple[float, ...]:
        *fitted, _ = (round_up(float(fraction)) for fraction in np.exp(logs * math.exp(log_gamma)))
        return (*fitted, CLS_ALONE)

    def is_fast(configuration: Sequence[float]) -> bool:
        # Costs add up floats; the same rows in another order must not miss the target by the last bit.
        return costs.speedup(configuration) >= target_speedup * (1 - 1e-9)

    slow, fast = -14.0, 14.0  # all 1 and all one part, whatever the fractions are
    if is_fast(power(slow)):
        return power(slow)
    for _ in range(30):  # to less than a part
        middle = (slow + fast) / 2
        slow, fast = (slow, middle) if is_fast(power(middle)) else (middle, fast)
    # Encoders with the same fraction have crossed together: as many of the first as the target allows stay behind.
    larger, smaller = power(slow), power(fast)
    mixed = (larger[:kept] + smaller[kept:] for kept in range(len(smaller), -1, -1))
    return next(filter(is_fast, mixed), smaller)
