"""Logits and metrics of a model on a whole split, on however many devices the run has."""

from typing import cast

import keras
import numpy as np

from powerbert_tf.batches.batching import EncodedSplit, prediction_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.common.scratch import new_array
from powerbert_tf.data.metrics import compute_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import compiled_once
from powerbert_tf.training.distribution.jax_devices import on_jax, predict_on_layout
from powerbert_tf.training.distribution.replicas import predict_on_replicas
from powerbert_tf.training.distribution.strategies import active_layout, active_strategy


def predict_logits(model: keras.Model, encoded: EncodedSplit, inference: InferenceSettings) -> np.ndarray:
    """Logits `[n, C]` in the order of the split."""
    batches = prediction_batches(
        encoded, inference.eval_batch_size, inference.padding, inference.length_buckets, fill=inference.jit_compile
    )
    if strategy := active_strategy():
        return predict_on_replicas(model, batches, inference.eval_batch_size, strategy)
    if layout := active_layout():
        return predict_on_layout(model, batches, inference.eval_batch_size, layout)
    function = compiled_once(model, inference.jit_compile)
    dataset = batches.dataset(with_labels=False)
    logits: np.ndarray | None = None
    for inputs, rows in zip(dataset.as_numpy_iterator() if on_jax() else dataset, batches.rows, strict=True):
        found = keras.ops.convert_to_numpy(function(inputs))[: len(rows)]  # without what the batch was filled up with
        if logits is None:
            logits = new_array((len(encoded), *found.shape[1:]), found.dtype)
        logits[rows] = found
    return cast(np.ndarray, logits)


def evaluate_model(
    model: BertClassifier, task: Task, split: EncodedSplit, inference: InferenceSettings
) -> dict[str, float]:
    """The task's metrics on a split with labels, the main one first."""
    logits = predict_logits(model, split, inference)
    return compute_metrics(task, cast(np.ndarray, split.labels), logits)
