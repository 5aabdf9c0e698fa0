import keras
import numpy as np
import pytest
from keras import ops

from powerbert_tf.training.losses import DISTILLATIONS, KlDivergence, distillation_loss


def test_kl_by_hand():
    # At T = 2: softmax(2 ln 3 / 2, 0) = (3/4, 1/4) against (1/2, 1/2); T^2 = 4.
    teacher, student = np.array([[2 * np.log(3.0), 0.0]]), np.array([[1.0, 1.0]])
    expected = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert float(KlDivergence()(teacher, student)) == pytest.approx(expected, rel=1e-6)
    assert float(KlDivergence()(teacher, teacher + 5.0)) == pytest.approx(0, abs=1e-6)  # only differences count


def test_kl_without_temperature_is_that_of_keras():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 7, 5))
    expected = keras.losses.KLDivergence()(ops.softmax(teacher), ops.softmax(student))
    assert float(KlDivergence(temperature=1.0)(teacher, student)) == pytest.approx(float(expected), rel=1e-5)


def test_logits_are_matched_by_their_squared_difference():
    teacher, student = np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.0, -2.0], [0.5, 3.0]])
    assert float(distillation_loss("logits")(teacher, student)) == pytest.approx((1 + 9) / 4)


def test_every_distillation_but_none_has_a_loss():
    for name in DISTILLATIONS:
        if name != "none":
            loss = distillation_loss(name)
            again = type(loss).from_config(loss.get_config())
            assert float(again(np.ones((3, 2)), np.ones((3, 2)))) == pytest.approx(0, abs=1e-6)
