"""One run at a time in a folder, and a dead one holds nothing."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.locks import LOCK_FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from powerbert_tf.common.locks import locked
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


def test_a_folder_that_an_ending_run_removes_is_made_again_and_locked(tmp_path, monkeypatch):
    folder, opened, left = tmp_path / "run", os.open, [3]

    def open_after_removal(path, *arguments):
        if str(path).endswith(LOCK_FILE) and left:
            left.pop()
            folder.rmdir()
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", open_after_removal)
    with locked(folder):
        assert (folder / LOCK_FILE).exists()
        with pytest.raises(InputError, match="in use by another run"), locked(folder):
            pytest.fail("held twice")
