"""Windows of texts -> answers, in few shapes that are the same for all windows."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np
from scipy import special

from powerbert_tf.batches.batching import EncodedSplit, encode_split, grouped_rows, pad_rows
from powerbert_tf.batches.buckets import choose_buckets, padded_lengths
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import compiled_once
from powerbert_tf.prediction.windows import Window
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_DECIMALS = 6


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of some rows.

    Attributes:
        predictions: The class of each by its name, or the number of a regression.
        probabilities: Of the classes, `[n, C]`, rounded; of a regression, C is 0.
    """

    predictions: Sequence[str] | Sequence[float]
    probabilities: np.ndarray


def round_answers(classes: Sequence[str], values: np.ndarray) -> Answers:
    """Answers as they are written, the same in all formats.

    Args:
        classes: Their names; empty for a regression.
        values: Probabilities `[n, C]`, or numbers `[n, 1]` of a regression.
    """
    rounded = np.round(values.astype("float64"), _DECIMALS)
    if not classes:
        return Answers(rounded[:, 0].tolist(), rounded[:, :0])
    return Answers([classes[one] for one in values.argmax(axis=-1)], rounded)


def encoded_windows(
    windows: Iterable[Window], texts: Sequence[str], tokenizer: Tokenizer, max_seq_length: int
) -> Iterator[Window]:
    """The windows with their word-pieces.

    Args:
        windows: What to encode.
        texts: Columns of the texts.
        tokenizer: Of the model.
        max_seq_length: N.
    """
    for window in windows:
        if window.rows:
            columns = tuple([row.cells[column] or "" for row in window.rows] for column in texts)
            window.encoded = encode_split(Split(columns, None, None), tokenizer, max_seq_length)
        yield window


def choose_lengths(first: EncodedSplit, inference: InferenceSettings) -> list[int]:
    """The lengths to which the batches of all windows are padded.

    They are those of the first window's batches, and, as the rows may be in an order, each length up to N is given the
    weight of one batch, so that later windows find a bucket near theirs whatever they hold.

    Args:
        first: The first window.
        inference: Batch size, padding and the number of buckets.
    """
    if inference.padding == "max":
        return [first.max_seq_length]
    lengths = first.lengths
    longest = [int(lengths[rows].max()) for rows in grouped_rows(lengths, inference.eval_batch_size)]
    each = range(1, first.max_seq_length + 1)
    return choose_buckets(np.array([*longest, *each]), inference.length_buckets).tolist()


class Answerer:
    """A model that answers window after window.

    Args:
        model: The model.
        task: Its classes.
        inference: Batch size, XLA or not.
        lengths: From `choose_lengths`.
    """

    def __init__(self, model: BertClassifier, task: Task, inference: InferenceSettings, lengths: Sequence[int]):
        self._function = compiled_once(model, inference.jit_compile)
        self._classes = task.classes
        self._batch_size = inference.eval_batch_size
        self._filled_to = inference.eval_batch_size if inference.jit_compile else 0
        self._lengths = np.array(lengths)

    def answer(self, encoded: EncodedSplit, tell: Callable[[int], None] = lambda count: None) -> Answers:
        """Answers in the order of the rows.

        Args:
            encoded: The rows.
            tell: Is called after each batch with the number of its rows.
        """
        lengths = encoded.lengths
        batches = grouped_rows(lengths, self._batch_size)
        longest = padded_lengths(np.array([lengths[rows[-1]] for rows in batches]), self._lengths)
        sorted_logits = []
        for rows, length in zip(batches, longest, strict=True):
            logits = self._function(pad_rows(encoded, rows, int(length), self._filled_to))
            sorted_logits.append(keras.ops.convert_to_numpy(logits)[: len(rows)])
            tell(len(rows))
        values = np.empty((len(encoded), max(len(self._classes), 1)))
        values[np.concatenate(batches)] = np.concatenate(sorted_logits)
        return round_answers(self._classes, special.softmax(values, axis=-1) if self._classes else values)
