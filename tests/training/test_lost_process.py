"""A process that is killed in the middle: the others say so and end, and the run goes on to the same result."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from saved_weights import read_weights
from tiny_task import write_checkpoint, write_data

from benchmarks.scale.cluster import cluster_variables, started

pytestmark = pytest.mark.slow

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
        "epochs": 2,
        "batch_size": 2,
        "length_buckets": 2,  # JAX compiles a step for each
        "deterministic": True,
        "checkpoint_steps": 3,
        "cost_model": "multiply_adds",
        "distribution": "multi_worker",
    }
    given = [f"--{name}={value}" for name, value in flags.items()]
    return lambda name: [sys.executable, "run_glue.py", *given, f"--output_dir={tmp_path / name}"]


def run(command, folder, backend, asked=None, by=None, after=()):
    """Exit codes of two processes and what each printed; one is sent a signal once one of some folders is there."""
    folder.mkdir()
    variables = [{**own, "KERAS_BACKEND": backend} for own in cluster_variables(2)]
    with started(command, variables, folder) as processes:
        if asked is not None:
            while not any(path.exists() for path in after) and processes[asked].poll() is None:
                time.sleep(0.01)
            processes[asked].send_signal(by)
            processes[1 - asked].wait(timeout=WITHIN)
        codes = [process.wait(timeout=600) for process in processes]
    return codes, [[(folder / f"{number}.{kind}").read_text() for number in range(2)] for kind in ("out", "err")]


LOST = ([-signal.SIGKILL, os.EX_UNAVAILABLE], "error: another process ended, or cannot be reached")
LEFT = ([os.EX_TEMPFAIL, os.EX_TEMPFAIL], "terminated: finetune: saved after step")


@pytest.mark.parametrize(
    ("backend", "ways"),
    [
        ("tensorflow", [(0, signal.SIGKILL, *LOST), (1, signal.SIGTERM, *LEFT)]),
        ("jax", [(1, signal.SIGKILL, *LOST)]),
    ],
)
def test_a_run_of_which_one_process_ends_goes_on_to_the_same_result(tmp_path, command, backend, ways):
    pytest.importorskip(backend)
    codes, printed = run(command("whole"), tmp_path / "0", backend)
    assert codes == [0, 0], printed
    assert printed[0][1] == ""  # the chief alone speaks
    whole, ended = (tmp_path / name / "SST-2" for name in ("whole", "ended"))

    saved = ended / "finetune.partial" / "checkpoints"
    for number, (asked, by, expected, told) in enumerate(ways):
        # A newer checkpoint than the runs before left, of which some steps may be done again.
        after = [saved / str(state) for state in range(2 * number + 1, 2 * number + 4)]
        codes, (_, errors) = run(command("ended"), tmp_path / str(number + 1), backend, asked, by, after)
        if backend == "jax" and codes[1 - asked] == -signal.SIGABRT:
            # On a slow machine it misses signs of life first, as docs/scale.md says.
            assert "JAX distributed service detected fatal errors" in errors[1 - asked]
            continue
        assert [codes[asked], codes[1 - asked]] == expected, errors
        (line,) = (line for line in errors[1 - asked].splitlines() if line.startswith(told))
        assert "run the command again" in line
    codes, printed = run(command("ended"), tmp_path / "end", backend)
    assert codes == [0, 0], printed
    assert "resumes from its checkpoint after step" in printed[0][0]

    found, expected = (read_weights(folder / "finetune" / "model.weights.h5") for folder in (ended, whole))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (ended, whole)]
    assert names[0] == names[1]
