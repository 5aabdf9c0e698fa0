"""Parts of a model add up to the model."""

import numpy as np
import pytest

from benchmarks.inference.time_by_part import count, spend
from powerbert_tf.elimination.operations import EncoderSize, multiply_adds
from powerbert_tf.latency.costs import Costs, count_costs

SIZE = EncoderSize(5, 35, 29)
KEPT = (0.81, 0.6, 0.37, 0.11, 0.01)


@pytest.mark.parametrize("configuration", [None, KEPT, (17, 13, 11, 5, 2)])
def test_multiply_adds_of_parts_are_those_of_the_model(configuration):
    assert sum(count(SIZE, configuration, 23).values()) == multiply_adds(SIZE, 23, configuration)


@pytest.mark.parametrize("configuration", [None, KEPT])
def test_times_of_parts_are_what_a_search_predicts(configuration):
    table = count_costs(SIZE, 23, batch_size=3)
    spent = spend(table, configuration, SIZE.num_encoders, 23)
    assert sum(spent.values()) == pytest.approx(Costs(table, np.array([23]), SIZE.num_encoders).of(configuration))
    assert spent["choosing rows"] <= 0  # counted, it only saves


def test_parts_that_eliminate_nothing_choose_nothing():
    assert count(SIZE, None, 23)["choosing rows"] == spend(count_costs(SIZE, 23, 1), None, 5, 23)["choosing rows"] == 0
