"""What is exported, and what its answers must be."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.data.race import input_texts
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.expected_answers import HOSTILE_TEXTS, ExpectedAnswers
from powerbert_tf.export.settings import ExportSettings, ServingShapes
from powerbert_tf.export.signatures import budget_suffix, linked, text_inputs
from powerbert_tf.models.classifier import INPUTS, BertClassifier
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 0.1}  # by the precision of the computation


def describe_reduction(model: BertClassifier) -> dict[str, Any]:
    """What a model keeps, for `result.json`: `Reduction.to_json`, with a `retention_configuration` of None for all."""
    return {**model.reduction.to_json(), "retention_configuration": model.retention_configuration}


@dataclasses.dataclass(frozen=True, eq=False)
class ExportRequest:
    """What every writer gets.

    Attributes:
        models: Models over one set of weights, by the suffix of their signatures; the main one has the suffix `""`.
        task: Task of the models.
        tokenizer: Tokenizer of the models.
        checkpoint: The checkpoint that the models were made from.
        settings: Flags of the export.
        truncation: How long texts are truncated.
        samples: Usual requests of all lengths, at least one: one or two texts each, or article, question and options.
        description: Content of `task.json`.
        origin: Where the training data came from: `data`, and `fingerprint`.
        evaluated: `result.json` of the stage `evaluate`, or None.
        elastic: `result.json` of the stage `elastic`, if its weights are exported.
    """

    models: Mapping[str, BertClassifier]
    task: Task
    tokenizer: Tokenizer
    checkpoint: Checkpoint
    settings: ExportSettings
    truncation: str
    samples: Sequence[tuple[str, ...]]
    description: Mapping[str, Any]
    origin: Mapping[str, str]
    evaluated: Mapping[str, Any] | None = None
    elastic: Mapping[str, Any] | None = None

    @property
    def temperatures(self) -> dict[str, float]:
        """What the logits of each model are divided by, by the suffix of its signatures."""
        budgets = self.elastic["budgets"] if self.elastic else []
        own = {budget_suffix(budget["target_speedup"]): budget.get("temperature", 1.0) for budget in budgets}
        return {suffix: own.get(suffix, self.task.temperature) for suffix in self.models}

    @property
    def max_seq_length(self) -> int:
        """N."""
        return self.models[""].max_seq_length

    @property
    def shapes(self) -> ServingShapes:
        """The shapes in which a SavedModel calls the models."""
        return self.settings.shapes(self.max_seq_length)

    def expected_answers(self, shapes: ServingShapes) -> ExpectedAnswers:
        """Calls the Keras models on the samples and on hostile texts.

        Args:
            shapes: The export's batch size, and its precision, which sets the tolerance.
        """
        task, model = self.task, self.models[""]
        names = text_inputs(task)
        encoded = [tuple(text.encode("utf-8", "surrogatepass") for text in texts) for texts in self.samples]
        texts = (*encoded, *((text,) * len(names) for text in HOSTILE_TEXTS))
        columns = [tf.constant(column) for column in zip(*texts, strict=True)]
        token_ids, segment_ids = self.tokenizer(input_texts(columns, task.choices), self.max_seq_length)
        mask = tf.sequence_mask(token_ids.row_lengths())
        values = (token_ids.to_tensor(self.tokenizer.pad_id), segment_ids.to_tensor(), mask)
        inputs = {name: tf.cast(value, tf.int32) for name, value in zip(INPUTS, values, strict=True)}

        def answers(model: BertClassifier, temperature: float) -> np.ndarray:
            logits = model(inputs, training=False)
            return np.asarray(ops.convert_to_numpy(linked(task.kind, logits, temperature)))

        return ExpectedAnswers(
            task=task.name,
            classes=tuple(task.classes),
            is_multi_label=task.is_multi_label,
            text_inputs=names,
            max_seq_length=self.max_seq_length,
            vocab_size=model.config.vocab_size,
            batch_size=shapes.batch_size,
            tolerance=max(_TOLERANCES[dtype] for dtype in (shapes.precision, model.encoders[0].compute_dtype)),
            texts=texts,
            token_ids=tuple(map(tuple, token_ids.to_list())),
            segment_ids=tuple(map(tuple, segment_ids.to_list())),
            answers={suffix: answers(one, self.temperatures[suffix]) for suffix, one in self.models.items()},
            num_samples=len(self.samples),
            choices=task.choices,
        )
