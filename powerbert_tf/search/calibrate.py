"""A search without training: measure the damage of elimination, then spend the budget where it hurts least.

1. *Profile.* D_j(f) says how far the outputs of the fine-tuned model move when only encoder j eliminates, down to the
   fraction f of each example's own length (all later encoders then have those rows only).
2. *Allocate.* Each word-vector is charged the damage of leaving at its encoder: a configuration f_1 >= ... >= f_{L-1}
   has the predicted damage  sum_j D_j(f_j) - D_j(f_{j-1}),  f_0 = 1. Dynamic programming finds the least within the
   budget, exactly up to the grids of fractions and of costs.
3. *Refine.* Small exchanges between encoders, each measured on the same examples, keep what lowers the true damage (the
   evolutionary search of Length-Adaptive Transformer, arXiv 2010.07003, from a good start).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from keras import ops
from scipy import special

from powerbert_tf.common.reporting import open_bar
from powerbert_tf.elimination.retention import CLS_ALONE, round_up
from powerbert_tf.latency.costs import Costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier, with_retention

_PROFILED = (0.03, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8)  # fractions that are measured
_ALLOCATED = np.concatenate([[CLS_ALONE], np.geomspace(0.02, 1.0, 32)])  # fractions that are chosen from
_COST_BINS = 400
_REFINEMENTS = 30


def damage(full: np.ndarray, reduced: np.ndarray, is_regression: bool) -> float:
    """Distance of outputs: mean KL(full || reduced) in nats, or the mean squared difference for a regression.

    Args:
        full: Logits `[n, C]` of the model that eliminates nothing.
        reduced: Logits `[n, C]` of the reduced model.
        is_regression: Whether the logit is the answer.
    """
    if is_regression:
        return float(np.mean((full - reduced) ** 2))
    log_p, log_q = special.log_softmax(full, axis=-1), special.log_softmax(reduced, axis=-1)
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The damage of elimination at each encoder.

    Attributes:
        fractions: The measured fractions f, increasing up to 1, `[g]`.
        damages: D_j(f) of all encoders but the last, `[L - 1, g]`; non-increasing in f, and 0 at 1.
    """

    fractions: np.ndarray
    damages: np.ndarray

    def at(self, fractions: np.ndarray) -> np.ndarray:
        """D_j at other fractions, `[L - 1, len(fractions)]`, linear in between."""
        return np.array([np.interp(fractions, self.fractions, row) for row in self.damages])


class Calibration:
    """The search on one model. It measures the profile once, for all budgets.

    Args:
        model: The fine-tuned classifier.
        batches: Inputs of the calibration examples, arrays `[B, T]` by name.
        is_regression: Whether the logit is the answer.
        selection: Name of the score that ranks word-vectors.
        seed: Seed of the refinement.
    """

    def __init__(
        self,
        model: BertClassifier,
        batches: Sequence[dict[str, np.ndarray]],
        is_regression: bool,
        selection: str = "attention",
        seed: int = 0,
    ):
        self.model = model
        self.batches = batches
        self.is_regression = is_regression
        self.selection = selection
        self.seed = seed
        self.full = self._logits(None)
        self._damages: dict[tuple[float, ...], float] = {}
        self._profile: Profile | None = None

    def damage(self, configuration: Sequence[float]) -> float:
        """Measures the damage of a configuration, once."""
        key = tuple(configuration)
        if key not in self._damages:
            self._damages[key] = damage(self.full, self._logits(key), self.is_regression)
        return self._damages[key]

    def profile(self) -> Profile:
        """Measures D_j(f) of all encoders but the last, once."""
        if self._profile is None:
            num_encoders = len(self.model.encoders)
            damages = np.zeros((num_encoders - 1, len(_PROFILED) + 1))
            with open_bar(total=(num_encoders - 1) * len(_PROFILED), desc="calibrate", unit="configuration") as bar:
                for encoder in range(num_encoders - 1):
                    for column, fraction in enumerate(_PROFILED):
                        kept = (1.0,) * encoder + (fraction,) * (num_encoders - encoder)
                        damages[encoder, column] = self.damage(kept)
                        bar.update()
            # Beyond noise, keeping more never hurts.
            damages = np.maximum.accumulate(damages[:, ::-1], axis=1)[:, ::-1]
            self._profile = Profile(np.array([*_PROFILED, 1.0]), damages)
        return self._profile

    def search(self, costs: Costs, target_speedup: float, refinements: int = _REFINEMENTS) -> tuple[float, ...]:
        """Finds a configuration of little damage whose predicted speed-up is the target or just above.

        The target is reachable, see `costs.require_reachable`; `refinements` exchanges are measured.
        """
        start = allocate(self.profile(), costs, target_speedup)
        best = fit_to_budget(start, costs, target_speedup)
        random = np.random.default_rng(self.seed)
        with open_bar(total=refinements, desc=f"refine to {target_speedup:.2f}x", unit="configuration") as bar:
            for _ in range(refinements):
                candidate = fit_to_budget(_exchange(best, random), costs, target_speedup)
                if self.damage(candidate) < self.damage(best):
                    best = candidate
                bar.set_postfix_str(f"damage={self.damage(best):.4f}", refresh=False)
                bar.update()
        return best

    def _logits(self, configuration: Sequence[float] | None) -> np.ndarray:
        # Not compiled: each configuration runs once, and tracing would take longer.
        model = with_retention(self.model, configuration, selection=self.selection)
        return np.concatenate([ops.convert_to_numpy(model(batch, training=False)) for batch in self.batches])


