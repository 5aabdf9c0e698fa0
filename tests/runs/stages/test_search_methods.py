import dataclasses
import types

import numpy as np
import pytest

from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.runs.stages import search

COSTS = Costs(count_costs(EncoderSize(3, 35, 29, num_heads=5), 23, 5), np.array([11, 13, 23]), 3)


@pytest.mark.parametrize(
    ("predicted", "measured", "remark"),
    [
        (2.0, 2.0, ""),
        (2.19, 2.0, ""),
        (2.0, 2.19, ""),
        (2.4, 2.0, "predicted and measured differ by 20 %"),
        (1.5, 2.0, "predicted and measured differ by 25 %"),
    ],
)
def test_a_prediction_that_is_off_is_remarked_upon(predicted, measured, remark):
    said = search.remark_on_prediction(predicted, measured)
    assert said.startswith(remark)
    assert bool(said) == bool(remark)


class _Run:
    """A run on a device on which everything takes `factor` as long as is predicted, of reduced models."""

    def __init__(self, monkeypatch, factor, cost_model="measured"):
        measuring = types.SimpleNamespace(cost_model=cost_model, latency_batch_size=5)
        self.settings = types.SimpleNamespace(measuring=measuring)
        self.speed_test = self
        self.factor = factor
        self.costs = COSTS
        self.measured = []

    def speedup(self, dense, configuration):
        self.measured.append(configuration)
        return COSTS.speedup(configuration) / self.factor, {}

    def speedup_over_padded(self, dense, configuration):
        return 4.5

    def reduce(self, dense, configuration):
        return configuration


START = Reduction((0.7, 0.5, 0.0001))


def fit(reduction, target):
    return Reduction(fit_to_budget(reduction.rows, COSTS, target))


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.2])
def test_what_is_measured_meets_the_target_though_the_prediction_does_not(monkeypatch, factor):
    run = _Run(monkeypatch, factor)
    found, measured = search.meet_speedup(run, None, None, START, 1.5, fit)
    assert measured == pytest.approx(1.5, rel=0.03)
    assert COSTS.speedup(found) / factor == measured


def test_the_nearest_attempt_is_taken_where_none_is_near(monkeypatch):
    run = _Run(monkeypatch, 3.0)  # at most COSTS.largest_speedup / 3
    _, measured = search.meet_speedup(run, None, None, START, 2.0, fit)
    assert len(run.measured) == 4
    speedups = [COSTS.speedup(configuration) / 3 for configuration in run.measured]
    assert measured == min(speedups, key=lambda speedup: abs(speedup - 2.0))


def test_without_a_target_it_is_only_measured(monkeypatch):
    run = _Run(monkeypatch, 1.2)
    assert search.meet_speedup(run, None, None, START, None, fit) == (START, COSTS.speedup(START) / 1.2)
    assert len(run.measured) == 1


def test_nothing_is_measured_where_nothing_is_to_be(monkeypatch):
    run = _Run(monkeypatch, 1.2, cost_model="multiply_adds")
    assert search.meet_speedup(run, None, None, START, 1.5, fit) == (START, None)
    assert not run.measured


def test_a_result_tells_both_speedups(monkeypatch, capsys):
    run = _Run(monkeypatch, 1.0)
    run.task = types.SimpleNamespace(metrics=("accuracy",))
    run.split = lambda name: range(17)
    run.evaluate_once = lambda model: {"accuracy": 0.75}
    reduced = types.SimpleNamespace(reduction=dataclasses.replace(START, heads=(5, 3, 2)))
    run.factor = COSTS.speedup(reduced.reduction)
    result = search.describe_search(run, None, reduced, None, run.factor)
    assert result["measured_speedup"] == result["predicted_speedup"] == run.factor
    assert result["retention_configuration"] == list(START.rows)
    assert result["heads"] == [5, 3, 2]
    assert "neurons" not in result
    assert result["measured_speedup_over_padded"] == 4.5
    assert (result["metrics"], result["examples"]) == ({"accuracy": 0.75}, 17)
    told = capsys.readouterr().out
    assert "dev accuracy 0.7500 before re-training" in told
    assert "measured" not in told  # evaluate measures again, and only its figure is shown
    assert "keeps 5,3,2 heads" in told
