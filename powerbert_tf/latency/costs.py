"""What batches cost by length and retention configuration, and which targets can be reached: plain arithmetic.

A speed-up compares with the same model without elimination on the same length-grouped batches, so that it does not
include the padding that grouping removes for free.
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
PART_NAMES = ("attention", "extracting_attention", "update", "last", "outside")  # of a model, in a table


@dataclasses.dataclass(frozen=True, eq=False)
class CostTable:
    """Cost of each part of a model for one batch, by its rows (word-vectors per example); linear between known rows.

    Attributes:
        unit: `"ms"`, measured, or `"multiply-adds"`, counted.
        device: Name of the device; empty for counted costs.
        batch_size: Examples in the batch.
        rows: The rows at which costs are known, increasing, `[g]`, as all that follow.
        attention: Self-attention of an encoder that eliminates nothing, up to its heads' outputs.
        extracting_attention: The same with scores and gather, in an encoder that eliminates, by the rows that enter.
        update: Output projection and feed-forward network of an encoder, by the rows that leave.
        last: The last encoder, which computes [CLS] only, by the rows that enter.
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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CostTable":
        """A table from its fields, with lists for arrays; further entries are ignored."""
        rows, costs = (
            np.array(values["rows"], "int64"),
            {name: np.array(values[name], "float64") for name in PART_NAMES},
        )
        return cls(values["unit"], values["device"], values["batch_size"], rows, **costs)

    def encoder(self, entering: np.ndarray, leaving: np.ndarray, extracts: bool) -> np.ndarray:
        """Cost of an encoder other than the last, for batches of `entering` rows of which `leaving` stay.

        An encoder that extracts ranks its rows even if it eliminates none, as in a short sentence.
        """
        attention = self.extracting_attention if extracts else self.attention
        return np.interp(entering, self.rows, attention) + np.interp(leaving, self.rows, self.update)


def count_costs(size: EncoderSize, max_seq_length: int, batch_size: int) -> CostTable:
    """A table of multiply-adds, for when nothing can be measured."""
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
    """Length of the longest example in each batch, `[batches]`, of examples sorted by their `lengths` `[n]`."""
    ordered = np.sort(lengths)
    last = np.append(np.arange(batch_size, len(ordered), batch_size), len(ordered)) - 1
    return ordered[last]


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
    """What a configuration costs on given batches.

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
        """Costs from the result of `dataclasses.asdict`, with lists for arrays."""
        return cls(CostTable.from_json(values["table"]), np.array(values["lengths"]), values["num_encoders"])

    def of(self, configuration: Sequence[float] | None) -> float:
        """Mean cost of a batch.

        Args:
            configuration: Counts or fractions, which need not be valid; None for the model without elimination.
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
        """The speed-up of keeping [CLS] only from the first encoder on."""
        return self.speedup((CLS_ALONE,) * self.num_encoders)


def _rows(kept: float, lengths: np.ndarray) -> np.ndarray:
    if isinstance(kept, float):
        return np.maximum(rows_kept(kept, lengths), 1)
    return np.minimum(kept, lengths)


def require_reachable(costs: Costs, flag: str, target_speedup: float) -> None:
    """Checks that some configuration can reach a target; the message names `flag`.

    Raises:
        InputError: The target is below 1 or above the speed-up of keeping [CLS] only.
    """
    if not 1 <= target_speedup <= costs.largest_speedup:
        raise InputError(
            f"--{flag}={target_speedup:g}: out of reach; expected a speed-up from 1 to {costs.largest_speedup:.2f}, "
            "which keeping [CLS] only from the first encoder on would give."
        )


def speedup_for_latency(costs: Costs, target_latency_ms: float) -> float:
    """The speed-up that brings the mean batch to a latency.

    Raises:
        InputError: The table holds no times, no configuration is that fast, or the model already is.
    """
    if costs.table.unit != "ms":
        raise InputError(
            f"--target_latency_ms={target_latency_ms:g}: needs measured times; expected --cost_model=measured."
        )
    fastest = costs.dense / costs.largest_speedup
    if not fastest <= target_latency_ms <= costs.dense:
        raise InputError(
            f"--target_latency_ms={target_latency_ms:g}: out of reach; expected {fastest:.3g} (keeping [CLS] only "
            f"from the first encoder on) to {costs.dense:.3g} ms (eliminating nothing) for a batch of "
            f"{costs.table.batch_size}, the mean over the dev split."
        )
    return costs.dense / target_latency_ms


def fit_to_budget(fractions: Sequence[float], costs: Costs, target_speedup: float) -> tuple[float, ...]:
    """The configuration f_j ** gamma that is as fast as the target, or just faster.

    A power keeps the order of the encoders, and a fraction of 1. If nothing is eliminated yet there is nothing to
    scale, and the result is the geometric schedule.

    Args:
        fractions: f, `[L]` in [0, 1]; entries larger than the one before are lowered to it.
        costs: Tell how fast a configuration is.
        target_speedup: Times faster than without elimination; if it is out of reach (see `require_reachable`), the
            fastest configuration is returned.

    Returns:
        Fractions in whole `retention.PARTS`, never increasing, and [CLS] only in the last encoder.
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
    # Encoders with the same fraction crossed together: as many of the first ones as the target allows go back.
    larger, smaller = power(slow), power(fast)
    mixed = (larger[:kept] + smaller[kept:] for kept in range(len(smaller), -1, -1))
    return next(filter(is_fast, mixed), smaller)
