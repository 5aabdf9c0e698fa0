"""What is predicted: a trained model, the files that it answers, and how their rows are read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import Configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.tokenizers.word_pieces import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class PredictRequest:
    """A trained model and what it is to answer.

    Attributes:
        load_model: Reads the model.
        weights: File of its weights, whose content stands for the model.
        retention_configuration: What its encoders keep.
        task: Its classes.
        tokenizer: Of the model.
        max_seq_length: N.
        truncation: How longer texts are cut.
        inference: How the model runs.
        root: Where answers go, unless `settings` name a folder.
        settings: What is read and written.
        data: How tables are quoted, and what becomes of bad rows.
        texts: Columns of the texts; an empty name for one that no flag names.
    """

    load_model: Callable[[], BertClassifier]
    weights: Path
    retention_configuration: Configuration
    task: Task
    tokenizer: Tokenizer
    max_seq_length: int
    truncation: str
    inference: InferenceSettings
    root: Path
    settings: PredictSettings
    data: DataSettings
    texts: tuple[str, ...]
