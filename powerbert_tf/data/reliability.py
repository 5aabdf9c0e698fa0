"""Reliability: whether a classifier is right as often as its probabilities say."""

from typing import Any

import numpy as np
from scipy import special

_BINS = 10


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
