"""A model on JAX, trained and asked: on one device, or on all of a `keras.distribution.DataParallel` layout.

On several it is a copy that is trained and asked, as in `replicas`: the model itself stays on one device,
where the chief can measure and save it alone. Axes: `B` rows of a batch, `C` classes.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.batching import Batches
from powerbert_tf.common.termination import agree, was_asked
from powerbert_tf.training.distribution.copies import BringBack, Copies, copied
from powerbert_tf.training.distribution.jax_processes import place
from powerbert_tf.training.distribution.processes import any_of_all, num_processes, rank
from powerbert_tf.training.distribution.replicas import shares


def on_jax() -> bool:
    """Whether Keras runs on JAX."""
    return keras.backend.backend() == "jax"


def _of_process(batches: Batches, batch_size: int, layout: keras.distribution.DataParallel) -> Batches:
    """This process's share of each batch, filled up so that all devices have as many rows."""
    count, devices = num_processes(), layout.num_model_replicas
    size = devices // count * math.ceil(batch_size / devices)
    return shares(batches, count, range(rank(), rank() + 1), size)


class JaxTrainer:
    """Training by Keras on JAX; it has what `replicas.ReplicaTrainer` has.

    Attributes:
        model: Compiled.
        callbacks: First ones: they bring to the variables what a step made, for callbacks to read and to change.

    Args:
        source: What is trained in the end.
        head: Makes of it, or of its copy, what is to be compiled.
        layout: Of the devices; None for one.
        make_optimizer: Makes a `BertAdam`.
        loss: Of the rows, with the reduction `distillation.REDUCTION`.
        batch_size: B, of all devices together.
    """

    def __init__(
        self,
        source: keras.Model,
        head: Callable[[Any], keras.Model],
        layout: keras.distribution.DataParallel | None,
        make_optimizer: Callable[[], keras.optimizers.Optimizer],
        loss: keras.losses.Loss,
        batch_size: int,
    ):
        self._layout = layout
        self._batch_size = batch_size
        self.callbacks: list[keras.callbacks.Callback] = [_Sync()]
        if layout is None:
            self.model = head(source)
            self.model.compile(make_optimizer(), loss)
            return
        copy = copied(source, layout.scope())
        with layout.scope():
            self.model = head(copy)
            self.model.compile(make_optimizer(), loss)
        self.callbacks += [_Distributing(None), BringBack(copy, source)]

    def batches(self, batches: Batches) -> tf.data.Dataset:
        """With labels."""
        if self._layout is not None:
            batches = _of_process(batches, self._batch_size, self._layout)
        return batches.dataset(with_labels=True)

    def measured_batches(self, batches: Batches) -> tf.data.Dataset:
        """What `fit` takes; nothing is measured."""
        return self.batches(batches)

    def fit(self, batches: tf.data.Dataset, *, callbacks: keras.callbacks.CallbackList, **kwargs: Any) -> None:
        """As `keras.Model.fit`."""
        if self._layout is None:
            self.model.fit(batches, callbacks=callbacks, **kwargs)
            return
        callbacks.callbacks.append(_Distributing(self._layout))
        with self._layout.scope():
            self.model.fit(batches, callbacks=callbacks, **kwargs)


class _Sync(keras.callbacks.Callback):
    """Between two steps the values of JAX' variables are elsewhere; they are fetched by reference and not copied."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
        if num_processes() > 1 and any_of_all(was_asked()):
            agree()


class _Distributing(keras.callbacks.Callback):
    """Says where variables are made from now on: those of Keras on all devices, those of callbacks on one."""

    def __init__(self, layout: keras.distribution.DataParallel | None):
        super().__init__()
        self._layout = layout

    def _set(self, *_: Any, **__: Any) -> None:
        keras.distribution.set_distribution(self._layout)

    on_train_begin = on_epoch_begin = on_train_batch_begin = _set
    on_train_end = on_epoch_end = on_train_batch_end = _set


_copies = Copies()


def predict_on_layout(
    model: keras.Model, batches: Batches, batch_size: int, layout: keras.distribution.DataParallel
) -> np.ndarray:
    """Logits `[n, C]` in the order of the split, on all devices; each process gets all of them.

    Args:
        model: A `BertClassifier`, which may have been trained since the last call.
        batches: Each row in one of them.
        batch_size: B, of the largest one.
        layout: Of the devices.
    """
    function = _copies.function(model, layout.scope(), lambda copy: _predicting(copy, layout))
    own = _of_process(batches, batch_size, layout)
    logits = None
    for inputs, rows in zip(own.dataset(with_labels=False).as_numpy_iterator(), batches.rows, strict=True):
        found = function({name: place(value, layout) for name, value in inputs.items()})
        parts = np.array_split(rows, num_processes())
        # Each process's share stands at the beginning of its part of what was found.
        for part, of_part in zip(parts, np.split(found, num_processes()), strict=True):
            if logits is None:
                logits = np.empty((len(batches.encoded), *found.shape[1:]), found.dtype)
            logits[part] = of_part[: len(part)]
    if logits is None:
        raise ValueError("no batches; expected at least one.")
    return logits


def _predicting(model: keras.Model, layout: keras.distribution.DataParallel) -> Callable[..., np.ndarray]:
    import jax

    everywhere = keras.distribution.TensorLayout([None, None], layout.device_mesh).backend_layout
    stateless = jax.jit(
        lambda weights, inputs: model.stateless_call(*weights, inputs, training=False)[0], out_shardings=everywhere
    )

    def predict(inputs):
        kinds = (model.trainable_variables, model.non_trainable_variables)
        return np.asarray(stateless([[variable.value for variable in kind] for kind in kinds], inputs))

    return predict