def allocate(profile: Profile, costs: Costs, target_speedup: float) -> tuple[float, ...]:
    """Finds the fractions of least predicted damage within the budget, by dynamic programming.

    Costs are rounded up to bins of budget / 400, so that the budget holds.

    Args:
        profile: D_j(f).
        costs: Costs of configurations.
        target_speedup: A reachable target.

    Returns:
        Fractions, non-increasing.
    """
    fractions = _ALLOCATED
    budget = costs.dense / target_speedup - np.mean(np.interp(costs.lengths, costs.table.rows, costs.table.outside))
    rows = np.maximum(np.ceil(fractions[:, None] * costs.lengths - 1e-9), 1)  # [F, batches]

    def in_bins(cost: np.ndarray) -> np.ndarray:
        return np.ceil(cost / budget * _COST_BINS).astype(int)

    bins = in_bins(_edge_costs(costs, rows))  # [F, F]: entering, leaving
    last_bins = in_bins(np.mean(np.interp(rows, costs.table.rows, costs.table.last), axis=-1))  # [F]
    damages = profile.at(fractions)

    # least[a, c]: least damage so far with fraction a and c cost bins left; everything enters the first encoder.
    least = np.full((len(fractions), _COST_BINS + 1), np.inf)
    least[-1, _COST_BINS] = 0.0
    choices = []
    for encoder in range(len(damages)):
        following = np.full_like(least, np.inf)
        came_from = np.zeros(least.shape, int)
        for leaving in range(len(fractions)):
            for entering in range(leaving, len(fractions)):
                spent = bins[entering, leaving]
                if spent > _COST_BINS:
                    continue
                harm = damages[encoder, leaving] - damages[encoder, entering]
                reached = least[entering, spent:] + harm
                better = reached < following[leaving, : len(reached)]
                following[leaving, : len(reached)][better] = reached[better]
                came_from[leaving, : len(reached)][better] = entering
        choices.append(came_from)
        least = following

    least[np.arange(_COST_BINS + 1) < last_bins[:, None]] = np.inf  # the last encoder costs something, too
    leaving, left = (int(index) for index in np.unravel_index(np.argmin(least), least.shape))
    if not np.isfinite(least[leaving, left]):  # the bins' rounding left no room
        return (CLS_ALONE,) * (len(damages) + 1)
    found = [CLS_ALONE]
    for came_from in reversed(choices):
        found.append(round_up(float(fractions[leaving])))
        entering = int(came_from[leaving, left])
        left += int(bins[entering, leaving])
        leaving = entering
    return tuple(reversed(found))


def _edge_costs(costs: Costs, rows: np.ndarray) -> np.ndarray:
    """Mean cost of one encoder by the fractions that enter and leave it, `[F, F]`, from their rows `[F, batches]`."""

    def cost(entering: int, leaving: int) -> float:
        kept = np.minimum(rows[leaving], rows[entering])
        return float(np.mean(costs.table.encoder(rows[entering], kept, leaving < entering)))

    return np.array([[cost(entering, leaving) for leaving in range(len(rows))] for entering in range(len(rows))])


def _exchange(fractions: Sequence[float], random: np.random.Generator) -> tuple[float, ...]:
    """Lets one encoder keep more or less; fitting to the budget then charges the others."""
    changed = np.array(fractions)
    encoder = random.integers(len(changed) - 1)  # not the last
    changed[encoder] *= np.exp(random.normal(0.0, 0.25))
    changed = np.clip(changed, CLS_ALONE, 1.0)
    # The fractions must not increase.
    changed[:encoder] = np.maximum(changed[:encoder], changed[encoder])
    changed[encoder:] = np.minimum(changed[encoder:], changed[encoder])
    return tuple(round_up(float(fraction)) for fraction in changed)


def bisect_speedup(
    search: Callable[[float], tuple[float, ...]],
    metric_of: Callable[[tuple[float, ...]], float],
    lowest: float,
    largest_speedup: float,
    steps: int = 6,
) -> tuple[float, ...] | None:
    """Finds the fastest configuration whose metric is high enough, by bisection over the logarithm of speed-ups.

    Args:
        search: Target speed-up -> configuration.
        metric_of: Configuration -> dev metric.
        lowest: The lowest metric that is high enough.
        largest_speedup: Upper end of the bisection.
        steps: Number of configurations to try.

    Returns:
        The configuration, or None if no metric was high enough.
    """
    below, above = 1.0, largest_speedup
    best = None
    for _ in range(steps):
        target = (below * above) ** 0.5
        configuration = search(target)
        if metric_of(configuration) >= lowest:
            below, best = target, configuration
        else:
            above = target
    return best
