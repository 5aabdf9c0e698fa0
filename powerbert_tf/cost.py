"""What batches cost by length and retention configuration, and which targets can be reached: plain arithmetic.

A speed-up is meant against the same model without elimination on the same length-grouped batches, so that padding,
which grouping removes for nothing, is no part of it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from powerbert_tf.errors import InputError
from powerbert_tf.retention import PARTS, EncoderSize, encoder_multiply_adds, rows_kept


@dataclasses.dataclass(frozen=True, eq=False)
class CostTable:
    """Cost of the parts of one batch by its rows (word-vectors an example), linear between the rows given.

    Attributes:
        unit: `"ms"`, measured, or `"multiply-adds"`, counted.
        device: What it was measured on; empty where it was counted.
        batch_size: Examples of the batch.
        rows: The rows at which costs are known, increasing, `[g]`.
        attention: Self-attention of an encoder that eliminates nothing, `[g]`.
        extracting_attention: Self-attention, scores and gather of an encoder that eliminates, by the rows that enter.
        feed_forward: Feed-forward network of an encoder, by the rows that leave.
        outside: Embeddings, pooler and head, by the rows of the input.
    """

    unit: str
    device: str
    batch_size: int
    rows: np.ndarray
    attention: np.ndarray
    extracting_attention: np.ndarray
    feed_forward: np.ndarray
    outside: np.ndarray

    def encoder(self, entering: np.ndarray, leaving: np.ndarray) -> np.ndarray:
        """Cost of one encoder for a batch of `entering` rows of which `leaving` stay; arrays of one shape."""
        attention = np.where(
            leaving < entering,
            np.interp(entering, self.rows, self.extracting_attention),
            np.interp(entering, self.rows, self.attention),
        )
        return attention + np.interp(leaving, self.rows, self.feed_forward)


def count_costs(size: EncoderSize, max_seq_length: int, batch_size: int) -> CostTable:
    """A table of multiply-adds, for where nothing can be measured."""
    rows = np.arange(1, max_seq_length + 1)
    attention = np.array([encoder_multiply_adds(size, int(row), 0) for row in rows], "float64")
    feed_forward = np.array([encoder_multiply_adds(size, 0, int(row)) for row in rows], "float64")
    return CostTable(
        unit="multiply-adds",
        device="",
        batch_size=batch_size,
        rows=rows,
        attention=attention * batch_size,
        extracting_attention=attention * batch_size,
        feed_forward=feed_forward * batch_size,
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

    def of(self, configuration: Sequence[float] | None) -> float:
        """Mean cost of a batch.

        Args:
            configuration: Counts or fractions, not necessarily validated; None for the model without elimination.
        """
        entering = self.lengths
        total = np.interp(entering, self.table.rows, self.table.outside)
        for kept in [1.0] * self.num_encoders if configuration is None else configuration:
            leaving = np.minimum(_rows(kept, self.lengths), entering)
            total = total + self.table.encoder(entering, leaving)
            entering = leaving
        return float(np.mean(total))

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
        return self.speedup((1 / PARTS,) * self.num_encoders)


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
