"""How long training waits for its batches."""

import time
from collections.abc import Callable

import tensorflow as tf


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
