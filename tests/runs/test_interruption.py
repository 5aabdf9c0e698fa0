"""The command line when it is asked to stop, and what is refused or explained in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import REPOSITORY
from saved_weights import read_weights
from tiny_bert import tiny_config
from tiny_task import write_checkpoint, write_data

from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.config import BertConfig
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.stage_runner import explained_memory


@pytest.fixture
def processes():
    """Those that a test starts, none of which outlives it."""
    started = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_that_is_told_to_leave_goes_on_to_the_same_bits_as_another(tmp_path, processes):
    write_checkpoint(tmp_path / "checkpoint")
    write_data(tmp_path / "data")

    def start(name):
        flags = {
            "task": "SST-2",
            "stage": "finetune",
            "checkpoint": tmp_path / "checkpoint",
            "data_dir": tmp_path / "data",
            "output_dir": tmp_path / name,
            "max_seq_length": 23,
            "epochs": 2,
            "batch_size": 3,
            "deterministic": True,
            "checkpoint_steps": 1,
            "cost_model": "multiply_adds",
        }
        command = [sys.executable, "run_glue.py", *(f"--{name}={value}" for name, value in flags.items())]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE))
        return processes[-1]

    whole, interrupted = start("whole"), start("interrupted")
    saved = tmp_path / "interrupted" / "SST-2" / "finetune.partial" / "checkpoints"
    while interrupted.poll() is None and not list(saved.glob("[0-9]*")):
        time.sleep(0.01)
    interrupted.send_signal(signal.SIGTERM)
    _, error = interrupted.communicate()
    assert interrupted.returncode == 75, error.decode()
    (line,) = (line for line in error.decode().splitlines() if line.startswith("terminated: "))
    assert re.fullmatch(
        r"terminated: finetune: saved after step \d+ of 32; .*; run the command again, .* to resume", line
    )
    again = start("interrupted")
    for process in (whole, again):
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    found, expected = (
        read_weights(tmp_path / name / "SST-2" / "finetune" / "model.weights.h5") for name in ("interrupted", "whole")
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_memory_that_runs_out_is_explained_with_the_numbers_that_matter():
    settings = resolve_settings("MRPC", batch_size=48, eval_batch_size=96, max_seq_length=64)
    config = BertConfig(
        vocab_size=29989,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=512,
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with (
        pytest.raises(InputError, match=r"finetune: out of memory at --batch_size=48, --max_seq_length=64; ") as caught,
        explained_memory("finetune", settings, config),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nstack trace")
    # 32 million in tables, and 25 times, one too many, the 12.6 million of an encoder; each is there four times.
    assert "the weights take 5.2 GiB in training" in str(caught.value)
    assert f"the machine has {memory:.1f} GiB" in str(caught.value)
    assert "(OOM when allocating tensor)" in str(caught.value)
    with (
        pytest.raises(InputError, match=r"evaluate: out of memory at --eval_batch_size=96, .* take 1\.3 GiB, "),
        explained_memory("evaluate", settings, config),
    ):
        raise MemoryError


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 10**6, "num_attention_heads": 10}, "ask for about .* weights; expected at most 1e.10"),
        ({"vocab_size": 10**12}, "vocab_size=1000000000000 and the other sizes ask for about 4e.13 weights"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000; expected at most 1000"),
    ],
)
def test_sizes_that_no_machine_has_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        BertConfig(**{**tiny_config(), **sizes})


def test_sizes_that_the_files_cannot_hold_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    path = folder / "bert_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "vocab_size": 10**8}))
    with pytest.raises(InputError, match=r"bert_config\.json: its sizes ask for about 3\.5e\+09 weights; "):
        find_checkpoint(folder)
