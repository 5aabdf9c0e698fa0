"""A search to a target speed-up by gradients: fractions in place of the paper's scales, a budget in place of lambda.

The paper (Goyal et al., ICML 2020, section 3.3) learns a scale for each rank under a loss term lambda * sum_j j mass_j;
the speed-up is whatever comes out. That search has to be tuned to its number of steps. Departures:

- `extract.GatedExtract` has gates in place of scales, one fraction f_j per encoder, so that scaling all of them alike
  gains nothing;
- the budget is a constraint: the loss term is

      multiplier * log cost(f),    by its slope at the present fractions,

  and the multiplier, the paper's lambda, rises and falls until the cost is that of the target;
- the length of the search is measured in travel, the sum of the fractions' learning rates: Adam moves a fraction by at
  most about the rate in each step. The steps shrink with travel, as in stochastic approximation (Robbins and Monro,
  1951), and the search ends when the fractions could have moved much further than they did.

`Budget` is the arithmetic, and `BudgetController` applies it in `fit`. Axes: `L` encoders; the last one, which computes
[CLS] only, has no fraction.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import isotonic_regression

from powerbert_tf.elimination.extract import GatedExtract
from powerbert_tf.elimination.retention import CLS_ALONE
from powerbert_tf.latency.costs import Costs, fit_to_budget

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


def log_cost_slopes(fractions: np.ndarray, costs: Costs) -> np.ndarray:
    """Slopes d log(cost) / d f_j, none negative, `[L - 1]`.

    The cost itself has steps. Its slopes are those of encoders that all extract, with rows that are real numbers.

    Args:
        fractions: f, `[L - 1]`.
        costs: Costs of configurations.
    """
    table = costs.table

    def own_cost(shift: float) -> np.ndarray:
        """Costs of the rows that each encoder keeps: its own update, and the self-attention of the next."""
        rows = np.clip(fractions + shift, 0.0, 1.0)[:, None] * costs.lengths  # [L - 1, batches]
        cost = np.interp(rows, table.rows, table.update)
        cost[:-1] += np.interp(rows[:-1], table.rows, table.extracting_attention)
        cost[-1] += np.interp(rows[-1], table.rows, table.last)
        return np.mean(cost, axis=-1)

    interval = np.clip(fractions + _DIFFERENCE, 0.0, 1.0) - np.clip(fractions - _DIFFERENCE, 0.0, 1.0)
    slopes = (own_cost(_DIFFERENCE) - own_cost(-_DIFFERENCE)) / interval
    return np.maximum(slopes, 0.0) / costs.of(_as_configuration(fractions))


class Budget:
    """Brings fractions to a budget, step by step: plain arithmetic, no tensors.

    Attributes:
        fractions: f after the last step, `[L - 1]`, never increasing.
        averaged: Their mean over the last whole window, `[L - 1]`; `fractions` before there is one.
        speedup: Predicted speed-up of `fractions`.
        multiplier: Loss for a cost e times larger; negative if the speed-up overshoots the target.
        prices: multiplier * d log(cost) / d f_j for the next step, `[L - 1]`.
        converged: Whether the fractions came to rest on the target.

    Args:
        costs: Costs of configurations.
        target_speedup: Times faster than without elimination.
    """

    def __init__(self, costs: Costs, target_speedup: float):
        self.costs = costs
        # In an average example the row after [CLS] stays a little open: a closed gate has no gradient.
        self._smallest = min(1.0, 1.5 / ((1 + WIDTH) * float(np.mean(costs.lengths))))
        fastest = costs.speedup((self._smallest,) * costs.num_encoders)
        self._log_target = math.log(max(1.0, min(target_speedup, fastest)))
        self._log_multiplier = 0.0
        self._travel = 0.0
        self._window: list[np.ndarray] = []
        self._window_began = _RAMP
        self._previous_mean: np.ndarray | None = None
        self.converged = False
        self.fractions = self.averaged = np.ones(costs.num_encoders - 1)
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
            proposed: Fractions after the optimizer's step, `[L - 1]`.
            rate: Learning rate of that step.

        Returns:
            The new `fractions`.
        """
        share = min(1.0, _LARGEST_RATE / max(rate, 1e-30)) * math.exp(-max(0.0, self._travel - _RAMP) / _DECAY)
        moved = self.fractions + share * (proposed - self.fractions)
        # The nearest non-increasing fractions. Lowering each to the one before would let noise pull all down.
        self.fractions = np.clip(isotonic_regression(moved, increasing=False).x, self._smallest, 1.0)
        self._travel += share * rate
        self._respond(share * rate)
        self._average()
        return self.fractions

    def _respond(self, travel: float) -> None:
        self.speedup = self.costs.speedup(_as_configuration(self.fractions))
        error = self._log_target * min(1.0, self._travel / _RAMP) - math.log(self.speedup)  # above 0: too slow
        response = float(np.clip(1 + _PROPORTIONAL_GAIN * error, -_LARGEST_RESPONSE, _LARGEST_RESPONSE))
        # Beyond the target the response is negative, and grows until the fractions return.
        growth = math.copysign(1.0, response) * _INTEGRAL_GAIN * error * travel
        self._log_multiplier = min(max(self._log_multiplier + growth, -_LOG_RANGE), _LOG_RANGE)
        self.multiplier = _FIRST_MULTIPLIER * math.exp(self._log_multiplier) * response
        self.prices = self.multiplier * log_cost_slopes(self.fractions, self.costs)

    def _average(self) -> None:
        if self._travel < _RAMP:
            self.averaged = self.fractions
            return
        self._window.append(self.fractions)
        if self._travel < self._window_began + _WINDOW:
            return
        mean = np.mean(self._window, axis=0)
        if self._previous_mean is not None:
            log_speedup = math.log(self.costs.speedup(_as_configuration(mean)))
            is_still = np.max(np.abs(mean - self._previous_mean)) < _TOLERANCE
            self.converged = bool(is_still) and abs(log_speedup - self._log_target) < _COST_TOLERANCE
        self.averaged = self._previous_mean = mean
        self._window, self._window_began = [], self._travel


class BudgetController(keras.callbacks.Callback):
    """Steers a gated classifier to the target speed-up, and stops `fit` when the fractions have converged.

    The model is `dense.with_slots(gate_width=WIDTH)`, and its optimizer Adam, with a rate of 0.01 for the fractions and
    no decay. If the schedule leaves too little travel, `fit` runs to its end without convergence; the resulting
    configuration still meets the target.

    Attributes:
        budget: The state of the search.
        steps: Number of steps so far.

    Args:
        costs: Costs of configurations.
        target_speedup: Times faster than without elimination, reachable.

    Raises:
        ValueError: When `fit` begins, if the model has no gates that learn.
    """

    def __init__(self, costs: Costs, target_speedup: float):
        super().__init__()
        self.costs = costs
        self.target_speedup = target_speedup
        self.budget = Budget(costs, target_speedup)
        self.steps = 0
        self._gates: list[GatedExtract] = []

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
        """The present f of each encoder; the last one keeps [CLS] only."""
        return _as_configuration(self.budget.fractions)

    @property
    def configuration(self) -> tuple[float, ...]:
        """The result: averaged fractions, brought to the target by `fit_to_budget`."""
        return fit_to_budget(_as_configuration(self.budget.averaged), self.costs, self.target_speedup)

    def on_train_begin(self, logs=None):
        if not self.model.gate_width:
            raise ValueError(f"gate_width={self.model.gate_width}; expected above 0: fractions that learn.")
        self._gates = self.model.slots
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
