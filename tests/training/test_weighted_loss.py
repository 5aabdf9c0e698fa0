import dataclasses

import keras
import numpy as np

from powerbert_tf.data.tasks import TASKS
from powerbert_tf.training.losses import WeightedCrossEntropy, task_loss

LOGITS = np.array([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3], [3.0, 0.0, -1.0]], "float32")
LABELS = np.array([2, 0, 0])


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


def test_it_can_be_saved():
    loss = WeightedCrossEntropy((0.5, 7.0, 2.0))
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.class_weights == loss.class_weights
