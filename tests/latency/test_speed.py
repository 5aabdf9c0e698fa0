"""Speed-ups from made-up times: which models and batches are measured, and what is divided by what."""

import numpy as np
import pytest

from powerbert_tf.latency import speed
from powerbert_tf.runs.settings import resolve_settings

TEST = speed.SpeedTest(encoded=None, batch_size=7, inference=resolve_settings("MRPC").inference)

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

    def batches(encoded, batch_size, padding, max_batches, length_buckets):
        seen.append(("buckets", length_buckets))
        seen.append((padding, max_batches))
        return [padding] * 3

    def latency(models, given, repeats, jit_compile):
        seen.append(("XLA", jit_compile))
        seen.append((tuple(models), given[0]))
        return {name: MILLISECONDS[name, given[0]] + np.array([-2.0, 0.0, 2.0]) for name in models}

    monkeypatch.setattr(speed, "latency_batches", batches)
    monkeypatch.setattr(speed, "measure_latency", latency)
    return seen


def test_speedups_are_against_three_ways_of_running_the_dense_model(measured):
    found = TEST.compare("dense model", "reduced model")
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


def test_the_speedup_over_padded_takes_one_batch_of_the_one_shape_there_is(measured):
    found = TEST.speedup_over_padded("dense model", "reduced model")
    assert found == pytest.approx(70 / 10)
    assert ("max", 1) in measured
    assert ("grouped", 8) in measured


def test_the_baselines_have_the_names_of_the_plot(measured):
    milliseconds = TEST.baselines("dense model")
    assert milliseconds == pytest.approx({"grouped by length": 30, "padded to the batch": 50, "padded to N": 70})


def test_xla_is_measured_on_few_lengths_and_the_plain_graph_on_each_batch_as_it_is(measured):
    found = TEST.compare("dense model", "reduced model")
    assert {("XLA", False), ("buckets", None)} <= set(measured)
    assert "XLA" not in found["device"] + TEST.describe()
    measured.clear()
    compiled = speed.SpeedTest(None, 32, resolve_settings("MRPC", jit_compile=True, length_buckets=5).inference)
    found = compiled.compare("dense model", "reduced model")
    assert {given for given in measured if given[0] in ("XLA", "buckets")} == {("XLA", True), ("buckets", 5)}
    assert found["device"].endswith(", XLA")
    assert ", XLA, batch 32, " in compiled.describe()
