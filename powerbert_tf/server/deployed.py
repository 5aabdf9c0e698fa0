"""The form that `--stage=deploy` chose, on another runtime than TensorFlow."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.export.deployment.answering import Answerer, load_deployed
from powerbert_tf.server.answers import Answer
from powerbert_tf.server.request_bodies import Row


@dataclasses.dataclass(frozen=True)
class DeployedModel:
    """A loaded form, see `answers.Model`.

    Attributes:
        form: What answers.
        version: 0, as another one takes its place only when the server starts again.
        most_rows: 0 for any.
    """

    name: str
    form: Answerer
    version: int = 0
    most_rows: int = 0

    @classmethod
    def load(cls, path: Path) -> "DeployedModel":
        """Loads the form that `<run>/deploy/serve.json` describes, and answers a text.

        Raises:
            InputError: It is damaged, or its runtime is not installed.
        """
        try:
            model = cls(path.resolve().parents[1].name, load_deployed(path))
            model.answer([(b"a",) * len(model.inputs)])
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be loaded ({first_line(error)}); run --stage=deploy again.") from None
        return model

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.form.served.texts

    @property
    def max_tokens(self) -> int:
        return self.form.served.max_seq_length

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answers in the order of the rows; what is not UTF-8 in a text is dropped, as a SavedModel does."""
        columns = [[text.decode("utf-8", "ignore") for text in column] for column in zip(*rows, strict=True)]
        served, values = self.form.served, self.form(*columns)
        classes = [name.encode() for name in served.classes]

        def outputs(value: Any) -> dict[str, Any]:
            if not classes:
                return {"scores": float(value)}
            label = {} if served.thresholds else {"label": classes[int(value.argmax())]}
            return {"probabilities": value.tolist(), "classes": classes, **label}

        return [Answer(self.version, outputs(value), served.thresholds) for value in values]
