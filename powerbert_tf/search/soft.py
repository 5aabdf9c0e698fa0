"""A search to a target speed-up by gradients: fractions in place of the paper's scales, a budget in place of lambda.

The paper (Goyal et al., ICML 2020, section 3.3) learns a scale for each rank under a loss term lambda * sum_j j mass_j;
the speed-up is whatever comes out. That search has to be tuned to its number of steps. Departures:

- `extract.GatedExtract` has gates in place of scales, one fraction f_j per encoder, so that scaling all of them alike
  gains nothing;
- the budget is a constraint: the loss term is

      multiplier * log cost(f),    by its slope at the present fractions,

  and the multiplier, the paper's lambda, rises and falls until the cost is that of the target;
- neurons and heads have fractions, too, if the model has gates on them (`width_gates.WidthGate`): then f are those of
  rows and widths, in one cost, under one multiplier;
- the length of the search is measured in travel, the sum of the fractions' learning rates: Adam moves a fraction by at
  most about the rate in each step. The steps shrink with travel, as in stochastic approximation (Robbins and Monro,
  1951), and the search ends when the fractions could have moved much further than they did.

`Budget` is the arithmetic, and `BudgetController` applies it in `fit`. Axes: `L` encoders; `F` fractions, those of the
rows first, of each encoder but the last, which computes [CLS] only; then, where there are gates on them, those of
neurons and of heads, of each encoder with weights of its own.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import isotonic_regression

from powerbert_tf.elimination.reduction import WIDTHS, Reduction
from powerbert_tf.elimination.retention import CLS_ALONE
from powerbert_tf.latency.costs import Costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier

WIDTH = 0.2  # of the ramp of gates: an example of ten tokens has rows on it, which give a gradient

# In units of travel: a fraction can move by 1 at most.
_LARGEST_RATE = 0.01  # of a step; larger ones are scaled down, so that noise averages out
_RAMP = 1.0  # while the target rises from 1
_WINDOW = 0.5  # over which fractions are averaged
_DECAY = 1.0  # in which the steps shrink by e, after the ramp

_FIRST_MULTIPLIER = 0.1  # loss for a cost e times larger; any start finds the right one
_INTEGRAL_GAIN = 40.0  # growth of log(multiplier) per unit of travel and of log(cost / target)
_PROPORTIONAL_GAIN = 50.0  # so that an error of 2 % doubles the multiplier, or makes it 0
_LOG_RANGE = 12.0  # of the multiplier around the first
_LARGEST_RESPONSE = 4.0  # of the proportional part: Adam remembers larger ones for a thousand steps

_TOLERANCE = 0.03  # between the fractions of two windows, about a row of a sentence
_COST_TOLERANCE = 0.02  # of log(cost / target)
_DIFFERENCE = 0.05  # half the interval of a slope: wider than a row, and than the noise of measured costs

_STEPS_OF_NEURONS = 16  # widths of feed-forward networks are multiples of this share of the widest

# How many neurons and heads encoders with weights of their own have, in the dimensions beside rows that have fractions.
Sizes = Mapping[str, Sequence[int]]
ROWS_ALONE: Sizes = MappingProxyType({})


def gate_sizes(model: BertClassifier) -> dict[str, tuple[int, ...]]:
    """How many neurons and heads the gates of a model are on, for `BudgetController`; empty if they are on rows."""
    return {name: tuple(gate.size for gate in model.gates[name]) for name in WIDTHS if name in model.gates}


def split_fractions(fractions: np.ndarray, num_encoders: int, sizes: Sizes) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Splits fractions `[F]` into those of rows, `[L - 1]`, and of each dimension in `sizes`, by its name."""
    ends = np.cumsum([num_encoders - 1, *(len(size) for size in sizes.values())])
    rows, *widths, _ = np.split(fractions, ends)
    return rows, dict(zip(sizes, widths, strict=True))


