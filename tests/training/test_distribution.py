"""What is refused before anything runs on many devices."""

import json
import re
import shlex

import keras
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import REPOSITORY

from powerbert_tf import command_line
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.training.distribution.cluster import Cluster, read_cluster
from powerbert_tf.training.distribution.devices import Active, Devices, active_devices, check_batch_size
from powerbert_tf.training.distribution.launch import LOST_EXIT_CODE, distributing
from powerbert_tf.training.distribution.replicas import Replicas

CLUSTER = {"worker": ["a:2222", "b.example:1", "[::1]:65535"]}


def config(cluster=CLUSTER, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_places_in_a_cluster():
    assert read_cluster(config(type="worker", index=2)) == Cluster(tuple(CLUSTER["worker"]), 2)
    with_chief = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert read_cluster(config(with_chief, type="chief", index=0)) == Cluster(("a:1", "b:1", "c:1"), 0)
    assert read_cluster(config(with_chief, type="worker", index=1)) == Cluster(("a:1", "b:1", "c:1"), 2)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"--distribution=multi_worker: the variable TF_CONFIG is not set; expected .*\"cluster\""),
        ({"TF_CONFIG": " "}, "is not set"),
        ({"TF_CONFIG": "{"}, r"TF_CONFIG: not JSON \(.*\); expected such as"),
        ({"TF_CONFIG": "[" * 100_000}, "TF_CONFIG: not JSON"),
        ({"TF_CONFIG": "[]"}, "not an object with cluster and task"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "not an object with cluster and task"),
        (config({}, type="worker", index=0), "the cluster has no chief and no worker"),
        (config({**CLUSTER, "ps": ["c:1"]}, type="worker", index=0), "jobs that train nothing here: ps"),
        (config({"chief": ["a:1", "b:1"]}, type="chief", index=0), "more than one chief"),
        (config({"worker": "a:1"}, type="worker", index=0), "worker is 'a:1', not a list"),
        (config({"worker": ["a"]}, type="worker", index=0), "worker has 'a', not a host:port"),
        (config({"worker": ["a:65536"]}, type="worker", index=0), "worker has 'a:65536', not a host:port"),
        (config({"worker": [7]}, type="worker", index=0), "worker has 7, not a host:port"),
        (config({"worker": ["a:1", "a:1"]}, type="worker", index=0), "a:1 is there more than once"),
        (config(type="chief", index=0), "the task's type is 'chief', which is not a job of the cluster"),
        (config(type="worker", index=3), "index is 3; the cluster has 3 of type worker, from 0"),
        (config(type="worker", index="0"), "index is '0'"),
        (config(type="worker", index=True), "index is True"),
        (config(type="worker"), "index is None"),
    ],
)
def test_a_cluster_that_cannot_be(environment, message):
    with pytest.raises(InputError, match=message):
        read_cluster(environment)


def test_one_device_is_allowed_and_told(capsys):
    assert type(active_devices()) is Devices
    with distributing("mirrored"):
        opened = active_devices()
        assert isinstance(opened, Replicas)
        assert opened.count == 1
        with distributing("mirrored"):  # as the command line and the pipeline do
            pass
        assert active_devices() is opened
    assert type(active_devices()) is Devices
    assert capsys.readouterr().out == "distribution: 1 CPU; a single device gives the same as without it, only slower\n"


def test_what_there_is_not(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, message in {
        "two": "--distribution=two: expected one of none, mirrored, multi_worker, tpu",
        "multi_worker": "the variable TF_CONFIG is not set",
        "tpu": "--distribution=tpu, --tpu='': no TPU .*; expected its name or address",
    }.items():
        with pytest.raises(InputError, match=message), distributing(name):
            pass
    with pytest.raises(InputError, match=r"--tpu=local: expected --distribution=tpu, too"):
        resolve_settings("MRPC", tpu="local")


def test_backends_that_cannot(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with (
        pytest.raises(InputError, match="--distribution=mirrored: KERAS_BACKEND is torch; expected tensorflow or jax"),
        distributing("mirrored"),
    ):
        pass


def test_a_batch_smaller_than_the_devices(monkeypatch):
    check_batch_size(1)
    five = Devices()
    five.count = 5
    monkeypatch.setattr(Active, "devices", five)
    check_batch_size(5)
    with pytest.raises(
        InputError, match=r"--batch_size=4: less than the 5 devices of .*; expected at least 5, or fewer"
    ):
        check_batch_size(4)


def test_what_the_page_tells_to_type():
    text = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    told = set()
    for line in lines:
        first, *rest = shlex.split(line)
        if first == "export":
            (variable,) = rest
            assert read_cluster(dict([variable.split("=", 1)])).rank == 0
            continue
        with flagsaver.flagsaver():
            assert command_line.parse(rest) == ["run_glue.py"]
            told.add(flags.FLAGS.distribution)
    assert told == {"mirrored", "multi_worker", "tpu"}
    assert f"| {LOST_EXIT_CODE} | another process ended" in text
