"""Answers of a model to windows of texts, in a few shapes that are the same for all windows."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from powerbert_tf.batches.buckets import choose_buckets
from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.data.kinds import LABELS, NUMBER
from powerbert_tf.data.metrics import predictions_from_answers
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import compiled_once

_DECIMALS = 6


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers to some rows.

    Attributes:
        predictions: Class names, lists of the labels of a multi-label task, or the numbers of a regression.
        probabilities: Rounded probabilities of the classes, `[n, C]`; for a regression, C is 0.
    """

    predictions: Sequence[str] | Sequence[list[str]] | Sequence[float]
    probabilities: np.ndarray


def round_answers(task: Task, values: np.ndarray) -> Answers:
    """Rounds answers, in the same way for all formats.

    Args:
        task: The task, with its thresholds if it is a multi-label one.
        values: Probabilities `[n, C]`, or the numbers `[n, 1]` of a regression.
    """
    rounded = np.round(values.astype("float64"), _DECIMALS)
    if task.kind is NUMBER:
        return Answers(rounded[:, 0].tolist(), rounded[:, :0])
    return Answers(named_answers(task, values), rounded)


def named_answers(task: Task, values: np.ndarray) -> list[Any]:
    """The class of each row of probabilities `[n, C]`, or the list of its labels; of a regression, the number."""
    found = predictions_from_answers(task, values)
    if task.kind is NUMBER:
        return found.tolist()
    if task.kind is LABELS:
        return [[task.classes[label] for label in np.flatnonzero(row)] for row in found]
    return [task.classes[one] for one in found]


def answer_text(answer: str | list[str] | float) -> str:
    """An answer in a cell of text: labels as a list of JSON, numbers with six decimals."""
    if isinstance(answer, str):
        return answer
    return json.dumps(answer, ensure_ascii=False) if isinstance(answer, list) else f"{answer:.{_DECIMALS}f}"


def answer_columns(classes: Sequence[str]) -> list[str]:
    """Columns of a table of answers; a regression has no classes."""
    return ["prediction", *(f"probability of {name}" for name in classes)]


def answer_names(task: Task, logits: np.ndarray) -> list[str]:
    """The class name of each row of logits `[n, C]`, or its labels; for a regression, the number."""
    answers = named_answers(task, task.answers(logits))
    return [f"{value:.3f}" for value in answers] if task.kind is NUMBER else [answer_text(one) for one in answers]


def probability_columns(task: Task, logits: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the probabilities of logits `[n, C]`, or of the score of a regression."""
    values = task.answers(logits)
    return list(task.classes) or ["score"], [[f"{value:.6f}" for value in row] for row in values]


def choose_lengths(first: EncodedSplit, inference: InferenceSettings) -> list[int]:
    """Chooses the lengths to which the batches of all windows are padded.

    They fit the batches of the first window. The input may be sorted, so each length up to N also counts as one batch,
    and later windows find a bucket near their lengths.
    """
    if inference.padding == "max":
        return [first.max_seq_length]
    longest = prediction_batches(first, inference.eval_batch_size, length_buckets=first.max_seq_length).lengths
    each = range(1, first.max_seq_length + 1)
    return choose_buckets(np.array([*longest, *each]), inference.length_buckets).tolist()


class Answerer:
    """A model that answers one window after another; batches are padded to `lengths`, from `choose_lengths`."""

    def __init__(self, model: BertClassifier, task: Task, inference: InferenceSettings, lengths: Sequence[int]):
        self._function = compiled_once(model, inference.jit_compile)
        self._task = task
        self._batch_size = inference.eval_batch_size
        self._fill = inference.jit_compile
        self._lengths = np.array(lengths)

    def answer(self, encoded: EncodedSplit, count_rows: Callable[[int], None] = lambda count: None) -> Answers:
        """Answers in the order of the rows; calls `count_rows` after each batch with its number of rows."""
        values = np.empty((len(encoded), self._task.num_outputs))
        for inputs, rows in prediction_batches(encoded, self._batch_size, fill=self._fill, buckets=self._lengths):
            values[rows] = keras.ops.convert_to_numpy(self._function(inputs))[: len(rows)]
            count_rows(len(rows))
        return round_answers(self._task, self._task.answers(values))