def log_cost_slopes(fractions: np.ndarray, costs: Costs, sizes: Sizes = ROWS_ALONE) -> np.ndarray:
    """Slopes d log(cost) / d f, none negative, `[F]`.

    The cost itself has steps. Its slopes are those of encoders that all extract, with rows and widths that are real
    numbers.

    Args:
        fractions: f, `[F]`.
        costs: Costs of reductions.
        sizes: How many neurons and heads the fractions are of.
    """
    table, num_encoders = costs.table, costs.num_encoders
    of_rows, of_widths = split_fractions(fractions, num_encoders, sizes)

    def widths(shifted: str = "", shift: float = 0.0) -> dict[str, np.ndarray]:
        """Neurons and heads of each encoder, `[L, 1]` each."""
        moved = {name: np.clip(own + shift * (name == shifted), 0.0, 1.0) for name, own in of_widths.items()}
        return {name: np.resize(own * sizes[name], (num_encoders, 1)) for name, own in moved.items()}

    def rows(shift: float = 0.0) -> np.ndarray:
        """Rows that each encoder but the last keeps, `[L - 1, batches]`."""
        return np.clip(of_rows + shift, 0.0, 1.0)[:, None] * costs.lengths

    def cost_of_rows(shift: float) -> np.ndarray:
        """Costs of the rows that each encoder keeps: its own update, and the self-attention of the next."""
        kept, own = rows(shift), widths()
        heads = {name: values for name, values in own.items() if name == "heads"}
        cost = table.part("update", kept, **_of(own, slice(-1)))
        cost[:-1] += table.part("extracting_attention", kept[:-1], **_of(heads, slice(1, -1)))
        cost[-1] += table.part("last", kept[-1], **_of(own, -1))
        return np.mean(cost, axis=-1)

    def cost_of_widths(name: str, shift: float) -> np.ndarray:
        """Costs of all encoders, or of each one of its own weights."""
        own, kept = widths(name, shift), rows()
        entering = np.concatenate([costs.lengths[None], kept])
        inner = table.encoder(entering[:-1], kept, True, **_of(own, slice(-1)))
        last = table.last_encoder(entering[-1:], **_of(own, slice(-1, None)))
        cost = np.mean(np.concatenate([inner, last]), axis=-1)
        return np.sum(np.reshape(cost, (-1, len(sizes[name]))), axis=0)

    above, below = [cost_of_rows(_DIFFERENCE)], [cost_of_rows(-_DIFFERENCE)]
    for name in sizes:
        above.append(cost_of_widths(name, _DIFFERENCE))
        below.append(cost_of_widths(name, -_DIFFERENCE))
    interval = np.clip(fractions + _DIFFERENCE, 0.0, 1.0) - np.clip(fractions - _DIFFERENCE, 0.0, 1.0)
    slopes = (np.concatenate(above) - np.concatenate(below)) / interval
    return np.maximum(slopes, 0.0) / costs.of(_as_reduction(fractions, num_encoders, sizes))


def _of(widths: Mapping[str, np.ndarray], encoders: Any) -> dict[str, np.ndarray]:
    return {name: values[encoders] for name, values in widths.items()}


