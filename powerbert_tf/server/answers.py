"""What the server needs of a model, and the answers that it gives; knows no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from powerbert_tf.server.request_bodies import Row

_DECIMALS = 6  # as in the files of --stage=predict
_EVEN = 0.5  # the threshold of a label that has none


class Model(Protocol):
    """A version of a model, ready to answer."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the texts of a row, in order."""

    @property
    def max_tokens(self) -> int:
        """N, beyond which texts are cut off."""

    @property
    def most_rows(self) -> int:
        """Most rows in a call; 0 for any."""

    def answer(self, rows: Sequence[Row]) -> "Sequence[Answer]":
        """Answers in the order of the rows."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to a row.

    Attributes:
        version: Of the model that gave it.
        outputs: Values by the names of the signature's outputs, without the batch axis; strings are bytes.
        thresholds: Least probability of each label to be an answer; empty for other tasks.
    """

    version: int
    outputs: Mapping[str, Any]
    thresholds: tuple[float, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The answer for people: `label` or `labels` and `probabilities`, or `score`; rounded to six decimals."""
        outputs = self.outputs
        if "probabilities" not in outputs:
            return {"score": round(outputs["scores"], _DECIMALS)}
        values = outputs["probabilities"]
        classes = [name.decode("utf-8", "replace") for name in outputs["classes"]]
        probabilities = {name: round(value, _DECIMALS) for name, value in zip(classes, values, strict=True)}
        if "label" in outputs:
            return {"label": outputs["label"].decode("utf-8", "replace"), "probabilities": probabilities}
        least = self.thresholds or (_EVEN,) * len(classes)
        labels = [name for name, value, needed in zip(classes, values, least, strict=True) if value >= needed]
        return {"labels": labels, "probabilities": probabilities}


def count_tokens(row: Row, most: int) -> int:
    """A guess of the tokens of a row, to group rows by: a token has some four bytes in most languages."""
    return min(most, 2 + sum(map(len, row)) // 4)
