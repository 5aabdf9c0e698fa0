"""Watching the loss of a training: one that is no number ends it, one that goes the wrong way is told.

Building the training step before training begins, so that no epoch is measured with it.
How long training waits for its batches.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import open_bar, say
from powerbert_tf.models.compilation import compiling
from powerbert_tf.training.state import TrainingState

_WINDOW = 25  # steps: enough that their mean says more than their noise
_RISEN = 1.5  # times the first window's mean
_LEARNED, _FORGOTTEN = 0.6, 0.95  # shares of the first window's mean: below the one, and then above the other


class LossTrend:
    """Whether a loss that should fall rises: plain arithmetic on the means of windows of steps.

    It diverges where a window's mean is far above the first one's, or is back there after it had been far below, as
    where a fine-tuning falls back to guessing.
    """

    def __init__(self):
        self._sum = 0.0
        self._count = 0
        self.first = self.lowest = math.nan

    def add(self, loss: float) -> float | None:
        """Takes the loss of a step; returns the mean of a window that is complete with it and diverges, or None."""
        self._sum += loss
        self._count += 1
        if self._count < _WINDOW:
            return None
        mean, self._sum, self._count = self._sum / _WINDOW, 0.0, 0
        if math.isnan(self.first):
            self.first = self.lowest = mean
        self.lowest = min(self.lowest, mean)
        forgot = self.lowest < _LEARNED * self.first and mean > _FORGOTTEN * self.first
        return mean if self.first > 0 and (mean > _RISEN * self.first or forgot) else None


class LossWatch(keras.callbacks.Callback):
    """Stops a training whose loss is no finite number, and tells once where it diverges.

    Losses with a penalty that a search raises as it goes are not held to fall.

    Args:
        title: Of the training.
        state: Its state.

    Raises:
        InputError: At the end of a step: its loss, or one before it in the epoch, is not finite.
    """

    def __init__(self, title: str, state: TrainingState):
        super().__init__()
        self.title = title
        self.state = state
        self._trend: LossTrend | None = LossTrend()

    def on_epoch_begin(self, epoch, logs=None):
        self._mean: float | None = None

    def on_train_batch_end(self, batch, logs=None):
        mean = float(np.asarray(logs["loss"]))  # over the steps of the epoch so far
        if not math.isfinite(mean):
            raise InputError(
                f"{self.title}: the loss is {mean} at step {self.state.step + 1}, at rate {self._rate():.1e}; "
                f"{self.state.last_saved}; lower --learning_rate or set --clipnorm=1."
            )
        before, self._mean = self._mean, mean
        steps = self.state.step % self.state.steps_per_epoch  # that were in the mean before
        if self._trend is None or self.model.losses or (steps and before is None):
            return
        diverged = self._trend.add(mean * (steps + 1) - (before or 0.0) * steps)
        if diverged is not None:
            say(
                f"  {self.title}: the run diverges: a loss of {diverged:.3g} at step {self.state.step + 1}, after "
                f"{self._trend.lowest:.3g}; a lower --learning_rate ({self._rate():.1e} now) or --clipnorm=1 may help"
            )
            self._trend = None  # once is enough

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class BuildSteps(keras.callbacks.Callback):
    """Runs a step on each of some batches when `fit` begins, and puts every variable back; on TensorFlow only.

    Last among the callbacks: others set up when training begins what the step then reads.

    Args:
        title: Of the progress bar.
        batches: A `tf.data.Dataset` like that of `fit`, with a batch of each shape for which a program is built.
    """

    def __init__(self, title: str, batches: Any):
        super().__init__()
        self.title = title
        self.batches = batches

    def on_train_begin(self, logs=None):
        model, optimizer = self.model, self.model.optimizer
        optimizer.build(model.trainable_variables)
        variables = [*model.variables, *optimizer.variables]
        values = [keras.ops.convert_to_numpy(variable) for variable in variables]
        remaining = iter(self.batches)
        count = int(self.batches.cardinality())
        for _ in open_bar(
            iterable=range(count), desc=f"{self.title}: compile", unit="shape", leave=False, disable=None
        ):
            with compiling():
                float(model.train_function(remaining)["loss"])  # waits for the result
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def deterministic_clock() -> tf.Tensor:
    """Python's clock, as TensorFlow refuses its own where operations must be deterministic."""
    seconds = tf.numpy_function(time.perf_counter, [], tf.float64)
    seconds.set_shape([])
    return seconds


class InputWait:
    """Adds up the seconds between the request for a batch and its arrival.

    Keras asks for batches inside its compiled step, where no Python sees it; so the clock is read by the pipeline
    itself, right before and right after it hands out a batch. One that was prepared in time costs next to nothing. A
    GPU may be busy with the step before while the host waits: what is reported is the most that input can have cost.
    """

    def __init__(self, clock: Callable[[], tf.Tensor] = tf.timestamp):
        """Starts at 0.

        Args:
            clock: A TensorFlow operation that gives seconds, a float64 scalar.
        """
        self._clock = clock
        with tf.device("CPU"):  # where pipelines run
            self._seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def measured(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; whoever takes them is measured."""

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
        """Adds what somebody else measured."""
        self._seconds.assign_add(seconds)

    def take(self) -> float:
        """Seconds waited since the last call."""
        seconds = float(self._seconds.numpy())
        self._seconds.assign(0.0)
        return seconds