class Budget:
    """Brings fractions to a budget, step by step: plain arithmetic, no tensors.

    Attributes:
        fractions: f after the last step, `[F]`; those of rows never increase.
        averaged: Their mean over the last whole window, `[F]`; `fractions` before there is one.
        speedup: Predicted speed-up of `fractions`.
        multiplier: Loss for a cost e times larger; negative if the speed-up overshoots the target.
        prices: multiplier * d log(cost) / d f for the next step, `[F]`.
        converged: Whether the fractions came to rest on the target.

    Args:
        costs: Costs of reductions.
        target_speedup: Times faster than without elimination.
        sizes: How many neurons and heads of each encoder there are, where they have fractions; see `gate_sizes`.
        smallest: Least fractions of these, by the same names.
    """

    def __init__(
        self,
        costs: Costs,
        target_speedup: float,
        sizes: Sizes = ROWS_ALONE,
        smallest: Sizes = ROWS_ALONE,
    ):
        self.costs = costs
        self.sizes = dict(sizes)
        # In an average example the row after [CLS] stays a little open: a closed gate has no gradient.
        least_rows = min(1.0, 1.5 / ((1 + WIDTH) * float(np.mean(costs.lengths))))
        least_widths = [np.array(smallest[name]) / sizes[name] for name in sizes]
        self.smallest = np.concatenate([np.full(costs.num_encoders - 1, least_rows), *least_widths])
        fastest = self._speedup(self.smallest)
        self._log_target = math.log(max(1.0, min(target_speedup, fastest)))
        self._log_multiplier = 0.0
        self._travel = 0.0
        self._window: list[np.ndarray] = []
        self._window_began = _RAMP
        self._previous_mean: np.ndarray | None = None
        self.converged = False
        self.fractions = self.averaged = np.ones(len(self.smallest))
        self._respond(0.0)

    def get_state(self) -> dict[str, Any]:
        """The state as JSON values, including the costs, which another process would measure differently."""
        values = {**vars(self), "costs": dataclasses.asdict(self.costs)}
        # JSON has enough digits of a float to read the same one.
        return json.loads(json.dumps(values, default=lambda value: value.tolist()))

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name, value in values.items():
            setattr(self, name, np.array(value) if isinstance(value, list) else value)
        self.costs = Costs.from_json(values["costs"])
        self._window = list(np.array(values["_window"]))

    def step(self, proposed: np.ndarray, rate: float) -> np.ndarray:
        """Takes the optimizer's step, or a part of it, and updates `prices`.

        Args:
            proposed: Fractions after the optimizer's step, `[F]`.
            rate: Learning rate of that step.

        Returns:
            The new `fractions`.
        """
        share = min(1.0, _LARGEST_RATE / max(rate, 1e-30)) * math.exp(-max(0.0, self._travel - _RAMP) / _DECAY)
        moved = self.fractions + share * (proposed - self.fractions)
        # The nearest non-increasing fractions. Lowering each to the one before would let noise pull all down.
        num_rows = self.costs.num_encoders - 1
        moved[:num_rows] = isotonic_regression(moved[:num_rows], increasing=False).x
        self.fractions = np.clip(moved, self.smallest, 1.0)
        self._travel += share * rate
        self._respond(share * rate)
        self._average()
        return self.fractions

    def _speedup(self, fractions: np.ndarray) -> float:
        return self.costs.speedup(_as_reduction(fractions, self.costs.num_encoders, self.sizes))

    def _respond(self, travel: float) -> None:
        self.speedup = self._speedup(self.fractions)
        error = self._log_target * min(1.0, self._travel / _RAMP) - math.log(self.speedup)  # above 0: too slow
        response = float(np.clip(1 + _PROPORTIONAL_GAIN * error, -_LARGEST_RESPONSE, _LARGEST_RESPONSE))
        # Beyond the target the response is negative, and grows until the fractions return.
        growth = math.copysign(1.0, response) * _INTEGRAL_GAIN * error * travel
        self._log_multiplier = min(max(self._log_multiplier + growth, -_LOG_RANGE), _LOG_RANGE)
        self.multiplier = _FIRST_MULTIPLIER * math.exp(self._log_multiplier) * response
        self.prices = self.multiplier * log_cost_slopes(self.fractions, self.costs, self.sizes)

    def _average(self) -> None:
        if self._travel < _RAMP:
            self.averaged = self.fractions
            return
        self._window.append(self.fractions)
        if self._travel < self._window_began + _WINDOW:
            return
        mean = np.mean(self._window, axis=0)
        if self._previous_mean is not None:
            log_speedup = math.log(self._speedup(mean))
            is_still = np.max(np.abs(mean - self._previous_mean)) < _TOLERANCE
            self.converged = bool(is_still) and abs(log_speedup - self._log_target) < _COST_TOLERANCE
        self.averaged = self._previous_mean = mean
        self._window, self._window_began = [], self._travel


