"""The kinds of task: what a model's logits mean. A new kind is a row here, a loss in `training.losses`, and metrics.

Axes: `n` examples, `C` outputs of a model.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

_LEAST = 1e-30  # probability, instead of 0, which has no logarithm
# SciPy is imported where it computes: flags, which know kinds, are read before anything slow is imported.


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of task.

    Attributes:
        title: For people.
        problem_type: Its name in Hugging Face's `config.json`.
        output: What exported models call their answers.
        link: The function from logits to answers, by its name in `keras.ops`; empty if the logits are the answers.
        answers: The same function in NumPy, `[n, C]` -> `[n, C]`.
        distances: How far the answers of two models are apart, logits `[n, C]` of both -> `[n]`: KL(first || second) in
            nats, or a squared difference.
    """

    title: str
    problem_type: str
    output: str
    link: str
    answers: Callable[[np.ndarray], np.ndarray]
    distances: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _softmax(logits: np.ndarray) -> np.ndarray:
    from scipy import special

    return special.softmax(logits, axis=-1)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy import special

    return special.expit(logits)


def _kl_of_classes(full: np.ndarray, reduced: np.ndarray) -> np.ndarray:
    from scipy import special

    log_p, log_q = (special.log_softmax(logits, axis=-1) for logits in (full, reduced))
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def as_two_classes(logits: np.ndarray) -> np.ndarray:
    """The logits `[..., 2]` of "no" and "yes" whose softmax is the sigmoid of logits `[...]`."""
    return np.stack([np.zeros_like(logits), logits], axis=-1)


def _kl_of_labels(full: np.ndarray, reduced: np.ndarray) -> np.ndarray:
    return np.mean(_kl_of_classes(as_two_classes(full), as_two_classes(reduced)), axis=-1)


def _squared_difference(full: np.ndarray, reduced: np.ndarray) -> np.ndarray:
    return np.mean((full - reduced) ** 2, axis=-1)


# One of several classes; any number of several labels; a number.
CLASSES = Kind("classification", "single_label_classification", "probabilities", "softmax", _softmax, _kl_of_classes)
LABELS = Kind(
    "multi-label classification",
    "multi_label_classification",
    "probabilities",
    "sigmoid",
    _sigmoid,
    _kl_of_labels,
)
NUMBER = Kind("regression", "regression", "scores", "", np.asarray, _squared_difference)
KINDS = {kind.problem_type: kind for kind in (NUMBER, CLASSES, LABELS)}


def logits_of(kind: Kind, answers: np.ndarray) -> np.ndarray:
    """Logits `[n, C]` with these answers `[n, C]`, up to a constant of each row; of numbers, `[n]`, `[n, 1]`."""
    if kind is NUMBER:
        return answers.reshape(len(answers), 1)
    likely = np.log(np.clip(answers, _LEAST, None))
    return likely - np.log(np.clip(1 - answers, _LEAST, None)) if kind is LABELS else likely
