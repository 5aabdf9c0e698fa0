"""Metrics of predictions over a whole split, and how the answers of two models differ."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn import metrics as sklearn_metrics

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import Task


def _correlation(function: Callable, labels: np.ndarray, predictions: np.ndarray) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0  # undefined; a constant says nothing about the other
    return float(function(labels, predictions).statistic)


# Functions of labels and predictions. Those of classes take `sample_weight`, too: how often each pair occurs.
METRICS: dict[str, Callable[..., float]] = {
    "accuracy": sklearn_metrics.accuracy_score,
    "f1": functools.partial(sklearn_metrics.f1_score, pos_label=1, zero_division=0),
    "macro_f1": functools.partial(sklearn_metrics.f1_score, average="macro", zero_division=0),
    "mcc": sklearn_metrics.matthews_corrcoef,
    "pearson": functools.partial(_correlation, stats.pearsonr),
    "spearman": functools.partial(_correlation, stats.spearmanr),
}
_OF_NUMBERS = ("spearman", "pearson")
_UNBALANCED = 0.7  # share of the largest class above which accuracy says little
_ROWS_AT_ONCE = 1 << 20
_RESAMPLES_AT_ONCE = 16


def choose_metrics(labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Returns metrics that fit the labels, the main one first.

    Accuracy comes first unless one class has more than 70 % of the rows, so that a constant answer would score high.

    Args:
        labels: Class numbers or values, `[n]`.
        num_classes: C, 0 for a regression.
    """
    if not num_classes:
        return _OF_NUMBERS
    other = "macro_f1" if num_classes > 2 else "mcc"
    unbalanced = np.bincount(labels).max() > _UNBALANCED * len(labels)
    return (other, "accuracy") if unbalanced else ("accuracy", other)


def with_metrics(task: Task, given: str) -> Task:
    """Returns the task with other metrics.

    Args:
        task: The task.
        given: Names of metrics separated by commas, the main one first; empty to keep the task's own.

    Raises:
        InputError: A metric does not exist or does not fit the task.
    """
    if not given:
        return task
    fitting = [name for name in METRICS if (name in _OF_NUMBERS) == task.is_regression]
    if len(task.classes) > 2:
        fitting.remove("f1")  # that of the second class of two
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in fitting:
            raise InputError(f"--metric={given}: {name!r} does not fit; expected of {', '.join(fitting)}.")
    return dataclasses.replace(task, metrics=names)


def per_class(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, dict[str, Any]]:
    """Returns precision, recall, F1 and number of examples of each class, by its name; empty for a regression."""
    if task.is_regression:
        return {}
    found, predicted, counts = _count_pairs(task, labels, logits)
    scores = sklearn_metrics.precision_recall_fscore_support(
        found, predicted, labels=np.arange(len(task.classes)), zero_division=0, sample_weight=counts
    )
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(count)}
        for name, p, r, f, count in zip(task.classes, *scores, strict=True)
    }


def predictions_from_logits(task: Task, logits: np.ndarray) -> np.ndarray:
    """Returns class numbers `[n]`, or the values `[n]` of a regression, from logits `[n, C]`."""
    return logits[:, 0] if task.is_regression else np.argmax(logits, axis=-1)


