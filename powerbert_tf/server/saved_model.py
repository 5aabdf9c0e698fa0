"""The exported model that answers: a SavedModel, in plain TensorFlow."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.export.expected_answers import EXPECTED_FILE, TEXT
from powerbert_tf.export.loading import load_signatures
from powerbert_tf.runs.task_file import TaskFile, read_task_file
from powerbert_tf.server.answers import Answer
from powerbert_tf.server.request_bodies import Row

_FIRST_INPUTS = ("text", "text_pair", "article", "question")  # then options, by their letters
_LONGEST = 512  # tokens, for an export that does not say how many it takes
_WARM_UP_ROWS = 8


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A version of an exported model, see `answers.Model`.

    Attributes:
        thresholds: Least probability of each label to be an answer; empty for other tasks.
        function: The signature.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    max_tokens: int
    most_rows: int
    thresholds: tuple[float, ...]
    function: Any

    @classmethod
    def load(cls, path: Path, signature: str) -> "ServedModel":
        """Loads a version's folder and answers some texts, so that no client waits for the first answer.

        Raises:
            InputError: It cannot be loaded, or has no such signature.
        """
        file = _task(path)
        try:
            signatures = load_signatures(path)
        except Exception as error:  # TensorFlow raises of each kind, by what is wrong with the files
            raise InputError(f"{path}: cannot be loaded ({first_line(error)}); export again.") from None
        texts = [name for name in signatures if name.startswith(TEXT)]
        if signature not in texts:
            raise InputError(f"--signature={signature}: {path} has no such one; expected {' or '.join(sorted(texts))}.")
        function: Any = signatures[signature]
        model = cls(
            name=file.name,
            version=int(path.name) if path.name.isdecimal() else 0,
            inputs=tuple(sorted(function.structured_input_signature[1], key=_place)),
            max_tokens=int(file.settings.get("max_seq_length", _LONGEST)),
            most_rows=_exported_batch(path),
            thresholds=file.thresholds,
            function=function,
        )
        try:
            model.warm_up()
        except tf.errors.OpError as error:
            raise InputError(f"{path}: does not answer ({first_line(error)}); export again.") from None
        return model

    def warm_up(self) -> None:
        """Answers a short and a long text, alone and in a batch."""
        for text in (b"a", b"a " * self.max_tokens):
            for rows in {1, min(self.most_rows or _WARM_UP_ROWS, _WARM_UP_ROWS)}:
                self.answer([(text,) * len(self.inputs)] * rows)

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answers in the order of the rows.

        Raises:
            tf.errors.OpError: TensorFlow cannot answer, because memory is short for example.
        """
        columns = {name: tf.constant([row[place] for row in rows], tf.string) for place, name in enumerate(self.inputs)}
        outputs = {name: values.numpy().tolist() for name, values in self.function(**columns).items()}
        return [
            Answer(self.version, {name: values[row] for name, values in outputs.items()}, self.thresholds)
            for row in range(len(rows))
        ]


def _place(name: str) -> tuple[int, str]:
    return (_FIRST_INPUTS.index(name), name) if name in _FIRST_INPUTS else (len(_FIRST_INPUTS), name)


def _task(path: Path) -> TaskFile:
    if not (path / TASK_FILE).is_file():
        raise InputError(f"{path}: has no {TASK_FILE}; expected a version's folder as --stage=export writes it.")
    return read_task_file(path / TASK_FILE)


def _exported_batch(path: Path) -> int:
    """The batch that a model was exported for; 0 for any, or where the file that says it was removed."""
    try:
        return int(json.loads((path / EXPECTED_FILE).read_text(encoding="utf-8"))["batch_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
