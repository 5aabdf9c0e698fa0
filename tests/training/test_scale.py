"""Training and evaluation on many devices and in many processes are those of one device."""

import importlib.util

import numpy as np
import pytest
from tiny_bert import tiny_config

from benchmarks.scale.cluster import run_job
from benchmarks.scale.process import Job

pytestmark = pytest.mark.slow

CONFIG = tiny_config(num_hidden_layers=2, num_attention_heads=3, head_size=11, dropout=0.0)
STEPS = 25  # whole epochs of 5
# `python -m benchmarks.scale` does all kinds of training in all ways. Each takes seconds to be built: here each kind is
# trained in some ways, and each way trains some kind.
KINDS = ("finetune", "paper", "soft", "elastic")


def job(**changes):
    return Job(**{"config": CONFIG, "kinds": KINDS, "steps": STEPS, **changes})


@pytest.fixture(scope="module")
def alone():
    """Each kind of training on one device."""
    return run_job(job())


def assert_same(found, expected):
    for kind, values in found.items():
        wanted = expected[kind]
        assert len(values["losses"]) == STEPS, kind
        assert np.ptp(wanted["losses"]) > 0.1, kind  # it learns something
        np.testing.assert_allclose(values["losses"], wanted["losses"], atol=1e-4, err_msg=kind)
        assert values["metrics"] == pytest.approx(wanted["metrics"]), kind
        np.testing.assert_allclose(values["logits"], wanted["logits"], atol=1e-2, err_msg=kind)
        np.testing.assert_allclose(values["weights"], wanted["weights"], rtol=1e-3, atol=1e-2, err_msg=kind)


def test_mirrored(alone):
    # The last batch of an epoch has 3 rows: one of the devices has none.
    assert_same(run_job(job(distribution="mirrored", devices=4, kinds=("paper",))), alone)


def test_processes(alone):
    assert_same(run_job(job(distribution="multi_worker", kinds=("elastic",)), processes=3), alone)


@pytest.mark.parametrize(
    ("way", "kinds", "processes", "devices"),
    [("mirrored", ("finetune",), 1, 8), ("multi_worker", ("soft",), 2, 2)],
)
def test_jax(alone, way, kinds, processes, devices):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    assert_same(run_job(job(distribution=way, kinds=kinds), processes, devices), alone)
