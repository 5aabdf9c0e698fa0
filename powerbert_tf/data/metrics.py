"""Metrics of predictions over a whole split, and how the answers of two models differ."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize, stats
from sklearn import metrics as sklearn_metrics

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER, Kind
from powerbert_tf.data.reliability import fit_temperature
from powerbert_tf.data.tasks import Task

_LARGEST_LOG = 3.0  # of the temperature that brings two models together, and the smallest with a minus


def _correlation(function: Callable, labels: np.ndarray, predictions: np.ndarray) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0  # undefined; a constant says nothing about the other
    return float(function(labels, predictions).statistic)


def _average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the labels that occur; of one that does not, it is undefined."""
    there = np.flatnonzero(labels.any(axis=0))
    found = [sklearn_metrics.average_precision_score(labels[:, one], scores[:, one]) for one in there]
    return float(np.mean(found)) if found else 0.0


AGREEMENT = "agreement"  # accuracy where the labels are another model's answers
# Functions of labels and predictions: class numbers or values `[n]`, or 0 and 1 `[n, C]`; `average_precision` takes
# logits in place of predictions. Those of classes take `sample_weight`, too: how often each pair occurs.
METRICS: dict[str, Callable[..., float]] = {
    "accuracy": sklearn_metrics.accuracy_score,
    AGREEMENT: sklearn_metrics.accuracy_score,
    "f1": functools.partial(sklearn_metrics.f1_score, pos_label=1, zero_division=0),
    "macro_f1": functools.partial(sklearn_metrics.f1_score, average="macro", zero_division=0),
    "micro_f1": functools.partial(sklearn_metrics.f1_score, average="micro", zero_division=0),
    "average_precision": _average_precision,
    "mcc": sklearn_metrics.matthews_corrcoef,
    "pearson": functools.partial(_correlation, stats.pearsonr),
    "spearman": functools.partial(_correlation, stats.spearmanr),
}
_OF_ONE_KIND: dict[Kind, tuple[str, ...]] = {  # other metrics are those of classes
    LABELS: ("micro_f1", "macro_f1", "average_precision"),
    NUMBER: ("spearman", "pearson"),
}
_EVEN = 0.5  # threshold of a label of which nothing is known
_THRESHOLD_DECIMALS = 6
_UNBALANCED = 0.7  # share of the largest class above which accuracy says little
_ROWS_AT_ONCE = 1 << 20
_RESAMPLES_AT_ONCE = 16


