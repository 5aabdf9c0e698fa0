"""An exported model as Beam's `RunInference` takes it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

_AT_ONCE = 16  # batches, among which rows of similar length are put together


class SavedModelHandler(ModelHandler):
    """Answers one or two texts with the probabilities of the classes `[C]`, or `[1]` of a regression.

    Args:
        path: A version's folder.
        batch_size: Rows that the model is given at once.
        inputs: Names of the texts in its signature.
    """

    def __init__(self, path: str, batch_size: int, inputs: Sequence[str]):
        super().__init__()
        self._path = path
        self._batch_size = batch_size
        self._inputs = tuple(inputs)

    def load_model(self) -> Any:
        """The exported model."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - the tokenizer's operations

        return tf.saved_model.load(self._path)

    def run_inference(self, batch: Sequence[tuple[str, ...]], model: Any, inference_args=None) -> Iterable[np.ndarray]:
        """Answers in the order of the texts.

        Args:
            batch: Texts.
            model: From `load_model`.
            inference_args: None are taken.
        """
        import tensorflow as tf

        signature = model.signatures["serve_text"]
        order = sorted(range(len(batch)), key=lambda row: sum(map(len, batch[row])))
        answers: list[Any] = [None] * len(batch)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            columns = zip(*(batch[row] for row in rows), strict=True)
            texts = {name: tf.constant(column) for name, column in zip(self._inputs, columns, strict=True)}
            found = signature(**texts)
            values = found["probabilities"] if "probabilities" in found else found["scores"][:, None]
            for row, value in zip(rows, values.numpy(), strict=True):
                answers[row] = value
        return answers

    def batch_elements_kwargs(self) -> dict[str, Any]:
        return {"min_batch_size": self._batch_size, "max_batch_size": _AT_ONCE * self._batch_size}
