import keras
import numpy as np
import pytest
from keras import ops

from powerbert_tf.training.optimizer import BertAdam, WarmupLinearDecay


def test_the_rate_rises_then_falls_to_0_after_the_last_step():
    schedule = WarmupLinearDecay(peak=0.7, num_steps=20, warmup_proportion=0.15)
    rates = [float(ops.convert_to_numpy(schedule(step))) for step in range(21)]
    expected = [0.7 * k / 3 for k in (1, 2, 3)] + [0.7 * (21 - k) / 18 for k in range(4, 22)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)
    assert rates[20] == 0


@pytest.mark.parametrize("proportion", [0.0, 1.0])
def test_a_schedule_of_one_step_has_a_rate(proportion):
    assert float(ops.convert_to_numpy(WarmupLinearDecay(0.7, 1, proportion)(0))) == pytest.approx(0.7)


def variables():
    words = keras.Variable(np.full((3,), 0.5, "float32"), name="kernel")
    with keras.name_scope("extract"):
        retention = keras.Variable(np.full((5,), 0.5, "float32"), name="retention_parameters")
    return words, retention


def test_retention_parameters_have_a_rate_of_their_own():
    # Adam's first step is the rate in the direction of the gradient, whatever the gradient's size.
    words, retention = variables()
    BertAdam(0.01, retention_rate_ratio=7.0).apply(
        [ops.convert_to_tensor([0.2, -0.3, 5.0]), ops.ones(5)], [words, retention]
    )
    np.testing.assert_allclose(words.numpy(), [0.49, 0.51, 0.49], atol=1e-5)
    np.testing.assert_allclose(retention.numpy(), np.full(5, 0.43), atol=1e-5)


def test_it_is_adam_with_bias_correction_and_epsilon_1e_7():
    words, retention = variables()
    optimizer = BertAdam(0.01)
    value, m, v = np.full(3, 0.5), 0.0, 0.0
    for step in range(1, 6):
        gradient = np.array([0.3, -1e-7, 2.0]) / step
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32")), ops.zeros(5)], [words, retention])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value = value - 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(words.numpy(), value, rtol=1e-5)


def test_it_takes_the_steps_of_keras():
    random = np.random.default_rng(3)
    start = random.normal(size=(5, 7)).astype("float32")
    ours, theirs = (keras.Variable(start, name="kernel") for _ in range(2))
    optimizers = [BertAdam(0.03, beta_1=0.8, epsilon=1e-3), keras.optimizers.Adam(0.03, beta_1=0.8, epsilon=1e-3)]
    for _ in range(11):
        gradient = ops.convert_to_tensor(random.normal(size=(5, 7)).astype("float32"))
        for optimizer, variable in zip(optimizers, (ours, theirs), strict=True):
            optimizer.apply([gradient], [variable])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(ours.numpy() - start).min() > 1e-3


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has sparse gradients")
def test_a_row_that_is_looked_up_often_takes_the_step_of_its_whole_gradient():
    import tensorflow as tf

    rows = tf.constant([1, 4, 1, 1, 4, 1])
    tables = []
    for densify in (False, True):
        table = keras.Variable(np.full((5, 3), 0.5, "float32"), name="table")
        optimizer = BertAdam(0.01)
        for step in range(3):
            gradient = tf.IndexedSlices(tf.fill((6, 3), 0.2 + step), rows, tf.constant([5, 3]))
            optimizer.apply([tf.convert_to_tensor(gradient) if densify else gradient], [table])
        tables.append(table.numpy())
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6)


def test_weight_decay_leaves_retention_parameters_alone():
    words, retention = variables()
    optimizer = BertAdam(0.01, weight_decay=0.3)
    optimizer.apply([ops.zeros(3), ops.zeros(5)], [words, retention])
    np.testing.assert_allclose(words.numpy(), np.full(3, 0.5 * (1 - 0.01 * 0.3)), rtol=1e-6)
    np.testing.assert_array_equal(retention.numpy(), np.full(5, 0.5, "float32"))


def test_both_come_back_from_their_configuration():
    optimizer = BertAdam(WarmupLinearDecay(0.7, 20, 0.15), retention_rate_ratio=7.0, weight_decay=0.3)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.retention_rate_ratio == 7.0