def compute_metrics(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Computes the task's metrics, the main one first.

    Args:
        task: Names the metrics.
        labels: Class numbers or values, `[n]`.
        logits: `[n, C]`.

    Returns:
        Name -> value in [0, 1], or a correlation in [-1, 1]; the correlation of a constant prediction is 0.
    """
    return {name: _metric(name, task, labels, logits) for name in task.metrics}


def _metric(name: str, task: Task, first: np.ndarray, second: np.ndarray) -> float:
    """Computes one metric; `first` is labels `[n]` or logits `[n, C]`, `second` logits `[n, C]`."""
    if task.is_regression:
        values = first if first.ndim == 1 else predictions_from_logits(task, first)
        return float(METRICS[name](values, predictions_from_logits(task, second)))
    # scikit-learn takes some hundred bytes per row; there are few pairs of classes.
    ones, others, counts = _count_pairs(task, first, second)
    return float(METRICS[name](ones, others, sample_weight=counts))


def _count_pairs(task: Task, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs of classes that occur, `[p]` and `[p]`, and how often each does, `[p]`.

    Args:
        task: Its classes.
        first: Class numbers `[n]`, or logits `[n, C]`.
        second: Logits `[n, C]`.
    """
    size = len(task.classes)
    counts = np.zeros(size * size, "int64")
    for start in range(0, len(second), _ROWS_AT_ONCE):
        one, other = (values[start : start + _ROWS_AT_ONCE] for values in (first, second))
        one = one if one.ndim == 1 else predictions_from_logits(task, one)
        other = predictions_from_logits(task, other)
        counts += np.bincount(size * one.astype("int64") + other, minlength=len(counts))
    found = np.flatnonzero(counts)
    return found // size, found % size, counts[found]


def agreement(task: Task, logits: np.ndarray, others: np.ndarray) -> float:
    """Returns how far two models agree: the share of equal classes, or Pearson's correlation for a regression.

    Args:
        task: The task of both.
        logits: `[n, C]` of one model.
        others: `[n, C]` of the other.
    """
    return _metric("pearson" if task.is_regression else "accuracy", task, logits, others)


def loss_interval(
    task: Task, labels: np.ndarray, dense: np.ndarray, reduced: np.ndarray, resamples: int = 1000
) -> tuple[float, float]:
    """Returns the 95 % interval of what the main metric loses, by the paired bootstrap over examples.

    Args:
        task: Names the metric.
        labels: Class numbers or values, `[n]`.
        dense: Logits `[n, C]` of one model.
        reduced: Logits `[n, C]` of the other, of the same examples.
        resamples: How many times n examples are drawn, with a fixed seed.
    """
    main = task.metrics[0]

    def lost(rows: np.ndarray) -> float:
        return _metric(main, task, labels[rows], dense[rows]) - _metric(main, task, labels[rows], reduced[rows])

    found = stats.bootstrap(
        (np.arange(len(labels)),),
        lost,
        n_resamples=resamples,
        batch=_RESAMPLES_AT_ONCE,
        vectorized=False,
        method="percentile",
        rng=0,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def format_metrics(metrics: dict[str, float], split: str = "dev") -> str:
    """Returns `dev f1 0.8686, dev accuracy 0.8015`, for the console."""
    return ", ".join(f"{split} {name} {value:.4f}" for name, value in metrics.items())


def divergence(full: np.ndarray, reduced: np.ndarray, is_regression: bool) -> float:
    """Distance of outputs: mean KL(full || reduced) in nats, or the mean squared difference for a regression.

    Args:
        full: Logits `[n, C]` of one model.
        reduced: Logits `[n, C]` of the other.
        is_regression: Whether the logit is the answer.
    """
    if is_regression:
        return float(np.mean((full - reduced) ** 2))
    log_p, log_q = (special.log_softmax(logits.astype("float64"), axis=-1) for logits in (full, reduced))
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)))


def compare_answers(dense: np.ndarray, reduced: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compares the answers of two classifiers.

    Args:
        dense: Logits `[n, C]`.
        reduced: Logits `[n, C]`.
        labels: Class numbers `[n]`.

    Returns:
        `same`: number of equal answers; `both_right`, `lost` (only dense is right), `won` (only reduced is right),
        `both_wrong`: numbers of examples; `chance`: probability of a split of `lost` and `won` at least as uneven if
        neither model is better (McNemar's exact test; 1 if there is none); `divergence`: mean KL(dense || reduced), in
        nats.
    """
    right, still = (np.argmax(logits, axis=-1) == labels for logits in (dense, reduced))
    lost, won = int(np.sum(right & ~still)), int(np.sum(~right & still))
    return {
        "same": int(np.sum(np.argmax(dense, axis=-1) == np.argmax(reduced, axis=-1))),
        "both_right": int(np.sum(right & still)),
        "lost": lost,
        "won": won,
        "both_wrong": int(np.sum(~right & ~still)),
        "chance": float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
        "divergence": divergence(dense, reduced, is_regression=False),
    }
