"""What batches cost by length and by what encoders keep, and which targets can be reached: plain arithmetic.

A speed-up compares with the same model, of full width and without elimination, on the same length-grouped batches, so
that it does not include the padding that grouping removes for free.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import (
    EncoderSize,
    attention_multiply_adds,
    last_multiply_adds,
    update_multiply_adds,
)
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import CLS_ALONE, PARTS, keep_all, round_up, rows_kept

GROUPED = "grouped by length"  # the batches on which the dense model is the baseline of all speed-ups
PART_NAMES = ("attention", "extracting_attention", "update", "last", "outside")  # of a model, in a table
# Parts that cost less in encoders of fewer neurons or heads.
NARROWED = {"neurons": ("update", "last"), "heads": ("attention", "extracting_attention", "update", "last")}
_SMALLEST_SHARE = 0.02  # of a part's cost that is left at any width: savings of neurons and heads are only nearly a sum


@dataclasses.dataclass(frozen=True, eq=False)
class CostTable:
    """Cost of each part of a model for one batch, by its rows (word-vectors per example); linear between known rows.

    Costs of encoders of full width are in the table, and for encoders of fewer neurons or heads the ratio of each
    part's cost to that, at a few widths; linear between them, and below. What fewer neurons save and what fewer heads
    save adds up.

    Attributes:
        unit: `"ms"`, measured, or `"multiply-adds"`, counted.
        device: Name of the device; empty for counted costs.
        batch_size: Examples in the batch.
        rows: The rows at which costs are known, increasing, `[g]`, as the five that follow.
        attention: Self-attention of an encoder that eliminates nothing, up to its heads' outputs.
        extracting_attention: The same with scores and gather, in an encoder that eliminates, by the rows that enter.
        update: Output projection and feed-forward network of an encoder, by the rows that leave.
        last: The last encoder, which computes [CLS] only, by the rows that enter.
        outside: Embeddings, pooler and head, by the rows of the input.
        widths: Known numbers of `neurons` and of `heads`, increasing, the last is all of them, `[k]`.
        ratios: By these two names and by part, see `NARROWED`, the ratio of its cost at each known width to that at
            full width, `[k, g]`, non-decreasing along k.
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
    widths: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    ratios: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CostTable":
        """A table from its fields, with lists for arrays; further entries are ignored."""
        costs = {name: np.array(values[name], "float64") for name in PART_NAMES}
        widths = {name: np.array(known, "int64") for name, known in values.get("widths", {}).items()}
        ratios = {
            name: {part: np.array(known, "float64") for part, known in parts.items()}
            for name, parts in values.get("ratios", {}).items()
        }
        rows = np.array(values["rows"], "int64")
        return cls(values["unit"], values["device"], values["batch_size"], rows, **costs, widths=widths, ratios=ratios)

    def to_json(self) -> dict[str, Any]:
        """Its fields, with lists for arrays."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=lambda array: array.tolist()))

    def encoder(self, entering: Any, leaving: Any, extracts: bool, *, neurons: Any = None, heads: Any = None) -> Any:
        """Cost of an encoder other than the last, for batches of `entering` rows of which `leaving` stay.

        An encoder that extracts ranks its rows even if it eliminates none, as in a short sentence. Rows and widths are
        numbers or arrays, broadcast against each other; widths of None are full.
        """
        attention = self.part("extracting_attention" if extracts else "attention", entering, heads=heads)
        return attention + self.part("update", leaving, neurons=neurons, heads=heads)

    def last_encoder(self, entering: Any, *, neurons: Any = None, heads: Any = None) -> Any:
        """Cost of the last encoder, for batches of `entering` rows; see `encoder`."""
        return self.part("last", entering, neurons=neurons, heads=heads)

    def part(self, part: str, rows: Any, **widths: Any) -> Any:
        """Cost of one of `PART_NAMES` by its rows, and by `neurons` and `heads` as in `encoder`."""
        saved = sum(self._saved(part, name, width, rows) for name, width in widths.items() if width is not None)
        return np.interp(rows, self.rows, getattr(self, part)) * np.maximum(1.0 - saved, _SMALLEST_SHARE)

    def _saved(self, part: str, name: str, width: Any, rows: Any) -> Any:
        """The share of a part's cost that `width` neurons or heads save: a sum over the steps between known widths."""
        saved = 0.0
        ratios = self.ratios[name][part]
        for step, (low, high) in enumerate(itertools.pairwise(self.widths[name])):
            share = np.clip((high - width) / (high - low), 0.0, 1.0 if step else None)  # the first goes on below
            saved = saved + share * np.interp(rows, self.rows, ratios[step + 1] - ratios[step])
        return saved


