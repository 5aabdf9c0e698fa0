"""When a loss is said to diverge."""

import numpy as np
import pytest

from powerbert_tf.training.callbacks import LossTrend

STEPS = 25  # of a window


def told(*means):
    """Which of the windows, with these means and noise of mean 0, are reported."""
    trend = LossTrend()
    noise = np.tile([0.3, -0.3, 0.1, -0.1, 0.0], STEPS // 5)
    found = []
    for mean in means:
        *before, last = [trend.add(mean * (1 + part)) for part in noise]
        assert before == [None] * (STEPS - 1)
        found.append(last is not None)
        assert last is None or last == pytest.approx(mean)
    return found


def test_a_loss_that_falls_or_stays_is_not():
    assert told(0.7, 0.6, 0.3, 0.1, 0.05, 0.15) == [False] * 6  # over-fitting's small numbers may double
    assert told(0.7, 0.75, 0.7, 0.8) == [False] * 4


def test_a_loss_that_rises_is():
    assert told(0.7, 0.9, 1.1) == [False, False, True]


def test_a_loss_that_falls_back_to_guessing_is():
    assert told(0.7, 0.4, 0.69) == [False, False, True]
    assert told(0.7, 0.5, 0.69) == [False, False, False]  # it had not learned much


def test_a_loss_below_zero_is_no_measure():
    assert told(-0.1, 0.2, 0.4) == [False] * 3
