"""What a reduced model gained and lost, and whether it is worth having: two numbers and a sentence.

Needs NumPy only. `judge` takes the values of `evaluate/result.json`; console, report and `accelerate` show it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

LEAST_GAIN = 1.05  # times faster; measurements vary by less
SHARE = 0.95  # of an interval, see `metrics.loss_interval`
_TOLERANCE = 0.05  # of a target, relative, for the same reason
_BARELY = 0.1  # share of the way from one answer to everything to all right, below which a model is no use
_SMALL = 1.0  # points that a model may lose without a second thought, even where the loss is certain


_TRAIN_LONGER = "train it longer (--epochs), at another --learning_rate, or look at the labels"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Lines of at most 80 columns, unless a name is long.

    Attributes:
        speed: Times faster: what was measured, and what was asked for; a missed target comes first.
        loss: Points of the main metric that were lost, with an interval.
        worth: Whether the model is worth having, and why.
        reason: Why it is not worth having; empty if it is.
    """

    speed: str
    loss: str
    worth: str
    reason: str

    @property
    def is_worth(self) -> bool:
        """Whether the model is worth having."""
        return not self.reason

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.speed, self.loss, self.worth)


def commonest_share(answers: np.ndarray) -> float:
    """The share of the most frequent answer, `[n]` or `[n, C]`; 1 if a model answers everything alike."""
    _, counts = np.unique(answers, axis=0, return_counts=True)
    return float(counts.max() / len(answers))


def judge(evaluated: Mapping[str, Any], no_gain: str = "") -> Verdict:
    """Judges a reduced model by its `evaluate/result.json`.

    Args:
        evaluated: The result, or means of several, with their number as `seeds`. Intervals and shares of answers, which
            earlier versions did not record, may be missing.
        no_gain: Why there is no gain, if that is already known.
    """
    metric, speedup = evaluated["metric"], evaluated["speedup"]
    before, after = (evaluated[model]["metrics"][metric] for model in ("dense", "reduced"))
    missed, speed = _speed(speedup, evaluated.get("settings", {}))
    interval = evaluated.get("interval")
    reason = no_gain or _why_not(evaluated, before, after)
    if reason:
        worth = f"Not worth having: {reason}"
    else:
        worth = f"Worth having{', though slower than asked' if missed else ''}: {_why(evaluated, before, after)}"
    return Verdict(speed, _loss(metric, before, after, interval), worth, reason)


def _speed(speedup: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the target is missed, and the line."""
    got = speedup["grouped"]
    faster = f"{got:.2f} times faster than the fine-tuned model"
    if target := _number(settings.get("target_speedup")):
        if got < (1 - _TOLERANCE) * target:
            return True, f"asked {target:g}x, got {got:.2f}x: the target is missed"
        return False, f"{faster} (asked {target:g}x)"
    if latency := _number(settings.get("target_latency_ms")):
        took = speedup["milliseconds"]["reduced, grouped by length"]
        if took > (1 + _TOLERANCE) * latency:
            return True, f"asked {latency:g} ms, got {took:.1f} ms: the target is missed; {got:.2f} times faster"
        return False, f"{faster}; {took:.1f} ms (asked {latency:g} ms)"
    return False, faster


def _number(value: Any) -> float:
    """A setting that a file recorded; 0 for what is none."""
    return float(value) if isinstance(value, int | float) else 0.0


def _loss(metric: str, before: float, after: float, interval: Any) -> str:
    points = 100 * (before - after)
    what = f"{abs(points):.1f} points of {metric} {'lost' if points >= 0 else 'gained'}"
    found = f"{what} ({before:.4f} → {after:.4f})"
    if not interval:
        return found
    low, high = sorted(round(-100 * value, 1) + 0.0 for value in interval)  # of the points lost; no -0.0
    if points < 0:
        low, high = -high, -low
    return f"{found}, {SHARE:.0%} interval {low:.1f} to {high:.1f}"


def _why_not(evaluated: Mapping[str, Any], before: float, after: float) -> str:
    """Why a model is not worth having; empty if it is."""
    commonest, constant = evaluated.get("commonest", {}), evaluated.get("constant")
    if commonest.get("dense") == 1:
        return f"the fine-tuned model gives one answer to everything; {_TRAIN_LONGER}."
    if constant is not None and before - constant < _BARELY * (1 - constant):
        return f"the fine-tuned model is {_barely(evaluated['metric'], before, constant)}; {_TRAIN_LONGER}."
    if commonest.get("reduced") == 1:
        return "it gives one answer to everything; ask for a lower speed-up, or re-train it longer."
    if evaluated["speedup"]["grouped"] < LEAST_GAIN:
        return (
            "it is no faster on the same batches grouped by length. Only padding is left to save: run the original on "
            "batches grouped by length."
        )
    if constant is not None and after - constant < _BARELY * (1 - constant):
        barely = _barely(evaluated["metric"], after, constant)
        return f"it is {barely}; ask for a lower speed-up, or re-train it longer."
    return ""


def _barely(metric: str, value: float, constant: float) -> str:
    better = "barely better" if value > constant else "no better"
    return f"{better} than chance: {metric} {value:.4f}, where one answer to everything has {constant:.4f}"


def _why(evaluated: Mapping[str, Any], before: float, after: float) -> str:
    points, interval = 100 * (before - after), evaluated.get("interval")
    measured_on = f"{evaluated['seeds']} seeds" if "seeds" in evaluated else f"{evaluated['examples']} dev examples"
    if points <= 0:
        return "faster, and no worse."
    if interval and interval[1] >= 0:
        return f"faster, and the loss may be chance ({measured_on})."
    if points <= _SMALL:
        return f"faster, and {points:.1f} points are a small loss."
    return f"if {points:.1f} points are a fair price for the speed."
