"""Devices that train and evaluate a model: the interface, and one device; `replicas` and `jax_devices` have several.

Axes: `B` rows of a batch, `C` classes.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.padded_batches import Batches
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.large_arrays import new_array
from powerbert_tf.models.compilation import compiled_once
from powerbert_tf.training.distribution.processes import num_processes


def on_jax() -> bool:
    """Whether Keras runs on JAX."""
    return keras.backend.backend() == "jax"


def deterministic_clock() -> tf.Tensor:
    """Python's clock in seconds, as TensorFlow refuses its own where operations must be deterministic."""
    seconds = tf.numpy_function(time.perf_counter, [], tf.float64)
    seconds.set_shape([])
    return seconds


class InputWait:
    """Adds up the seconds between the request for a batch and its arrival, by a clock that gives a float64 scalar.

    Keras asks for batches inside its compiled step, where no Python sees it; so the pipeline itself reads the clock,
    right before and right after it hands out a batch. A batch that was prepared in time costs next to nothing. A GPU
    may be busy with the previous step while the host waits: the sum is the most that input can have cost.
    """

    def __init__(self, clock: Callable[[], tf.Tensor] = tf.timestamp):
        self._clock = clock
        with tf.device("CPU"):  # where pipelines run
            self._seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def measured(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; waiting for them is measured."""

        def add(before, batch, after):
            self._seconds.assign_add(after - before)
            return batch

        now = tf.data.Dataset.counter().map(lambda _: self._clock())
        options = tf.data.Options()
        # A buffer behind the clock would take the batches early, and its wait would be counted instead.
        options.experimental_optimization.inject_prefetch = False
        # A zip asks its parts one after the other.
        return tf.data.Dataset.zip(now, batches, now).map(add).with_options(options)

    def add(self, seconds: float) -> None:
        """Adds seconds that were measured elsewhere."""
        self._seconds.assign_add(seconds)

    def take(self) -> float:
        """Returns the seconds waited since the last call."""
        seconds = float(self._seconds.numpy())
        self._seconds.assign(0.0)
        return seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """What a training step computes, wherever it runs.

    Attributes:
        source: The model whose weights are trained.
        is_wrapped: Whether to compile a functional model around the source (or its copy), which then has no optimizer
            whose state would be saved with its weights.
        make_optimizer: Makes a `BertAdam`.
        loss: A loss with the reduction `losses.REDUCTION`.
        batch_size: B, of all devices together.
        jit_compile: Whether XLA compiles the step, on one device of TensorFlow.
        input_wait: Measures the waiting for batches, on TensorFlow.
    """

    source: keras.Model
    is_wrapped: bool
    make_optimizer: Callable[[], keras.optimizers.Optimizer]
    loss: keras.losses.Loss
    batch_size: int
    jit_compile: bool
    input_wait: InputWait

    def model_of(self, source: keras.Model) -> keras.Model:
        """The model to compile, made of the source or of a copy of it."""
        return keras.Model(source.input, source.output, name=source.name) if self.is_wrapped else source


class Trainer:
    """Trains a model on one device by Keras; subclasses train a copy of it on several.

    Attributes:
        model: The compiled model, which callbacks see.
        callbacks: To run before all others: they bring what a step or an epoch changed to the variables that others
            read.
    """

    def __init__(self, step: TrainingStep):
        self.callbacks: list[keras.callbacks.Callback] = [_JaxSync()] if on_jax() else []
        self.model = step.model_of(step.source)
        self.model.compile(step.make_optimizer(), step.loss, jit_compile="auto" if on_jax() else step.jit_compile)
        self._input_wait = step.input_wait

    def dataset(self, batches: Batches) -> Any:
        """Batches with labels, as a step of `model` takes them."""
        return batches.dataset(with_labels=True)

    def fit(self, batches: Batches, **kwargs: Any) -> None:
        """Does what `keras.Model.fit` does with `kwargs`, among them `callbacks`, a `CallbackList`."""
        dataset = self.dataset(batches)
        self.model.fit(dataset if on_jax() else self._input_wait.measured(dataset), **kwargs)


class _JaxSync(keras.callbacks.Callback):
    """Fetches the variables' values, by reference, which JAX keeps elsewhere between two steps."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()


class Devices:
    """One device; subclasses have several, which share each batch."""

    count = 1  # of all processes

    def trainer(self, step: TrainingStep) -> Trainer:
        """What trains a model on these devices."""
        return Trainer(step)

    def predict(self, model: keras.Model, batches: Batches, batch_size: int, jit_compile: bool) -> np.ndarray:
        """Logits `[n, C]` in the order of the split; each process gets all of them.

        Args:
            model: A `BertClassifier`, which may have been trained since the last call.
            batches: Contain each row once; at least one batch.
            batch_size: B, of the largest batch.
            jit_compile: Whether XLA compiles the model, on one device of TensorFlow.
        """
        logits: np.ndarray | None = None
        for rows, values in self._answers(model, batches, batch_size, jit_compile):
            if logits is None:
                logits = new_array((len(batches.encoded), *values.shape[1:]), values.dtype)
            logits[rows] = values
        if logits is None:
            raise ValueError("no batches; expected at least one.")
        return logits

    def _answers(
        self, model: keras.Model, batches: Batches, batch_size: int, jit_compile: bool
    ) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Row numbers `[k]` and their logits `[k, C]`, batch by batch."""
        function = compiled_once(model, jit_compile)
        for inputs, rows in batches:
            yield rows, keras.ops.convert_to_numpy(function(inputs))[: len(rows)]  # a filled batch has more


class Active:
    """What `launch.distributing` has opened: a `--distribution` and its devices, or None for one."""

    distribution = "none"
    devices: Devices | None = None


def active_devices() -> Devices:
    """The devices for the work at hand: one where the chief does it alone."""
    is_alone = Active.distribution == "multi_worker" and num_processes() == 1
    return Devices() if Active.devices is None or is_alone else Active.devices


def check_batch_size(batch_size: int) -> None:
    """Raises an InputError if there are more devices than rows in a batch."""
    count = Active.devices.count if Active.devices else 1
    if batch_size < count:
        raise InputError(
            f"--batch_size={batch_size}: less than the {count} devices of --distribution={Active.distribution}, which "
            f"share each batch; expected at least {count}, or fewer devices."
        )
