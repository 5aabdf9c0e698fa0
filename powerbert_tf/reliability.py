"""Whether a classifier is right as often as it says it is, and how two classifiers' answers differ."""

import dataclasses
from typing import Any

import numpy as np
from scipy import special, stats

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
