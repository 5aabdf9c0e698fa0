"""What TensorFlow writes to stderr while it starts: notices go, real errors stay, whatever becomes of the process."""

import pytest

from powerbert_tf.common.native_log import worth_showing

NOTICES = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795842259.613460   21848 port.cc:153] oneDNN custom operations are on.
2026-11-28 05:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized.
W0000 00:00:1795842259.613460   21848 gpu_device.cc:2342] Cannot dlopen some GPU libraries.
"""
NO_GPU = "E0000 00:00:1795842264.1   21848 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
REAL = "E0000 00:00:1795842264.1   21848 file.cc:7] the disk is on fire\n"
OTHER = "Illegal instruction\n"


def test_errors_and_what_has_no_level_are_shown():
    assert worth_showing(NOTICES + REAL + NO_GPU + OTHER, has_gpu=False) == REAL + OTHER


def test_where_there_is_a_gpu_it_is_said_why_it_cannot_be_used():
    assert worth_showing(NOTICES + NO_GPU, has_gpu=True) == NO_GPU


HELD = """
import os, sys
from powerbert_tf.common.native_log import held
try:
    with held():
        os.write(2, b"I0000 00:00:1 notice\\nE0000 00:00:2 real\\n")
        exec(sys.argv[1])
except ValueError:
    pass
os.write(2, b"after\\n")
"""


@pytest.mark.parametrize(
    ("then", "code", "shown"),
    [
        ("", 0, ["E0000 00:00:2 real", "after"]),
        ("raise ValueError", 0, ["I0000 00:00:1 notice", "E0000 00:00:2 real", "after"]),
        ("os.abort()", -6, ["I0000 00:00:1 notice", "E0000 00:00:2 real"]),
        ("os._exit(3)", 3, ["I0000 00:00:1 notice", "E0000 00:00:2 real"]),
    ],
)
def test_a_log_outlives_its_process(run_without_level, then, code, shown):
    assert run_without_level(HELD, then, expected=code).stderr.splitlines() == shown


@pytest.fixture
def run_without_level(run_python, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    return run_python


def test_a_user_who_asks_for_the_log_sees_it(run_python):
    shown = run_python(HELD, "", TF_CPP_MIN_LOG_LEVEL="0").stderr
    assert "I0000 00:00:1 notice" in shown


@pytest.mark.slow
def test_a_start_is_quiet_and_says_what_is_used(run_without_level):
    command = "import sys; sys.argv[0] = 'powerbert'; from powerbert_tf import command_line; command_line.start()"
    done = run_without_level(
        command, "--task=SST-2", "--data_dir=glue_data/sample", "--output_dir=/dev/null/x", expected=2
    )
    assert [line[:6] for line in done.stderr.splitlines() if not line.startswith("#")] == ["error:"]
    assert done.stdout.startswith("device: ")
