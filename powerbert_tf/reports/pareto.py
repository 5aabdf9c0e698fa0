"""Metric against speed-up: which points are worth having, over one seed or several."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from powerbert_tf.elimination.retention import Configuration, format_configuration
from powerbert_tf.latency.speed import GROUPED

# The baseline that all speed-ups are meant against.

_TOLERANCE = 1e-9  # 0.34 - 0.1 is above 0.24 in floating point

_MEASURED = ("predicted_speedup", "speedup", "speedup_padded", "metric")

MAX_LOSS = 0.01  # points of the metric, where no --max_loss is given


@dataclasses.dataclass(frozen=True)
class Point:
    """One reduced model, measured.

    Attributes:
        strategy: How its retention configuration and weights were come by, such as "calibrate, re-trained".
        target_speedup: The speed-up that was asked for.
        configuration: Retention configuration.
        predicted_speedup: What the cost table says, against the dense model on the same length-grouped batches.
        speedup: Measured, against the same.
        speedup_padded: Measured, against the dense model padded to N.
        metric: On the dev split.
        seed: Of the run.
    """

    strategy: str
    target_speedup: float
    configuration: Configuration
    predicted_speedup: float
    speedup: float
    speedup_padded: float
    metric: float
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The dense model with one way of padding; over several seeds, the mean.

    Attributes:
        name: "padded to N", "padded to the batch" or "grouped by length".
        milliseconds: Median time of a batch.
        speedup: Against "grouped by length", so that slower ones are below 1.
        metric: On the dev split.
    """

    name: str
    milliseconds: float
    speedup: float
    metric: float


def is_efficient(speedups: Sequence[float] | np.ndarray, metrics: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which points no other point beats in one of speed-up and metric without losing in the other; twins both stay.

    Args:
        speedups: `[n]`.
        metrics: `[n]`, higher is better.

    Returns:
        Boolean, `[n]`.
    """
    # [i, j]: i against j.
    speed, quality = np.asarray(speedups, "float64"), np.asarray(metrics, "float64")
    no_worse = (speed[:, None] >= speed) & (quality[:, None] >= quality)
    better = (speed[:, None] > speed) | (quality[:, None] > quality)
    return ~np.any(no_worse & better, axis=0)


def fastest_within(points: Sequence[Point], dense_metric: float, max_loss: float) -> Point | None:
    """The fastest point that loses little.

    Args:
        points: To choose from; the seeds are not averaged here, see `average_seeds`.
        dense_metric: Of the dense model.
        max_loss: In units of the metric, absolute: 0.01 is one point.

    Returns:
        A point, not necessarily faster than the dense model; None where all lose more than `max_loss`.
    """
    close = [point for point in points if point.metric >= dense_metric - max_loss - _TOLERANCE]
    return max(close, key=lambda point: point.speedup, default=None)


def average_seeds(points: Sequence[Point]) -> list[Point]:
    """One point for each strategy and target: what was measured is the mean over the seeds, the rest the first one's.

    Returns:
        In the order in which the strategies come up, by target within a strategy.

    Raises:
        ValueError: A strategy, target and seed come up twice.
    """
    averages = []
    for group in _by_seed(points):
        means: dict[str, Any] = {name: float(np.mean(_values(group, name))) for name in _MEASURED}
        averages.append(dataclasses.replace(group[0], **means))
    return averages


def pareto_table(points: Sequence[Point], metric: str = "metric", baselines: Sequence[Baseline] = ()) -> pd.DataFrame:
    """The points for people: one row for each strategy and target, averaged over the seeds.

    Args:
        points: Of one task.
        metric: Name of the metric, for the columns.
        baselines: Dense models, which also may be the better choice.

    Returns:
        Columns `strategy`, `target speed-up`, `seeds` (how many), `predicted speed-up`, `speed-up`,
        `speed-up over padded to N`, the metric, `efficient` (see `is_efficient`; against the rows and the baselines)
        and `configuration` (those of all seeds where they differ). Where a row has several seeds, each measured column
        is followed by one with ` std` after its name: the sample standard deviation, NaN for a single seed.

    Raises:
        ValueError: A strategy, target and seed come up twice.
    """
    groups, means = _by_seed(points), average_seeds(points)
    columns: dict[str, object] = {
        "strategy": [point.strategy for point in means],
        "target speed-up": [point.target_speedup for point in means],
        "seeds": [len(group) for group in groups],
    }
    labels = ("predicted speed-up", "speed-up", "speed-up over padded to N", metric)
    for name, label in zip(_MEASURED, labels, strict=True):
        columns[label] = _values(means, name)
        if any(len(group) > 1 for group in groups):
            columns[f"{label} std"] = [_deviation(_values(group, name)) for group in groups]
    every: list[Point | Baseline] = [*means, *baselines]
    efficient = is_efficient([choice.speedup for choice in every], [choice.metric for choice in every])
    columns["efficient"] = efficient[: len(means)]
    columns["configuration"] = [_configurations(group) for group in groups]
    return pd.DataFrame(columns)


def _by_seed(points: Sequence[Point]) -> list[list[Point]]:
    """The points that differ in the seed alone, together."""
    groups: dict[str, dict[float, list[Point]]] = {}
    for point in points:
        group = groups.setdefault(point.strategy, {}).setdefault(point.target_speedup, [])
        if point.seed in (other.seed for other in group):
            raise ValueError(
                f"points: {point.strategy!r} with the target {point.target_speedup:g} and seed {point.seed} twice; "
                "expected once."
            )
        group.append(point)
    return [targets[target] for targets in groups.values() for target in sorted(targets)]


def _values(points: Sequence[Point], name: str) -> list[float]:
    return [getattr(point, name) for point in points]


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _configurations(group: Sequence[Point]) -> str:
    texts = [format_configuration(point.configuration) for point in group]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"seed {point.seed}: {text}" for point, text in zip(group, texts, strict=True))


def dense_metric(baselines: Sequence[Baseline]) -> float:
    """The metric of the model that speed-ups are meant against.

    Raises:
        ValueError: No baseline "grouped by length".
    """
    for baseline in baselines:
        if baseline.name == GROUPED:
            return baseline.metric
    raise ValueError(f"baselines: {[baseline.name for baseline in baselines]}; expected {GROUPED!r} among them.")