def choose_metrics(kind: Kind, labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Returns metrics that fit the labels, the main one first.

    Accuracy comes first unless one class has more than 70 % of the rows, so that a constant answer would score high.

    Args:
        kind: Of the task.
        labels: Class numbers or values, `[n]`, or 0 and 1, `[n, C]`.
        num_classes: C.
    """
    if kind in _OF_ONE_KIND:
        return _OF_ONE_KIND[kind]
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
    others = {AGREEMENT, *(name for names in _OF_ONE_KIND.values() for name in names)} - {"macro_f1", *task.metrics}
    fitting = [*_OF_ONE_KIND.get(task.kind, [name for name in METRICS if name not in others])]
    if task.kind is CLASSES and len(task.classes) > 2:
        fitting.remove("f1")  # that of the second class of two
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in fitting:
            raise InputError(f"--metric={given}: {name!r} does not fit; expected of {', '.join(fitting)}.")
    return dataclasses.replace(task, metrics=names)


def per_class(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, dict[str, Any]]:
    """Returns precision, recall, F1 and number of examples of each class, by its name; empty for a regression.

    Of labels, the `threshold` that they have, too.
    """
    if task.kind is NUMBER:
        return {}
    if task.kind is LABELS:
        task = with_thresholds(task, labels, logits)
        table = sklearn_metrics.precision_recall_fscore_support(
            labels, predictions_from_logits(task, logits), average=None, zero_division=0
        )
        return {
            name: {
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "examples": int(n),
                "threshold": threshold,
            }
            for name, p, r, f, n, threshold in zip(task.classes, *table, task.thresholds, strict=True)
        }
    found, predicted, counts = _count_pairs(task, labels, logits)
    scores = sklearn_metrics.precision_recall_fscore_support(
        found, predicted, labels=np.arange(len(task.classes)), zero_division=0, sample_weight=counts
    )
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(count)}
        for name, p, r, f, count in zip(task.classes, *scores, strict=True)
    }


def choose_thresholds(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> tuple[float, ...]:
    """Returns the least probability with which each label is an answer: where its F1 on these rows is largest.

    It lies in the middle between the probabilities of the two rows that it separates. A label that no row has gets 0.5.

    Args:
        labels: 0 and 1, `[n, C]`.
        logits: `[n, C]`.
        temperature: What they are divided by.
    """
    return tuple(map(_best_threshold, labels.T, LABELS.answers(logits / temperature).T))


def _best_threshold(there: np.ndarray, probabilities: np.ndarray) -> float:
    if not there.any():
        return _EVEN
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(there, probabilities)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    best = int(np.argmax(f1[:-1]))  # the last one is that of no answer at all
    below = float(thresholds[best - 1]) if best else 0.0
    return round((below + float(thresholds[best])) / 2, _THRESHOLD_DECIMALS)


def with_thresholds(task: Task, labels: np.ndarray, logits: np.ndarray) -> Task:
    """Returns a multi-label task that has no thresholds with those that fit these rows best; others as they are."""
    if task.kind is not LABELS or task.thresholds:
        return task
    return dataclasses.replace(task, thresholds=choose_thresholds(labels, logits, task.temperature))


def fitted_task(task: Task, labels: np.ndarray, logits: np.ndarray, scales: bool = True) -> Task:
    """Returns the task with the temperature and the thresholds that fit a model best.

    Args:
        task: The task, without them.
        labels: Class numbers or values, `[n]`, or 0 and 1, `[n, C]`, of rows that the model was not trained on.
        logits: `[n, C]` of the model.
        scales: Whether to fit a temperature; never to the answers of another model.
    """
    if scales and task.kind is not NUMBER and not task.is_unlabelled:
        task = dataclasses.replace(task, temperature=fit_temperature(logits, labels, task.kind))
    return with_thresholds(task, labels, logits)


def predictions_from_logits(task: Task, logits: np.ndarray) -> np.ndarray:
    """Returns class numbers `[n]`, or the values `[n]` of a regression, from logits `[n, C]`.

    Of a multi-label task, 0 and 1 `[n, C]`: whether each label is an answer, by the task's thresholds, or 0.5.
    """
    return predictions_from_answers(task, logits if task.kind is CLASSES else task.answers(logits))


def predictions_from_answers(task: Task, answers: np.ndarray) -> np.ndarray:
    """The same from probabilities `[n, C]`, or the numbers `[n, 1]`."""
    if task.kind is LABELS:
        return (answers >= np.array(task.thresholds or _EVEN)).astype("uint8")
    return answers[:, 0] if task.kind is NUMBER else np.argmax(answers, axis=-1)


def same_answers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether answers or labels, `[n]` or `[n, C]` both, are the same: bools `[n]`; of sets of labels, all of it."""
    return np.all(first == second, axis=-1) if first.ndim > 1 else first == second


def compute_metrics(task: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Computes the task's metrics, the main one first.

    Args:
        task: Names the metrics.
        labels: Class numbers or values, `[n]`, or 0 and 1, `[n, C]`.
        logits: `[n, C]`.

    Returns:
        Name -> value in [0, 1], or a correlation in [-1, 1]; the correlation of a constant prediction is 0. F1 of a
        multi-label task without thresholds is that with the best ones for these rows.
    """
    task = with_thresholds(task, labels, logits)
    return {name: _metric(name, task, labels, logits) for name in task.metrics}


def _metric(name: str, task: Task, first: np.ndarray, second: np.ndarray) -> float:
    """Computes one metric; `first` is labels `[n]` or logits `[n, C]`, `second` logits `[n, C]`."""
    if task.kind is LABELS:
        return float(
            METRICS[name](first, second if name == "average_precision" else predictions_from_logits(task, second))
        )
    if task.kind is NUMBER:
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


def agreement(task: Task, logits: np.ndarray, others: np.ndarray, other_task: Task | None = None) -> float:
    """Returns how far two models agree: the share of equal answers, or Pearson's correlation for a regression.

    Args:
        task: The task of both.
        logits: `[n, C]` of one model.
        others: `[n, C]` of the other.
        other_task: The task with the thresholds of the other, if they have some.
    """
    if task.kind is LABELS:
        answers = predictions_from_logits(task, logits), predictions_from_logits(other_task or task, others)
        return float(np.mean(same_answers(*answers)))
    return _metric("pearson" if task.kind is NUMBER else "accuracy", task, logits, others)


def loss_interval(
    tasks: tuple[Task, Task], labels: np.ndarray, dense: np.ndarray, reduced: np.ndarray, resamples: int = 1000
) -> tuple[float, float]:
    """Returns the 95 % interval of what the main metric loses, by the paired bootstrap over examples.

    Args:
        tasks: The task of both, which names the metric, with the thresholds of each if they have some.
        labels: Class numbers or values, `[n]`, or 0 and 1 `[n, C]`.
        dense: Logits `[n, C]` of one model.
        reduced: Logits `[n, C]` of the other, of the same examples.
        resamples: How many times n examples are drawn, with a fixed seed.
    """
    main = tasks[0].metrics[0]

    def lost(rows: np.ndarray) -> float:
        before, after = (
            _metric(main, one, labels[rows], of[rows]) for one, of in zip(tasks, (dense, reduced), strict=True)
        )
        return before - after

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


def divergence(full: np.ndarray, reduced: np.ndarray, kind: Kind) -> float:
    """Distance of answers, mean over examples: KL(full || reduced) in nats, or the squared difference of numbers.

    Args:
        full: Logits `[n, C]` of one model.
        reduced: Logits `[n, C]` of the other.
        kind: What the logits mean.
    """
    return float(np.mean(kind.distances(full.astype("float64"), reduced.astype("float64"))))


def scaled_divergence(full: np.ndarray, reduced: np.ndarray, kind: Kind) -> float:
    """The divergence of `reduced` at the temperature for which it is least; of numbers, at the best scale and shift.

    A temperature changes no answer, scale and shift no correlation. Without them, a model that is unsure of everything
    is nearer than one that answers alike but is surer than the other. Arguments: see `divergence`.
    """
    if kind is NUMBER:
        wanted, found = (values.astype("float64") - values.mean(dtype="float64") for values in (full, reduced))
        slope = np.vdot(wanted, found) / (np.vdot(found, found) or 1.0)  # least squares
        return divergence(wanted, slope * found, kind)
    found = optimize.minimize_scalar(
        lambda log: divergence(full, reduced / np.exp(log), kind),
        bounds=(-_LARGEST_LOG, _LARGEST_LOG),
        method="bounded",
    )
    return float(found.fun)


def compare_answers(
    tasks: tuple[Task, Task], dense: np.ndarray, reduced: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Compares the answers of two classifiers. Of several labels, only all of them are right.

    Args:
        tasks: The task of both, with the thresholds of each if they have some.
        dense: Logits `[n, C]`.
        reduced: Logits `[n, C]`.
        labels: Class numbers `[n]`, or 0 and 1 `[n, C]`.

    Returns:
        `same`: number of equal answers; `both_right`, `lost` (only dense is right), `won` (only reduced is right),
        `both_wrong`: numbers of examples; `chance`: probability of a split of `lost` and `won` at least as uneven if
        neither model is better (McNemar's exact test; 1 if there is none); `divergence`: mean KL(dense || reduced), in
        nats.
    """
    first, second = (predictions_from_logits(*one) for one in zip(tasks, (dense, reduced), strict=True))
    right, still = (same_answers(answers, labels) for answers in (first, second))
    lost, won = int(np.sum(right & ~still)), int(np.sum(~right & still))
    return {
        "same": int(np.sum(same_answers(first, second))),
        "both_right": int(np.sum(right & still)),
        "lost": lost,
        "won": won,
        "both_wrong": int(np.sum(~right & ~still)),
        "chance": float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
        "divergence": divergence(dense, reduced, tasks[0].kind),
    }
