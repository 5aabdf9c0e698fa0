"""One training stage: epochs over the training split, the dev metrics after each, the chosen weights kept."""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from powerbert_tf.batching import EncodedSplit, prediction_batches, training_batches
from powerbert_tf.errors import InputError
from powerbert_tf.metrics import compute_metrics
from powerbert_tf.modeling import BertClassifier
from powerbert_tf.optimization import BertAdam, WarmupLinearDecay
from powerbert_tf.progress import ProgressBar
from powerbert_tf.retention import configuration_from_masses
from powerbert_tf.run_folder import LOG_FILE, WEIGHTS_FILE
from powerbert_tf.settings import Settings
from powerbert_tf.tasks import Task


@dataclasses.dataclass(frozen=True)
class TrainingOutcome:
    """The epoch whose weights were kept.

    Attributes:
        epoch: Its number, from 1.
        metrics: Dev metrics, the main one first.
    """

    epoch: int
    metrics: dict[str, float]


def predict_logits(model: keras.Model, encoded: EncodedSplit, batch_size: int, padding: str) -> np.ndarray:
    """Logits `[n, C]` in the order of the split."""
    batches, order = prediction_batches(encoded, batch_size, padding)
    sorted_logits = model.predict(batches, verbose=0)
    logits = np.empty_like(sorted_logits)
    logits[order] = sorted_logits
    return logits


def train(
    model: BertClassifier,
    task: Task,
    train_split: EncodedSplit,
    dev_split: EncodedSplit,
    settings: Settings,
    folder: Path,
    title: str,
) -> TrainingOutcome:
    """Trains a model; writes `log.jsonl` (an object an epoch) and `model.weights.h5` into `folder`.

    Kept are the weights of the best dev epoch by the task's main metric, the earlier one among equals; in a search
    (a model with soft-extract layers), where later epochs have eliminated more, those of the last epoch.

    Args:
        model: What to train; afterwards it holds the kept weights.
        task: Loss and metrics.
        train_split: With labels.
        dev_split: With labels.
        settings: Epochs, rates and so on.
        folder: An existing folder.
        title: Of the progress bar.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    steps_per_epoch = math.ceil(len(train_split) / settings.batch_size)
    optimizer = BertAdam(
        WarmupLinearDecay(settings.learning_rate, steps_per_epoch * settings.epochs, settings.warmup_proportion),
        retention_rate_ratio=settings.learning_rate_soft_extract / settings.learning_rate,
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clipnorm or None,
    )
    if task.is_regression:
        loss: keras.losses.Loss = keras.losses.MeanSquaredError()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    keeper = _EpochKeeper(task, dev_split, settings, folder)
    model.fit(
        training_batches(train_split, settings.batch_size, settings.epochs, settings.seed, settings.padding),
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # the batches already are
        verbose=0,
        callbacks=[_StopIfNotFinite(title), ProgressBar(title), keeper],
    )
    model.load_weights(folder / WEIGHTS_FILE)
    return keeper.outcome


class _StopIfNotFinite(keras.callbacks.Callback):
    def __init__(self, title):
        super().__init__()
        self.title = title
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        loss = float(np.asarray(logs["loss"]))
        if not math.isfinite(loss):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise InputError(
                f"{self.title}: the loss is {loss} at step {self.steps}, at rate {rate:.1e}; lower --learning_rate or "
                "set --clipnorm=1."
            )


class _EpochKeeper(keras.callbacks.Callback):
    """Evaluates on dev after each epoch, logs, and saves the weights to keep."""

    def __init__(self, task: Task, dev_split: EncodedSplit, settings: Settings, folder: Path):
        super().__init__()
        self.task = task
        self.dev_split = dev_split
        self.settings = settings
        self.folder = folder
        self.outcome = TrainingOutcome(0, {task.metrics[0]: -math.inf})  # any epoch is better

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        train_seconds = time.perf_counter() - self._began
        logits = predict_logits(self.model, self.dev_split, self.settings.eval_batch_size, self.settings.padding)
        metrics = compute_metrics(self.task, self.dev_split.labels, logits)
        main = self.task.metrics[0]
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": float(np.asarray(logs["loss"])),
            "metrics": metrics,
            "train_seconds": round(train_seconds, 1),
            "eval_seconds": round(time.perf_counter() - self._began - train_seconds, 1),
        }
        line = f"  epoch {epoch + 1}: " + ", ".join(f"dev {name} {value:.4f}" for name, value in metrics.items())
        if self.model.soft_extract:
            row["masses"] = [round(mass, 4) for mass in self.model.masses]
            row["retention_configuration"] = list(configuration_from_masses(self.model.masses))
            line += f", keeps {','.join(map(str, row['retention_configuration']))}"
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        print(line, flush=True)
        if self.model.soft_extract or metrics[main] > self.outcome.metrics[main]:
            self.outcome = TrainingOutcome(epoch + 1, metrics)
            self.model.save_weights(self.folder / WEIGHTS_FILE)
