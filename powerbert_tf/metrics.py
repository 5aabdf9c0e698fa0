"""The metrics of GLUE, over a whole split."""

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from powerbert_tf.tasks import Task


def _correlation(function: Callable) -> Callable[[np.ndarray, np.ndarray], float]:
    def metric(labels: np.ndarray, predictions: np.ndarray) -> float:
        if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
            return 0.0  # undefined; a constant tells nothing about the other
        return float(function(labels, predictions).statistic)

    return metric


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda labels, predictions: float(sklearn_metrics.accuracy_score(labels, predictions)),
    "f1": lambda labels, predictions: float(
        sklearn_metrics.f1_score(labels, predictions, pos_label=1, zero_division=0)
    ),
    "mcc": lambda labels, predictions: float(sklearn_metrics.matthews_corrcoef(labels, predictions)),
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}


def predictions_from_logits(task: Task, logits: np.ndarray) -> np.ndarray:
    """Class numbers `[n]`, or the values `[n]` of a regression, from logits `[n, C]`."""
    return logits[:, 0] if task.is_regression else np.argmax(logits, axis=-1)


def compute_metrics(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The task's metrics, the main one first.

    Args:
        task: Which metrics.
        labels: `[n]`, class numbers or values.
        logits: `[n, C]`.

    Returns:
        Name -> value in [0, 1], or a correlation in [-1, 1]; that of a constant prediction is 0.
    """
    predictions = predictions_from_logits(task, logits)
    return {name: _METRICS[name](labels, predictions) for name in task.metrics}


def format_metrics(metrics: dict[str, float]) -> str:
    """`dev f1 0.8686, dev accuracy 0.8015`, for the console."""
    return ", ".join(f"dev {name} {value:.4f}" for name, value in metrics.items())
