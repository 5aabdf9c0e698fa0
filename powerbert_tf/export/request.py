"""What is exported: models over one set of weights, and what their card and `task.json` say of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.tokenizers.word_pieces import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class ExportRequest:
    """What every writer gets.

    Attributes:
        models: By the suffix of their signatures; `""` is the main one. They share their weights.
        task: Of the models.
        tokenizer: Theirs.
        checkpoint: What they were made from.
        settings: Flags of the export.
        truncation: How longer texts are cut.
        samples: Usual texts, one or two each, of all lengths; at least one.
        description: Content of `task.json`.
        origin: Where the training data came from: `data`, and `fingerprint`.
        evaluated: `result.json` of the stage `evaluate`; None where it was not run.
        elastic: That of the stage `elastic`, where its weights are exported.
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
    def max_seq_length(self) -> int:
        """N."""
        return self.models[""].max_seq_length

    @property
    def lower_case(self) -> bool:
        return self.tokenizer.lower_case
