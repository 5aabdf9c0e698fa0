"""Training and predicting on JAX: on one device, or on all of `keras.distribution.DataParallel`."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from powerbert_tf.batching import Batches
from powerbert_tf.distribution import num_replicas


def on_jax() -> bool:
    """Whether Keras runs on JAX."""
    return keras.backend.backend() == "jax"


def filled_for_devices(batches: Batches, batch_size: int) -> Batches:
    """The same, each batch filled up so that all devices have as many rows; what was filled in has weight 0."""
    devices = num_replicas()
    return (
        batches if devices == 1 else dataclasses.replace(batches, filled_to=devices * math.ceil(batch_size / devices))
    )


def on_devices(dataset: tf.data.Dataset) -> Iterable[Mapping[str, Any]]:
    """Inputs as the backend takes them; on JAX each device has its rows."""
    return _placed(dataset) if on_jax() else dataset


def _placed(dataset: tf.data.Dataset) -> Iterator[dict[str, Any]]:
    layout = keras.distribution.distribution()
    for inputs in dataset.as_numpy_iterator():
        if layout is None:
            yield inputs
            continue
        yield {
            name: keras.distribution.distribute_tensor(value, layout.get_data_layout(value.shape))
            for name, value in inputs.items()
        }


class JaxTrainer:
    """Training by Keras on JAX; it has what `replicas.ReplicaTrainer` has.

    Attributes:
        model: Compiled.
        callbacks: First ones: they bring to the variables what a step made, for callbacks to read and to change.
        fit: The model's own.

    Args:
        model: See there.
        batch_size: B, of all devices together.
    """

    def __init__(self, model: keras.Model, batch_size: int):
        self.model = model
        self.callbacks: list[keras.callbacks.Callback] = [_Sync()]
        self.fit = model.fit
        self._batch_size = batch_size

    def batches(self, batches: Batches) -> tf.data.Dataset:
        """With labels."""
        return filled_for_devices(batches, self._batch_size).dataset(with_labels=True)

    def measured_batches(self, batches: Batches) -> tf.data.Dataset:
        """What `fit` takes; nothing is measured."""
        return self.batches(batches)


class _Sync(keras.callbacks.Callback):
    """Between two steps the values of JAX' variables are elsewhere; they are fetched by reference and not copied."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