def count_costs(size: EncoderSize, max_seq_length: int, batch_size: int) -> CostTable:
    """A table of multiply-adds, for when nothing can be measured."""
    rows: Any = np.arange(1, max_seq_length + 1)

    def parts(size: EncoderSize) -> dict[str, np.ndarray]:
        counts = {
            "attention": attention_multiply_adds(size, rows, rows),
            # Half of the rows stay, as where it is measured.
            "extracting_attention": attention_multiply_adds(size, rows, (rows + 1) // 2),
            "update": update_multiply_adds(size, rows),
            "last": last_multiply_adds(size, rows),
        }
        return {part: batch_size * np.array(count, "float64") for part, count in counts.items()}

    full = parts(size)
    narrowest = {  # of one; in between, multiply-adds are linear
        "neurons": dataclasses.replace(size, intermediate_size=1),
        "heads": dataclasses.replace(size, attention_size=size.columns // size.num_heads),
    }
    widths = {"neurons": np.unique([1, size.intermediate_size]), "heads": np.unique([1, size.num_heads])}
    ratios = {}
    for name, known in widths.items():
        narrow = [parts(narrowest[name])][: len(known) - 1]  # none where there is one only
        ratios[name] = {part: np.array([one[part] / full[part] for one in (*narrow, full)]) for part in NARROWED[name]}
    return CostTable(
        unit="multiply-adds",
        device="",
        batch_size=batch_size,
        rows=rows,
        **full,
        outside=np.zeros(len(rows)),
        widths=widths,
        ratios=ratios,
    )


def grouped_lengths(lengths: np.ndarray, batch_size: int) -> np.ndarray:
    """Length of the longest example in each batch, `[batches]`, of examples sorted by their `lengths` `[n]`."""
    ordered = np.sort(lengths)
    last = np.append(np.arange(batch_size, len(ordered), batch_size), len(ordered)) - 1
    return ordered[last]


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
    """What a configuration costs on given batches.

    A configuration is a `Reduction`; a plain sequence of counts or fractions, which need not be valid, stands for rows
    in encoders of full width; None for all rows and widths.

    Attributes:
        table: Cost of one batch.
        lengths: Padded length of each batch, `[batches]`, see `grouped_lengths`.
        num_encoders: L.
        fewest_neurons: Neurons that a search may narrow encoders to, which decides what is in reach; None for all.
        fewest_heads: The same of heads.
    """

    table: CostTable
    lengths: np.ndarray
    num_encoders: int
    fewest_neurons: int | None = None
    fewest_heads: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Costs":
        """Costs from the result of `dataclasses.asdict`, with lists for arrays."""
        fewest = {name: values.get(name) for name in ("fewest_neurons", "fewest_heads")}
        return cls(CostTable.from_json(values["table"]), np.array(values["lengths"]), values["num_encoders"], **fewest)

    def of(self, configuration: Reduction | Sequence[float] | None) -> float:
        """Mean cost of a batch."""
        rows = (1.0,) * self.num_encoders if configuration is None else configuration
        reduction = rows if isinstance(rows, Reduction) else Reduction(tuple(rows))
        full = (None,) * self.num_encoders
        encoders = zip(reduction.neurons or full, reduction.heads or full, strict=True)
        *inner, last = [{"neurons": neurons, "heads": heads} for neurons, heads in encoders]
        entering, before = self.lengths, keep_all(reduction.rows, int(self.table.rows[-1]))
        total = np.interp(entering, self.table.rows, self.table.outside)
        for kept, widths in zip(reduction.rows, inner, strict=False):
            leaving = np.minimum(_rows(kept, self.lengths), entering)
            total = total + self.table.encoder(entering, leaving, kept < before, **widths)
            entering, before = leaving, kept
        return float(np.mean(total + self.table.last_encoder(entering, **last)))

    @functools.cached_property
    def dense(self) -> float:
        """Mean cost of a batch without elimination, in encoders of full width."""
        return self.of(None)

    def speedup(self, configuration: Reduction | Sequence[float] | None) -> float:
        """Times faster than without elimination and with full width."""
        return self.dense / self.of(configuration)

    @functools.cached_property
    def largest_speedup(self) -> float:
        """The speed-up of keeping [CLS] only from the first encoder on, in the narrowest encoders."""
        widths = (self.fewest_neurons, self.fewest_heads)
        neurons, heads = (None if fewest is None else (fewest,) * self.num_encoders for fewest in widths)
        return self.speedup(Reduction((CLS_ALONE,) * self.num_encoders, neurons, heads))

    @property
    def fastest(self) -> str:
        """What `largest_speedup` is the speed-up of, in words."""
        widths = {"neurons": self.fewest_neurons, "heads": self.fewest_heads}
        narrow = " and ".join(f"{fewest} {name}" for name, fewest in widths.items() if fewest is not None)
        return "keeping [CLS] only from the first encoder on" + (f", in encoders of {narrow}" if narrow else "")


def _rows(kept: float, lengths: np.ndarray) -> np.ndarray:
    if isinstance(kept, float):
        return np.maximum(rows_kept(kept, lengths), 1)
    return np.minimum(kept, lengths)


def require_reachable(costs: Costs, flag: str, target_speedup: float) -> None:
    """Checks that some configuration can reach a target; the message names `flag`.

    Raises:
        InputError: The target is below 1 or above `costs.largest_speedup`.
    """
    if not 1 <= target_speedup <= costs.largest_speedup:
        raise InputError(
            f"--{flag}={target_speedup:g}: out of reach; expected a speed-up from 1 to {costs.largest_speedup:.2f}, "
            f"which {costs.fastest} would give."
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
            f"--target_latency_ms={target_latency_ms:g}: out of reach; expected {fastest:.3g} ({costs.fastest}) "
            f"to {costs.dense:.3g} ms (eliminating nothing) for a batch of "
            f"{costs.table.batch_size}, the mean over the dev split."
        )
    return costs.dense / target_latency_ms


def fit_to_budget(
    fractions: Sequence[float],
    costs: Costs,
    target_speedup: float,
    neurons: tuple[int, ...] | None = None,
    heads: tuple[int, ...] | None = None,
) -> tuple[float, ...]:
    """The configuration f_j ** gamma that is as fast as the target, or just faster, in encoders of given widths.

    A power keeps the order of the encoders, and a fraction of 1. If nothing is eliminated yet there is nothing to
    scale, and the result is the geometric schedule.

    Args:
        fractions: f, `[L]` in [0, 1]; entries larger than the one before are lowered to it.
        costs: Tell how fast a configuration is.
        target_speedup: Times faster than without elimination; if it is out of reach (see `require_reachable`), the
            fastest configuration is returned.
        neurons: Neurons of each encoder, `[L]`; None for all.
        heads: Heads of each encoder, `[L]`; None for all.

    Returns:
        Fractions in whole `retention.PARTS`, never increasing, and [CLS] only in the last encoder.
    """
    geometric = (1 - 1 / PARTS) ** np.arange(1, len(fractions) + 1)
    lowered = np.minimum(np.minimum.accumulate(np.asarray(fractions, "float64")), geometric)
    logs = np.log(np.maximum(lowered, CLS_ALONE))

    def power(log_gamma: float) -> tuple[float, ...]:
        *fitted, _ = (round_up(float(fraction)) for fraction in np.exp(logs * math.exp(log_gamma)))
        return (*fitted, CLS_ALONE)

    def is_fast(configuration: tuple[float, ...]) -> bool:
        # Costs add up floats; the same rows in another order must not miss the target by the last bit.
        return costs.speedup(Reduction(configuration, neurons, heads)) >= target_speedup * (1 - 1e-9)

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
