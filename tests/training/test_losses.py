import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from powerbert_tf.data import kinds
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.tasks import TASKS
from powerbert_tf.training.losses import (
    KlDivergence,
    WeightedCrossEntropy,
    distillation_loss,
    task_loss,
)
from powerbert_tf.training.settings import DISTILLATIONS

LOGITS = np.array([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3], [3.0, 0.0, -1.0]], "float32")
LABELS = np.array([2, 0, 0])


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
    assert float(distillation_loss("logits", CLASSES)(teacher, student)) == pytest.approx((1 + 9) / 4)


def test_kl_of_labels_by_hand():
    # At T = 2: sigmoid(2 ln 3 / 2) = 3/4 against 1/2, and 1/2 against itself; T^2 = 4, the mean over labels.
    teacher, student = np.array([[2 * np.log(3.0), 0.0]]), np.zeros((1, 2))
    expected = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert float(distillation_loss("kl", kinds.LABELS)(teacher, student)) == pytest.approx(expected, rel=1e-6)
    apart = np.array([[30.0, -90.0]])  # no logarithm of 0
    assert float(distillation_loss("kl", kinds.LABELS)(apart, -apart)) == pytest.approx(4 * (15 + 45) / 2, rel=1e-4)


def test_labels_are_learned_by_binary_cross_entropy():
    task = dataclasses.replace(TASKS["MNLI"], is_multi_label=True)
    there = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], "uint8")
    p = 1 / (1 + np.exp(-LOGITS.astype("float64")))
    expected = -np.mean(np.where(there == 1, np.log(p), np.log(1 - p)))
    np.testing.assert_allclose(task_loss(task)(there, LOGITS), expected, rtol=1e-5)
    weights = np.array([1.0, 0.0, 1.0], "float32")  # without the row that fills up the batch
    expected = -np.mean(np.where(there == 1, np.log(p), np.log(1 - p))[[0, 2]])
    np.testing.assert_allclose(task_loss(task)(there, LOGITS, weights), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [CLASSES, kinds.LABELS])
def test_every_distillation_but_none_has_a_loss(kind):
    for name in DISTILLATIONS:
        if name != "none":
            loss = distillation_loss(name, kind)
            again = type(loss).from_config(loss.get_config())
            assert float(again(np.ones((3, 2)), np.ones((3, 2)))) == pytest.approx(0, abs=1e-6)


def test_each_row_weighs_as_its_class():
    weights = np.array([0.5, 7.0, 2.0])
    losses = np.log(np.exp(LOGITS).sum(axis=1)) - LOGITS[np.arange(3), LABELS]
    loss = WeightedCrossEntropy(weights.tolist())(LABELS, LOGITS)
    np.testing.assert_allclose(loss, np.mean(weights[LABELS] * losses), rtol=1e-6)


def test_equal_weights_are_none():
    task = TASKS["MNLI"]
    plain, weighted = task_loss(task), task_loss(dataclasses.replace(task, class_weights=(1.0, 1.0, 1.0)))
    assert isinstance(weighted, WeightedCrossEntropy)
    np.testing.assert_allclose(weighted(LABELS, LOGITS), plain(LABELS, LOGITS), rtol=1e-6)


def test_class_weights_are_saved():
    loss = WeightedCrossEntropy((0.5, 7.0, 2.0))
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.class_weights == loss.class_weights
