"""The metrics of GLUE and of a user's own task, over a whole split.

Whether a classifier is right as often as it says it is, and how two classifiers' answers differ.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn import metrics as sklearn_metrics

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import Task


def _correlation(function: Callable) -> Callable[[np.ndarray, np.ndarray], float]:
    def metric(labels: np.ndarray, predictions: np.ndarray) -> float:
        if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
            return 0.0  # undefined; a constant tells nothing about the other
        return float(function(labels, predictions).statistic)

    return metric


# Of labels and predictions, and, of classes, how often each pair of them is met; None for once.
METRICS: dict[str, Callable[..., float]] = {
    "accuracy": lambda labels, predictions, counts=None: float(
        sklearn_metrics.accuracy_score(labels, predictions, sample_weight=counts)
    ),
    "f1": lambda labels, predictions, counts=None: float(
        sklearn_metrics.f1_score(labels, predictions, pos_label=1, zero_division=0, sample_weight=counts)
    ),
    "macro_f1": lambda labels, predictions, counts=None: float(
        sklearn_metrics.f1_score(labels, predictions, average="macro", zero_division=0, sample_weight=counts)
    ),
    "mcc": lambda labels, predictions, counts=None: float(
        sklearn_metrics.matthews_corrcoef(labels, predictions, sample_weight=counts)
    ),
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}
_OF_NUMBERS = ("spearman", "pearson")
_UNBALANCED = 0.7  # the share of the largest class from which accuracy says little
_BLOCK = 1 << 20  # rows that are counted at once


def choose_metrics(labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Metrics that fit, the main one first.

    Accuracy leads, unless one class has more than 70 % of the rows, which a constant answer would then get right.

    Args:
        labels: `[n]`, class numbers or values.
        num_classes: C, 0 for a regression.
    """
    if not num_classes:
        return _OF_NUMBERS
    other = "macro_f1" if num_classes > 2 else "mcc"
    unbalanced = np.bincount(labels).max() > _UNBALANCED * len(labels)
    return (other, "accuracy") if unbalanced else ("accuracy", other)


def with_metrics(task: Task, given: str) -> Task:
    """The task with other metrics.

    Args:
        task: The task.
        given: Names of metrics with commas between, the main one first; empty for the task's own.

    Raises:
        InputError: No such metric, or one that does not fit the task.
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
    """Precision, recall, F1 and number of examples of each class, by its name; empty for a regression."""
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
    if task.is_regression:
        return {name: METRICS[name](labels, predictions_from_logits(task, logits)) for name in task.metrics}
    # scikit-learn holds some hundred bytes a row; of pairs of classes there are few.
    pairs = _count_pairs(task, labels, logits)
    return {name: METRICS[name](*pairs) for name in task.metrics}


def _count_pairs(task: Task, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of classes that are met, `[p]` and `[p]`, and how often each is, `[p]`.

    Args:
        task: Its classes.
        first: Class numbers `[n]`, or logits `[n, C]`.
        second: Logits `[n, C]`.
    """
    size = len(task.classes)
    counts = np.zeros(size * size, "int64")
    for start in range(0, len(second), _BLOCK):
        block, other = first[start : start + _BLOCK], predictions_from_logits(task, second[start : start + _BLOCK])
        one = block if block.ndim == 1 else predictions_from_logits(task, block)
        counts += np.bincount(size * one.astype("int64") + other, minlength=len(counts))
    met = np.flatnonzero(counts)
    return met // size, met % size, counts[met]


def agreement(task: Task, logits: np.ndarray, others: np.ndarray) -> float:
    """How far two models give the same answers: the share of equal classes, or the correlation of a regression's.

    Args:
        task: Of both.
        logits: `[n, C]` of the one.
        others: `[n, C]` of the other.
    """
    if task.is_regression:
        return METRICS["pearson"](predictions_from_logits(task, logits), predictions_from_logits(task, others))
    return METRICS["accuracy"](*_count_pairs(task, logits, others))


def format_metrics(metrics: dict[str, float], split: str = "dev") -> str:
    """`dev f1 0.8686, dev accuracy 0.8015`, for the console."""
    return ", ".join(f"{split} {name} {value:.4f}" for name, value in metrics.items())


BINS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, by bins of equal width.

    Attributes:
        confidence: Mean probability of the answer in each bin that has examples, `[bins]`.
        accuracy: Share of right answers in each, `[bins]`.
        counts: Examples in each, `[bins]`.
        error: Expected calibration error: mean over examples of |accuracy - confidence| of their bin
            (Guo et al., ICML 2017).
        log_loss: Mean of -log probability of the right answer, in nats.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    error: float
    log_loss: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("confidence", "accuracy", "counts")}
        return {**arrays, "error": self.error, "log_loss": self.log_loss}


def reliability(logits: np.ndarray, labels: np.ndarray) -> Reliability:
    """Bins the probability of each answer.

    Args:
        logits: `[n, C]`.
        labels: `[n]`, class numbers.
    """
    log_probabilities = special.log_softmax(logits.astype("float64"), axis=-1)
    answers = np.argmax(logits, axis=-1)
    confidences = np.exp(log_probabilities[np.arange(len(labels)), answers])
    # A confidence of exactly 1 belongs to the last bin.
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0

    def means(values: np.ndarray) -> np.ndarray:
        return np.bincount(bins, weights=values, minlength=BINS)[filled] / counts[filled]

    confidence, accuracy = means(confidences), means(answers == labels)
    return Reliability(
        confidence=confidence,
        accuracy=accuracy,
        counts=counts[filled],
        error=float(np.average(np.abs(accuracy - confidence), weights=counts[filled])),
        log_loss=float(-np.mean(log_probabilities[np.arange(len(labels)), labels])),
    )


def compare_answers(dense: np.ndarray, reduced: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How the answers of two classifiers differ.

    Args:
        dense: Logits `[n, C]`.
        reduced: Logits `[n, C]`.
        labels: `[n]`, class numbers.

    Returns:
        `same`: answers alike; `both_right`, `lost` (only dense is right), `won` (only reduced is right), `both_wrong`;
        `chance`: how likely a split of `lost` and `won` at least as uneven is where neither is better (McNemar's exact
        test; 1 where none differs); `divergence`: mean KL(dense || reduced) in nats.
    """
    right, still = (np.argmax(logits, axis=-1) == labels for logits in (dense, reduced))
    lost, won = int(np.sum(right & ~still)), int(np.sum(~right & still))
    log_p, log_q = (special.log_softmax(logits.astype("float64"), axis=-1) for logits in (dense, reduced))
    return {
        "same": int(np.sum(np.argmax(dense, axis=-1) == np.argmax(reduced, axis=-1))),
        "both_right": int(np.sum(right & still)),
        "lost": lost,
        "won": won,
        "both_wrong": int(np.sum(~right & ~still)),
        "chance": float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
        "divergence": float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1))),
    }


def confusion(answers: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How many examples of each class (rows) got each answer (columns), `[C, C]`.

    Args:
        answers: `[n]`, class numbers.
        labels: `[n]`, class numbers.
        num_classes: C.
    """
    return np.bincount(labels * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)
