"""A process that is killed in the middle: the others say so and end, and the run goes on to the same result."""

import os
import sys
import time

import numpy as np
import pytest
from conftest import REPOSITORY
from saved_weights import read_weights
from tiny_task import write_checkpoint, write_data

from benchmarks.scale_processes import cluster_variables, started

WITHIN = 60  # seconds, in which the others end


@pytest.fixture
def command(tmp_path):
    """The command of a run with dropout, by the folder of its results."""
    write_checkpoint(tmp_path / "checkpoint")
    write_data(tmp_path / "data")
    flags = {
        "task": "SST-2",
        "stage": "finetune",
        "checkpoint": tmp_path / "checkpoint",
        "data_dir": tmp_path / "data",
        "max_seq_length": 23,
        "epochs": 3,
        "batch_size": 2,
        "deterministic": True,
        "checkpoint_steps": 3,
        "cost_model": "multiply_adds",
        "distribution": "multi_worker",
    }
    given = [f"--{name}={value}" for name, value in flags.items()]
    return lambda name: [sys.executable, "run_glue.py", *given, f"--output_dir={tmp_path / name}"]


def run(command, folder, kill=None, after=None):
    """Exit codes of two processes and what each printed; one may be killed once a file is there."""
    folder.mkdir()
    with started(command, cluster_variables(2), folder) as processes:
        if kill is not None:
            while not list(after()) and processes[kill].poll() is None:
                time.sleep(0.01)
            processes[kill].kill()
            began = time.monotonic()
            processes[1 - kill].wait(timeout=WITHIN)
            assert time.monotonic() - began < WITHIN
        codes = [process.wait(timeout=600) for process in processes]
    return codes, [(folder / f"{number}.{kind}").read_text() for kind in ("out", "err") for number in range(2)]


def test_a_killed_process_ends_the_others_and_the_run_goes_on(tmp_path, command):
    assert REPOSITORY.is_dir()
    codes, printed = run(command("whole"), tmp_path / "0")
    assert codes == [0, 0], printed
    assert printed[1] == ""  # the chief alone speaks
    whole = tmp_path / "whole" / "SST-2"

    killed = tmp_path / "killed" / "SST-2"
    saved = killed / "finetune.partial" / "checkpoints"
    for lost, step in ((1, 1), (0, 3)):
        after = [str(number) for number in range(step, step + 2)]
        codes, printed = run(
            command("killed"),
            tmp_path / f"lost-{lost}",
            kill=lost,
            after=lambda after=after: [name for name in after if (saved / name).exists()],
        )
        assert codes[lost] == -9, printed
        assert codes[1 - lost] == os.EX_UNAVAILABLE, printed
        (line,) = (line for line in printed[3 - lost].splitlines() if line.startswith("error: "))
        assert "another process ended, or cannot be reached" in line
        assert "run the command again" in line
    codes, printed = run(command("killed"), tmp_path / "end")
    assert codes == [0, 0], printed
    assert "goes on from its checkpoint after step" in printed[0]

    found, expected = (read_weights(folder / "finetune" / "model.weights.h5") for folder in (killed, whole))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (killed, whole)]
    assert names[0] == names[1]
