"""Reliability: whether a classifier is right as often as its probabilities say."""

from typing import Any

import numpy as np
from scipy import optimize, special

from powerbert_tf.data.kinds import LABELS, Kind, as_two_classes

_BINS = 10
_DECIMALS = 6
_LARGEST_LOG = 5.0  # of a temperature, and the smallest with a minus


def reliability(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compares confidence with accuracy in 10 bins of equal width; a bin without examples is left out.

    Args:
        logits: `[n, C]`.
        labels: Class numbers `[n]`.

    Returns:
        JSON values, lists with one entry per bin: `confidence`, the mean probability of the answers; `accuracy`, the
        share of right answers; `counts`, the number of examples. Also `error`, the expected calibration error, the mean
        over examples of |accuracy - confidence| of their bin (Guo et al., ICML 2017); and `log_loss`, the mean of -log
        probability of the right class, in nats.
    """
    log_probabilities = special.log_softmax(logits.astype("float64"), axis=-1)
    answers = np.argmax(logits, axis=-1)
    confidences = np.exp(log_probabilities[np.arange(len(labels)), answers])
    bins = np.minimum((confidences * _BINS).astype(int), _BINS - 1)  # a confidence of exactly 1 goes to the last bin
    counts = np.bincount(bins, minlength=_BINS)
    filled = counts > 0
    confidence, accuracy = (
        np.bincount(bins, weights=values, minlength=_BINS)[filled] / counts[filled]
        for values in (confidences, answers == labels)
    )
    return {
        "confidence": confidence.tolist(),
        "accuracy": accuracy.tolist(),
        "counts": counts[filled].tolist(),
        "error": float(np.average(np.abs(accuracy - confidence), weights=counts[filled])),
        "log_loss": float(-np.mean(log_probabilities[np.arange(len(labels)), labels])),
    }


def calibration_error(logits: np.ndarray, labels: np.ndarray, kind: Kind) -> float:
    """The expected calibration error, see `reliability`; each label of a row counts as an answer of its own.

    Args:
        logits: `[n, C]`, divided by the temperature, if there is one.
        labels: Class numbers `[n]`, or 0 and 1 `[n, C]`.
        kind: What the logits mean.
    """
    return float(reliability(*_one_of_several(logits, labels, kind))["error"])


def fit_temperature(logits: np.ndarray, labels: np.ndarray, kind: Kind) -> float:
    """Finds what logits must be divided by, so that a classifier is as often right as its probabilities say.

    The temperature T maximizes the likelihood of the labels (Guo et al., ICML 2017), times a prior that weighs about as
    much as one row: log T is normally distributed around 0, with a deviation of 1. Without it, T would be 0 where few
    rows are there, and all are right.

    Args:
        logits: `[n, C]`, of rows that the classifier was not trained on.
        labels: Class numbers `[n]`, or 0 and 1 `[n, C]`.
        kind: What the logits mean; classes or labels.
    """
    logits, labels = _one_of_several(logits, labels, kind)
    logits, rows = logits.astype("float64"), np.arange(len(labels))

    def loss(log: float) -> float:
        return log**2 / 2 - float(np.sum(special.log_softmax(logits / np.exp(log), axis=-1)[rows, labels]))

    found = optimize.minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded")
    return round(float(np.exp(found.x)), _DECIMALS)


def _one_of_several(logits: np.ndarray, labels: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[n, C]` and class numbers `[n]`; of labels, each one is a row of the classes no and yes."""
    return (as_two_classes(logits.ravel()), labels.ravel().astype(int)) if kind is LABELS else (logits, labels)
