"""What accelerating a classifier lost and gained, and whether it was worth it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from powerbert_tf.data.kinds import LABELS
from powerbert_tf.data.metrics import METRICS, compute_metrics, format_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.reduction import WIDTHS, Reduction, format_widths
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.reports.verdict import LEAST_GAIN, judge


@dataclasses.dataclass(frozen=True)
class AccelerationReport:
    """Quality and speed on the dev split.

    Attributes:
        metric: The main one of the metrics.
        original: Metrics of the model as it was.
        reduced: Metrics of the reduced model.
        agreement: Share of answers that are the original's, or for a regression their correlation.
        predicted_speedup: By the costs of its parts, against the original on the same length-grouped batches.
        measured_speedup: The same, measured.
        measured_speedup_over_padded: Measured against the original padded to N.
        milliseconds: Per batch, by model and padding.
        batch_size: Of these batches.
        device: On which it was measured.
        retention_configuration: Share of an example's length that each encoder keeps.
        max_seq_length: N.
        examples: Of the dev split.
        retrained: Whether weights were trained.
        no_gain: Why the reduced model is not worth having; empty if it is.
        neurons: Neurons of each encoder's feed-forward network; None for all.
        heads: Attention heads of each encoder; None for all.
        verdict: What was gained and lost, and whether it is worth having, in three lines.
    """

    metric: str
    original: dict[str, float]
    reduced: dict[str, float]
    agreement: float
    predicted_speedup: float
    measured_speedup: float
    measured_speedup_over_padded: float
    milliseconds: dict[str, float]
    batch_size: int
    device: str
    retention_configuration: tuple[float, ...]
    max_seq_length: int
    examples: int
    retrained: bool
    no_gain: str
    neurons: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    verdict: tuple[str, ...] = ()

    def __str__(self) -> str:
        widths = Reduction(self.retention_configuration, self.neurons, self.heads).widths
        trained = "re-trained" if self.retrained else "nothing trained"
        lines = [
            *self.verdict,
            "",
            f"original: {format_metrics(self.original)}",
            f"reduced ({trained}): {format_metrics(self.reduced)}",
            f"agrees with the original: {self.agreement:.1%} of {self.examples} dev examples",
            f"keeps {format_configuration(self.retention_configuration)} of each example's length",
            *(f"{name} of each encoder: {format_widths(own)}" for name, own in widths.items()),
            f"{self.measured_speedup:.2f}x faster on length-grouped batches of {self.batch_size} (predicted "
            f"{self.predicted_speedup:.2f}x),",
            f"{self.measured_speedup_over_padded:.2f}x faster than padded to {self.max_seq_length}",
            f"measured on {self.device}",
        ]
        return "\n".join(lines)


def make_report(
    evaluated: Mapping[str, Any],
    max_seq_length: int,
    retrained: bool,
    reason: str = "",
) -> AccelerationReport:
    """The report on two evaluated models.

    Args:
        evaluated: `result.json` of the stage `evaluate`.
        max_seq_length: N.
        retrained: Whether weights were trained.
        reason: Why there is no gain, if that is already known.
    """
    speedup = evaluated["speedup"]
    report = AccelerationReport(
        metric=evaluated["metric"],
        original=evaluated["dense"]["metrics"],
        reduced=evaluated["reduced"]["metrics"],
        agreement=evaluated["agreement"],
        predicted_speedup=speedup["predicted"],
        measured_speedup=speedup["grouped"],
        measured_speedup_over_padded=speedup["padded"],
        milliseconds=speedup["milliseconds"],
        batch_size=speedup["batch_size"],
        device=speedup["device"],
        retention_configuration=tuple(evaluated["retention_configuration"]),
        max_seq_length=max_seq_length,
        examples=evaluated["examples"],
        retrained=retrained,
        no_gain="",
        **{name: tuple(evaluated[name]) for name in WIDTHS if evaluated.get(name)},
    )
    verdict = judge(evaluated, reason or _why_no_gain(report, evaluated.get("constant")))
    return dataclasses.replace(report, no_gain=verdict.reason, verdict=verdict.lines)


def _why_no_gain(report: AccelerationReport, constant: float | None) -> str:
    """The reason, or nothing; `constant` is the metric of the best answer to everything, None for a regression."""
    if report.measured_speedup < LEAST_GAIN:
        return (
            f"measured, it is {report.measured_speedup:.2f}x as fast on the same length-grouped batches, where "
            f"{report.predicted_speedup:.2f}x was predicted. Only padding is left to save: run the original on batches "
            "grouped by length."
        )
    constant = 0.0 if constant is None else constant
    if report.reduced[report.metric] <= constant < report.original[report.metric]:
        remedy = "a lower target_speedup" if report.retrained else "retrain=True, or a lower target_speedup"
        return (
            f"its {report.metric} of {report.reduced[report.metric]:.4f} is no better than giving the same answer to "
            f"everything, {constant:.4f}; try {remedy}."
        )
    return ""


def best_constant(metric: str, labels: np.ndarray, task: Task) -> float:
    """The best value of a metric that one and the same answer to everything reaches.

    Args:
        metric: A name in `metrics.METRICS`.
        labels: Class numbers `[n]`, or `[n, C]` of 0 and 1 of a multi-label task, which thresholds then answer alike.
        task: What the labels are.
    """
    if task.kind is LABELS:
        alike = dataclasses.replace(task, metrics=(metric,), thresholds=())
        return compute_metrics(alike, labels, np.zeros(labels.shape))[metric]
    return max(METRICS[metric](labels, np.full_like(labels, answer)) for answer in np.unique(labels))
