"""Names and values of the columns of a table of answers."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from powerbert_tf.data.metrics import predictions_from_logits
from powerbert_tf.data.tasks import Task


def answer_columns(classes: Sequence[str]) -> list[str]:
    """Columns of a table of answers: of the classes, or of a regression, which has none."""
    return ["prediction", *(f"probability of {name}" for name in classes)]


def answer_names(task: Task, logits: np.ndarray) -> list[str]:
    """The class of each row of logits `[n, C]` by its name; of a regression, the number."""
    answers = predictions_from_logits(task, logits)
    return [f"{value:.3f}" for value in answers] if task.is_regression else [task.classes[one] for one in answers]


def probability_columns(task: Task, logits: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """Names and rows of the probabilities of each class, or of the one score of a regression.

    Args:
        task: Its classes.
        logits: `[n, C]`.
    """
    values = logits[:, :1] if task.is_regression else special.softmax(logits, axis=-1)
    return list(task.classes) or ["score"], [[f"{value:.6f}" for value in row] for row in values]
