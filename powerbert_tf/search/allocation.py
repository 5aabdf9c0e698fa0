"""The best way to spend a budget by measured damages: dynamic programming over rows, neurons and heads.

Each word-vector is charged the damage of leaving at its encoder, and each encoder that of its widths. A reduction with
fractions f_1 >= ... >= f_{L-1}, neurons k_j and heads h_j has the predicted damage

    sum_j D_j(f_j) - D_j(f_{j-1})  +  N_j(k_j) + H_j(h_j),    f_0 = 1.

Dynamic programming finds the least within the budget, exactly up to the grids of fractions, widths and costs.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import cast

import numpy as np

from powerbert_tf.elimination.reduction import WIDTHS, Reduction
from powerbert_tf.elimination.retention import CLS_ALONE, round_up
from powerbert_tf.latency.costs import Costs
from powerbert_tf.models.config import BertConfig

FRACTIONS = np.concatenate([[CLS_ALONE], np.geomspace(0.02, 1.0, 32)])  # that are chosen from
_COST_BINS = 400
# Widths to choose from. Sixteenths of the usual sizes are multiples of 32, which matrix products like.
_NEURON_STEPS = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16)
_SIXTEENTHS = 16
_MOST_HEADS_TO_TRY = 10


@dataclasses.dataclass(frozen=True)
class Widths:
    """The widths to choose from; increasing, all of them last; None alone stands for all of them.

    Attributes:
        neurons: Neurons of a feed-forward network.
        heads: Attention heads.
        are_shared: Whether all encoders have the same weights, and so the same widths.
    """

    neurons: tuple[int | None, ...]
    heads: tuple[int | None, ...]
    are_shared: bool = False

    @classmethod
    def of(cls, config: BertConfig, dimensions: Sequence[str]) -> "Widths":
        """The widths of a model's encoders where `dimensions` has `"neurons"` and `"heads"`; else all of them."""
        neurons, heads = config.intermediate_size, config.num_attention_heads
        some = {-(-neurons * step // _SIXTEENTHS) for step in _NEURON_STEPS}
        most = np.linspace(max(heads // 4, 1), heads, _MOST_HEADS_TO_TRY).round().astype(int)
        return cls(
            tuple(sorted(some)) if "neurons" in dimensions else (None,),
            tuple(sorted({int(number) for number in most})) if "heads" in dimensions else (None,),
            config.shares_encoders,
        )

    def reduction(self, rows: Sequence[float], neurons: Sequence[int | None], heads: Sequence[int | None]) -> Reduction:
        """A reduction, in which full widths are None."""

        def narrowed(own: Sequence[int | None], known: Sequence[int | None]) -> tuple[int, ...] | None:
            return None if known[-1] is None or set(own) == {known[-1]} else cast(tuple[int, ...], tuple(own))

        return Reduction(tuple(rows), narrowed(neurons, self.neurons), narrowed(heads, self.heads))

    def step(self, name: str, width: int, steps: int) -> int:
        """The width that is some steps wider than another one, or narrower, up to the ends."""
        grid = getattr(self, name)
        nearest = min(range(len(grid)), key=lambda place: abs(grid[place] - width))
        return grid[min(max(nearest + steps, 0), len(grid) - 1)]


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The damage of reducing one encoder alone.

    Attributes:
        fractions: The measured fractions f of rows, increasing up to 1, `[g]`.
        damages: D_j(f) of all encoders but the last, `[L - 1, g]`; non-increasing in f, and 0 at 1.
        widths: The measured neurons and heads by name, increasing up to all of them; without what is not reduced.
        width_damages: N_j and H_j of all encoders by the same names, `[L, len(widths[name])]`.
    """

    fractions: np.ndarray
    damages: np.ndarray
    widths: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    width_damages: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def at(self, fractions: np.ndarray) -> np.ndarray:
        """D_j at other fractions, `[L - 1, len(fractions)]`, linear in between."""
        return np.array([np.interp(fractions, self.fractions, row) for row in self.damages])

    def of_width(self, name: str, encoder: int, width: int | None) -> float:
        """N_j or H_j of an encoder at a width, linear in between."""
        if width is None or name not in self.widths:
            return 0.0
        return float(np.interp(width, self.widths[name], self.width_damages[name][encoder]))

    def to_json(self) -> dict[str, list]:
        """Entries of a `result.json`."""
        entries = {"fractions": self.fractions.tolist(), "damages": self.damages.tolist()}
        for name, widths in self.widths.items():
            entries |= {name: widths.tolist(), f"{name}_damages": self.width_damages[name].tolist()}
        return entries


def allocate(
    profile: Profile,
    costs: Costs,
    target_speedup: float,
    widths: Widths | None = None,
    dearness: float = 1.0,
    eliminates: bool = True,
) -> Reduction:
    """Finds the reduction of least predicted damage within the budget, by dynamic programming.

    Costs are rounded up to bins of budget / 400, so that the budget holds.

    Args:
        profile: Measured damages.
        costs: Costs of reductions.
        target_speedup: A reachable target.
        widths: The widths to choose from; None for all neurons and heads.
        dearness: Factor of the damage of widths against that of rows. Each was measured alone, and they add up
            differently.
        eliminates: Whether rows may leave.

    Returns:
        Fractions, non-increasing, and widths.
    """
    num_encoders = len(profile.damages) + 1
    fractions = FRACTIONS if eliminates else FRACTIONS[-1:]
    widths = widths or Widths((None,), (None,))
    every = list(itertools.product(widths.neurons, widths.heads))

    def harm(encoder: int, option: tuple[int | None, int | None]) -> float:
        return dearness * sum(
            profile.of_width(name, encoder, width) for name, width in zip(WIDTHS, option, strict=True)
        )

    if widths.are_shared:
        options = [[(option, harm(encoder, option)) for encoder in range(num_encoders)] for option in every]
        found = [_allocate(profile, costs, target_speedup, fractions, [[own] for own in choice]) for choice in options]
    else:
        found = [
            _allocate(
                profile,
                costs,
                target_speedup,
                fractions,
                [
                    _useful(costs, [(option, harm(encoder, option)) for option in every])
                    for encoder in range(num_encoders)
                ],
            )
        ]
    _, rows, chosen = min(found, key=lambda one: one[0])
    neurons, heads = zip(*chosen, strict=True)
    return widths.reduction(rows, neurons, heads)


Option = tuple[tuple[int | None, int | None], float]  # neurons and heads of an encoder, and their damage


def _useful(costs: Costs, options: Sequence[Option]) -> list[Option]:
    """The options that no other one beats in both cost and damage, in an encoder of all rows."""

    def cost(option: Option) -> float:
        return float(np.mean(_attention(costs, costs.lengths, False, option) + _update(costs, costs.lengths, option)))

    kept: list[Option] = []
    for option in sorted(options, key=lambda one: (cost(one), one[1])):
        if not kept or option[1] < kept[-1][1]:
            kept.append(option)
    return kept


def _attention(costs: Costs, rows: np.ndarray, extracts: bool, option: Option) -> np.ndarray:
    (_, heads), _ = option
    return costs.table.part("extracting_attention" if extracts else "attention", rows, heads=heads)


def _update(costs: Costs, rows: np.ndarray, option: Option, part: str = "update") -> np.ndarray:
    (neurons, heads), _ = option
    return costs.table.part(part, rows, neurons=neurons, heads=heads)


def _allocate(
    profile: Profile,
    costs: Costs,
    target_speedup: float,
    fractions: np.ndarray,
    options: Sequence[Sequence[Option]],
) -> tuple[float, tuple[float, ...], list[tuple[int | None, int | None]]]:
    """Damage, fractions and widths of the best reduction, with the options of each encoder."""
    budget = costs.dense / target_speedup - np.mean(np.interp(costs.lengths, costs.table.rows, costs.table.outside))
    rows = np.maximum(np.ceil(fractions[:, None] * costs.lengths - 1e-9), 1)  # [F, batches]

    def in_bins(cost: np.ndarray) -> np.ndarray:
        return np.ceil(cost / budget * _COST_BINS).astype(int)

    damages = profile.at(fractions)
    # least[a, c]: least damage so far with fraction a and c cost bins left; everything enters the first encoder.
    least = np.full((len(fractions), _COST_BINS + 1), np.inf)
    least[-1, _COST_BINS] = 0.0
    steps = []
    for encoder, of_encoder in enumerate(options[:-1]):
        following = np.full_like(least, np.inf)
        came_from = np.zeros((2, *least.shape), int)  # the fraction that entered, and the option
        for number, option in enumerate(of_encoder):
            # [F]: by the rows that enter, with and without extraction; by the rows that leave.
            plain, extracting = (np.mean(_attention(costs, rows, way, option), axis=-1) for way in (False, True))
            update = np.mean(_update(costs, rows, option), axis=-1)
            for leaving in range(len(fractions)):
                attention = np.where(np.arange(len(fractions)) > leaving, extracting, plain)
                bins = in_bins(attention + update[leaving])
                for entering in range(leaving, len(fractions)):
                    spent = bins[entering]
                    if spent > _COST_BINS:
                        break  # more rows cost more
                    harm = damages[encoder, leaving] - damages[encoder, entering] + option[1]
                    reached = least[entering, spent:] + harm
                    better = reached < following[leaving, : len(reached)]
                    following[leaving, : len(reached)][better] = reached[better]
                    came_from[:, leaving, : len(reached)][:, better] = [[entering], [number]]
        steps.append((came_from, of_encoder))
        least = following

    best: tuple[float, int, int, Option] | None = None
    for option in options[-1]:
        bins = in_bins(np.mean(_update(costs, rows, option, "last"), axis=-1))
        affordable = np.where(np.arange(_COST_BINS + 1) < bins[:, None], np.inf, least + option[1])
        leaving, left = (int(index) for index in np.unravel_index(np.argmin(affordable), affordable.shape))
        if np.isfinite(affordable[leaving, left]) and (best is None or affordable[leaving, left] < best[0]):
            best = float(affordable[leaving, left]), leaving, left, option
    if best is None:  # the bins' rounding left no room: the fastest there is
        fastest = [of_encoder[0][0] for of_encoder in options]
        return np.inf, (*[float(fractions[0])] * (len(options) - 1), CLS_ALONE), fastest
    damage, leaving, left, option = best
    found, chosen = [CLS_ALONE], [option[0]]
    for came_from, of_encoder in reversed(steps):
        found.append(round_up(float(fractions[leaving])))
        entering, number = (int(value) for value in came_from[:, leaving, left])
        option = of_encoder[number]
        chosen.append(option[0])
        attention = _attention(costs, rows[entering], leaving < entering, option)
        left += int(in_bins(np.mean(attention) + np.mean(_update(costs, rows[leaving], option))))
        leaving = entering
    return damage, tuple(reversed(found)), list(reversed(chosen))