class BudgetController(keras.callbacks.Callback):
    """Steers a gated classifier to the target speed-up, and stops `fit` when the fractions have converged.

    The model is `dense.with_slots(gate_width=WIDTH)`, and its optimizer Adam, with a rate of 0.01 for the fractions and
    no decay. If the schedule leaves too little travel, `fit` runs to its end without convergence; the resulting
    reduction still meets the target.

    With `gated=reduction.DIMENSIONS` it searches widths as well. Then `dense` has its neurons and heads in the order of
    their importance, and afterwards `models.narrow.prefix(dense, ...)` is the model of the resulting widths.

    Attributes:
        budget: The state of the search.
        steps: Number of steps so far.

    Args:
        costs: Costs of reductions; they know the fewest neurons and heads that a search may leave.
        target_speedup: Times faster than without elimination, reachable.
        sizes: How many neurons and heads of each encoder there are, where they are searched for: `gate_sizes(model)`.
        step_of_neurons: Widths of feed-forward networks are multiples of it, or all; None for a 16th of the widest.

    Raises:
        ValueError: When `fit` begins, if the model has no gates that learn, or on other dimensions.
    """

    def __init__(
        self,
        costs: Costs,
        target_speedup: float,
        sizes: Sizes = ROWS_ALONE,
        step_of_neurons: int | None = None,
    ):
        super().__init__()
        self.costs = costs
        self.target_speedup = target_speedup
        widest = max(sizes.get("neurons", (1,)))
        self._steps = {"neurons": step_of_neurons or max(1, widest // _STEPS_OF_NEURONS), "heads": 1}
        fewest = {"neurons": costs.fewest_neurons, "heads": costs.fewest_heads}
        self._smallest = {
            name: [min(fewest[name] or self._steps[name], size) for size in sizes[name]] for name in sizes
        }
        self.budget = Budget(costs, target_speedup, sizes, self._smallest)
        self.steps = 0
        self._gates: list[Any] = []

    def get_state(self):
        """The state as JSON values."""
        return {"budget": self.budget.get_state(), "steps": self.steps}

    def set_state(self, values):
        """Restores what `get_state` returned."""
        self.budget.set_state(values["budget"])
        self.costs, self.steps = self.budget.costs, values["steps"]
        if self._gates:
            self._assign(self.budget.fractions)

    @property
    def fractions(self) -> tuple[float, ...]:
        """The present f of each encoder's rows; the last one keeps [CLS] only."""
        rows, _ = split_fractions(self.budget.fractions, self.costs.num_encoders, self.budget.sizes)
        return _as_configuration(rows)

    @property
    def widths(self) -> dict[str, list[float]]:
        """The present f of each encoder's neurons and heads, where they are searched for."""
        _, widths = split_fractions(self.budget.fractions, self.costs.num_encoders, self.budget.sizes)
        return {name: own.tolist() for name, own in widths.items()}

    @property
    def configuration(self) -> tuple[float, ...]:
        """The rows of the result."""
        return self.reduction.rows

    @property
    def reduction(self) -> Reduction:
        """The result: averaged fractions, widths rounded, and rows brought to the target by `fit_to_budget`."""
        budget, num_encoders = self.budget, self.costs.num_encoders
        # Where rows alone cannot make up for widths that have not come down yet, all go on towards the smallest.
        for share in np.linspace(0.0, 1.0, 11):
            fractions = budget.averaged + share * (budget.smallest - budget.averaged)
            rows, widths = split_fractions(fractions, num_encoders, budget.sizes)
            rounded = {name: self._rounded(name, own) for name, own in widths.items()}
            fitted = fit_to_budget(_as_configuration(rows), self.costs, self.target_speedup, **rounded)
            found = Reduction(fitted, **rounded)
            if not widths or self.costs.speedup(found) >= self.target_speedup * (1 - 1e-9):
                break
        return found

    def _rounded(self, name: str, fractions: np.ndarray) -> tuple[int, ...] | None:
        """The nearest widths that may be, `[L]`; None for all neurons or heads."""
        sizes, step = np.array(self.budget.sizes[name]), self._steps[name]
        exact = fractions * sizes
        widths = np.clip(np.rint(exact / step) * step, self._smallest[name], sizes)
        widths = np.where(exact > (widths + sizes) / 2, sizes, widths).astype(int)
        return None if (widths == sizes).all() else tuple(np.resize(widths, self.costs.num_encoders).tolist())

    def on_train_begin(self, logs=None):
        if not self.model.gate_width:
            raise ValueError(f"gate_width={self.model.gate_width}; expected above 0: fractions that learn.")
        expected = ("rows", *self.budget.sizes)
        if set(self.model.gated) != set(expected):
            raise ValueError(f"gated={self.model.gated}; expected {expected}, those with sizes.")
        self._gates = [gate for name in expected for gate in self.model.gates[name]]
        self._assign(self.budget.fractions)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        proposed = np.array([float(ops.convert_to_numpy(gate.fraction)) for gate in self._gates])
        self._assign(self.budget.step(proposed, self._rate()))
        if self.budget.converged:
            self.model.stop_training = True

    def _rate(self) -> float:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of float16's loss scaling
        return float(ops.convert_to_numpy(optimizer.learning_rate)) * getattr(optimizer, "retention_rate_ratio", 1.0)

    def _assign(self, fractions: np.ndarray) -> None:
        for gate, fraction, price in zip(self._gates, fractions, self.budget.prices, strict=True):
            gate.fraction.assign(float(fraction))
            gate.price.assign(float(price))


def _as_configuration(fractions: np.ndarray) -> tuple[float, ...]:
    return (*(float(fraction) for fraction in fractions), CLS_ALONE)


def _as_reduction(fractions: np.ndarray, num_encoders: int, sizes: Sizes) -> Reduction:
    """What fractions stand for; neurons and heads are real numbers, which costs can be computed of."""
    rows, widths = split_fractions(fractions, num_encoders, sizes)
    counts: dict[str, Any] = {
        name: tuple(np.resize(own * sizes[name], num_encoders).tolist()) for name, own in widths.items()
    }
    return Reduction(_as_configuration(rows), **counts)
