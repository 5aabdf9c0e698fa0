"""Exports of tiny models with random weights, for tests of what serves them."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import ops
from tiny_bert import random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.data.tasks import TASKS, OwnTask
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.saved_model import write_saved_model
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.tokenizers.files import load_tokenizer

N = 23
KEPT = (0.61, 0.31, 0.13)
THRESHOLDS = (0.43, 0.51, 0.47)
MOODS = OwnTask(
    name="moods",
    classes=("joy", "fear", "anger"),
    metrics=("micro_f1",),
    text_columns=("text",),
    label_column="moods",
    is_multi_label=True,
    thresholds=THRESHOLDS,
    epochs=1,
)


class TinyExport:
    """A model of random weights, and the folder of its versions.

    Attributes:
        task: The task.
        folder: Folder of versions.

    Args:
        root: An empty folder.
        task: Name of a GLUE task, or "moods" for several labels.
    """

    def __init__(self, root: Path, task: str = "SST-2"):
        self.task = MOODS if task == "moods" else TASKS[task]
        self.folder = root / "saved_model"
        config = tiny_config()
        (root / "checkpoint").mkdir(parents=True)
        write_google_checkpoint(root / "checkpoint", config, random_weights(config, None))
        self._checkpoint = find_checkpoint(root / "checkpoint")
        self._root = root / "checkpoint"
        self._tokenizer = load_tokenizer(self._checkpoint, "uncased")
        self._models = {}

    def add_version(self, folder: Path | None = None, **flags) -> int:
        """Exports a model with other weights than the versions before, and returns its number."""
        model = load_classifier(self._root, self.task.num_outputs, N)
        model = model.with_slots(retention_configuration=KEPT)
        draw = np.random.default_rng(len(self._models))
        model.set_weights([weight + 0.1 * draw.standard_normal(weight.shape) for weight in model.get_weights()])
        description = {"name": self.task.name, "classes": list(self.task.classes), "max_seq_length": N}
        if self.task.thresholds:
            description |= {"multi_label": True, "thresholds": list(self.task.thresholds)}
        request = ExportRequest(
            models={"": model},
            task=self.task,
            tokenizer=self._tokenizer,
            checkpoint=self._checkpoint,
            settings=ExportSettings(**flags),
            truncation="head",
            samples=[("a b c", "d e")[: 1 + self.task.is_pair]],
            description=description,
            origin={"data": "made up", "fingerprint": "0a1b"},
        )
        with write_saved_model(request, folder or self.folder) as result:
            pass
        self._models[result["version"]] = model
        return result["version"]

    def answers(self, version: int, rows) -> np.ndarray:
        """The Keras model's probabilities `[n, C]`, or scores `[n, 1]`, of rows of texts, each of them alone."""
        found = []
        for row in rows:
            token_ids, segment_ids = self._tokenizer([tf.constant([text]) for text in row], N)
            mask = tf.ones_like(token_ids.to_tensor())
            inputs = {"token_ids": token_ids.to_tensor(), "segment_ids": segment_ids.to_tensor(), "padding_mask": mask}
            found.append(ops.convert_to_numpy(self._models[version](inputs, training=False))[0])
        return self.task.kind.answers(np.array(found))
