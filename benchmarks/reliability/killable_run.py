"""A run in a process of its own that can be killed at any moment: by the clock, or before the n-th change of a file."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from powerbert_tf import command_line

_BEGUN = ": running ("  # of a stage
_CHANGED = "changes of files: "  # last line of the log of a process that was not killed
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")


def run_process(
    arguments: Sequence[str], log: Path, kill_after: float | None = None, kill_before: int | None = None
) -> tuple[int | None, float]:
    """Runs `run_glue.py`.

    It is forked, and the clock starts with its last stage; otherwise most kills would hit an import of TensorFlow.

    Args:
        arguments: Flags.
        log: Gets what it prints, at its end.
        kill_after: Seconds of its last stage after which it is killed.
        kill_before: Number of the change of a file, from 1, before which it is killed.

    Returns:
        Its exit code, None where it was killed, and the seconds of its last stage.
    """
    log.touch()
    earlier = log.read_text().count(_BEGUN)
    pid = os.fork()
    if not pid:
        _child(arguments, log, kill_before)
    began = 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return (None if code == -signal.SIGKILL else code), time.monotonic() - began
        if log.read_text().count(_BEGUN) > earlier:
            began, earlier = time.monotonic(), earlier + 1
        if kill_after is not None and began and time.monotonic() - began >= kill_after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None, kill_after
        time.sleep(0.005)


def changes_of_files(log: Path) -> int:
    """How many the last process made that was not killed."""
    return int(log.read_text().rpartition(_CHANGED)[2].split()[0])


def _child(arguments: Sequence[str], log: Path, kill_before: int | None) -> None:
    changes = 0

    def count(event: str, values: tuple) -> None:
        nonlocal changes
        if event in _CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & _WRITES):
            changes += 1
            if changes == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.addaudithook(count)
        flags.FLAGS(["run_glue.py", *arguments])
        command_line.main(["run_glue.py"])
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        print(f"{_CHANGED}{changes}", flush=True)
        os._exit(code)
