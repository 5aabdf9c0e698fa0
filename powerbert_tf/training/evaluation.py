"""Logits and metrics of a model on a whole split, on however many devices the run has."""

from typing import cast

import keras
import numpy as np

from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.data.metrics import compute_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.training.distribution.devices import active_devices


def predict_logits(model: keras.Model, encoded: EncodedSplit, inference: InferenceSettings) -> np.ndarray:
    """Logits `[n, C]` in the order of the split."""
    batches = prediction_batches(
        encoded, inference.eval_batch_size, inference.padding, inference.length_buckets, fill=inference.jit_compile
    )
    return active_devices().predict(model, batches, inference.eval_batch_size, inference.jit_compile)


def evaluate_model(
    model: BertClassifier, task: Task, split: EncodedSplit, inference: InferenceSettings
) -> dict[str, float]:
    """The task's metrics on a split with labels, the main one first."""
    logits = predict_logits(model, split, inference)
    return compute_metrics(task, cast(np.ndarray, split.labels), logits)
