"""One run at a time in a folder, and a dead one holds nothing."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from powerbert_tf.errors import InputError
from powerbert_tf.run_lock import LOCK_FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from powerbert_tf.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_second_run_is_refused_and_told_who_holds_it(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        expected = rf"run: in use by another run \(process {holder.pid} on {socket.gethostname()}\); expected one at"
        with pytest.raises(InputError, match=expected), locked(tmp_path / "run"):
            pytest.fail("held twice")
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / LOCK_FILE).exists()  # left by the dead one, and no lock any more
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    assert not list((tmp_path / "run").iterdir())


def test_an_error_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_what_cannot_be_written_is_left_to_what_writes(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with locked(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "in the way"
