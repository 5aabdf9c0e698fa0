"""Speed-ups from made-up times: which models and batches are measured, and what is divided by what."""

import numpy as np
import pytest

from powerbert_tf import speed

MILLISECONDS = {
    ("dense", "grouped"): 30.0,
    ("reduced", "grouped"): 10.0,
    ("dense", "batch"): 50.0,
    ("dense", "max"): 70.0,
}


@pytest.fixture
def measured(monkeypatch):
    """Replaces the clock; returns what was measured: models, padding, number of batches at most."""
    seen = []

    def batches(encoded, batch_size, padding, max_batches):
        return [padding] * 3

    def latency(models, given, repeats):
        seen.append((tuple(models), given[0]))
        return {name: MILLISECONDS[name, given[0]] + np.array([-2.0, 0.0, 2.0]) for name in models}

    monkeypatch.setattr(speed, "latency_batches", batches)
    monkeypatch.setattr(speed, "measure_latency", latency)
    return seen


def test_speedups_are_against_three_ways_of_running_the_dense_model(measured):
    found = speed.compare_speed("dense model", "reduced model", encoded=None, batch_size=7)
    assert found["grouped"] == pytest.approx(30 / 10)
    assert found["batch"] == pytest.approx(50 / 10)
    assert found["padded"] == pytest.approx(70 / 10)
    assert found["milliseconds"] == pytest.approx(
        {
            "dense, grouped by length": 30,
            "dense, padded to the batch": 50,
            "dense, padded to N": 70,
            "reduced, grouped by length": 10,
        }
    )
    assert found["batch_size"] == 7
    assert (("dense", "reduced"), "grouped") in measured  # both from one run


def test_the_baselines_have_the_names_of_the_plot(measured):
    milliseconds = speed.measure_baselines("dense model", encoded=None, batch_size=7)
    assert milliseconds == pytest.approx({"grouped by length": 30, "padded to the batch": 50, "padded to N": 70})
