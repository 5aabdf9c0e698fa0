"""Exact on a clock that only the pipeline and its consumer move."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from powerbert_tf.training.distribution.devices import InputWait

MAKING, USING = 7.0, 101.0  # seconds


@pytest.fixture
def clock():
    return tf.Variable(0.0, dtype=tf.float64)


def slow(clock, count):
    """Batches that take `MAKING` each."""

    def make(number):
        clock.assign_add(MAKING)
        return {"x": tf.cast([number], tf.float32)}, tf.cast([number], tf.float32)

    return tf.data.Dataset.range(count).map(make)


def test_making_is_waited_for_and_using_is_not(clock):
    wait = InputWait(clock.read_value)
    seen = []
    for inputs, labels in wait.measured(slow(clock, 5)):
        seen.append((inputs["x"].numpy().tolist(), labels.numpy().tolist()))
        clock.assign_add(USING)
    assert seen == [([float(i)], [float(i)]) for i in range(5)]
    assert wait.take() == 5 * MAKING
    assert wait.take() == 0


def test_what_was_made_in_time_is_not_waited_for(clock):
    wait = InputWait(clock.read_value)
    made = slow(clock, 5).cache()
    assert len(list(made)) == 5
    for _ in wait.measured(made):
        clock.assign_add(USING)
    assert wait.take() == 0


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_measures_inside_a_step_of_keras(clock, run_eagerly):
    wait = InputWait(clock.read_value)
    inputs = keras.Input((), name="x")
    model = keras.Model({"x": inputs}, keras.layers.Dense(1)(inputs[:, None]))
    model.compile("sgd", "mse", run_eagerly=run_eagerly)
    shares = []

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            wait.take()

        def on_train_batch_end(self, batch, logs=None):
            clock.assign_add(USING)

        def on_epoch_end(self, epoch, logs=None):
            shares.append(wait.take())

    batches = wait.measured(slow(clock, 6))
    model.fit(batches, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0, callbacks=[Epochs()])
    assert shares == [3 * MAKING, 3 * MAKING]


def test_the_clock_is_the_time_of_day():
    wait = InputWait()
    sleep = tf.data.Dataset.range(3).map(
        lambda number: tf.numpy_function(_sleep, [number], tf.int64, stateful=True), num_parallel_calls=1
    )
    assert [int(number) for number in wait.measured(sleep)] == [0, 1, 2]
    assert wait.take() >= 3 * 0.01


def _sleep(number):
    time.sleep(0.011)
    return np.int64(number)
