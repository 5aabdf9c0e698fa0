"""How processes of JAX come together, and what a lost one looks like; `test_scale` and `test_lost_process` run them."""

import types

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.training.distribution.cluster import Cluster
from powerbert_tf.training.distribution.jax_devices import connect, data_parallel, is_lost_process

jax = pytest.importorskip("jax")

# As JAX 0.10 says it.
LOST = (
    ValueError(
        "UNKNOWN: Gloo AllGather failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
    ),
    RuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: [Init]connect_to_peers::0"),
    RuntimeError("UNAVAILABLE: Task 1 heartbeat timeout."),
)


def test_errors_of_a_lost_process_are_told_from_others():
    assert all(is_lost_process(error) for error in LOST)
    others = (ValueError("Incompatible shapes for broadcasting: (3,) and requested shape (5,)"), KeyError("gloo"))
    assert not any(is_lost_process(error) for error in others)


def test_processes_that_come_too_late_or_not(monkeypatch):
    cluster = Cluster(("a:1", "b:2"), 1)
    asked = []

    def initialize(*arguments, **options):
        asked.append(arguments)
        raise RuntimeError("jax.distributed.initialize() must be called before any JAX calls")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(InputError, match=r"--distribution=multi_worker: .*before any JAX calls"):
        connect(cluster)
    assert asked == [("a:1", 2, 1)]


def test_processes_have_as_many_devices_each(monkeypatch):
    devices = [types.SimpleNamespace(platform="cpu", id=number, process_index=number // 2) for number in range(3)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    with pytest.raises(InputError, match=r"the processes have 2, 1 devices of JAX; expected the same number each"):
        data_parallel()
