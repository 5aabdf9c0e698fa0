"""What C++ libraries write to stderr while they start: notices are dropped, everything else is shown."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # a user who sets it wants to see the log
_QUIET = "2"  # errors only
_STARTED, _FAILED = b"\0", b"\1"  # marks of the end

_NOTICE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\)"
    r"|[IW]\d{4} \d\d:\d\d:\d\d|[IW]\d{4} 00:00:\d+"  # severity, month and day, time or seconds
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
)
# Errors on a machine without a GPU, where they mean nothing more than that.
_NO_GPU = re.compile(r"failed call to cuInit|[Cc]ould not find cuda drivers|Unable to register cu\w+ (factory|plugin)")


def has_gpu_device() -> bool:
    """Whether this machine has a GPU, of NVIDIA or AMD, whether or not a library can use it."""
    return any(map(os.path.exists, ("/dev/nvidia0", "/dev/kfd"))) or any(Path("/dev").glob("nvidia[0-9]*"))


def worth_showing(text: str, has_gpu: bool) -> str:
    """Returns the lines of a start-up log that are no notices; with a GPU, why it cannot be used is no notice."""

    def is_shown(line: str) -> bool:
        return not _NOTICE.match(line) and (has_gpu or not _NO_GPU.search(line))

    return "".join(line for line in text.splitlines(keepends=True) if line.strip() and is_shown(line))


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A block in which C++ libraries start. What they wrote to stderr is filtered when it ends.

    Everything is shown if the block fails, or ends the process. Nothing is held back if the user has set
    `TF_CPP_MIN_LOG_LEVEL`, or if TensorFlow has been imported. Another process holds the log, so that it outlives this.
    """
    if LEVEL in os.environ or not hasattr(os, "fork") or "tensorflow" in sys.modules:
        yield
        return
    os.environ[LEVEL] = _QUIET
    sys.stderr.flush()
    log, into = os.pipe()
    holder = os.fork()
    if not holder:
        os.close(into)
        _hold(log)
    os.close(log)
    before = os.dup(2)
    os.dup2(into, 2)
    os.close(into)
    mark = _FAILED
    try:
        yield
        mark = _STARTED
    finally:
        sys.stderr.flush()
        os.write(2, mark)
        os.dup2(before, 2)
        os.close(before)
        os.waitpid(holder, 0)


def _hold(log: int) -> None:
    """The process that holds the log: shows what is worth it, or all if the other process ended without a mark."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process
    text = b""
    while not text.endswith((_STARTED, _FAILED)) and (part := os.read(log, 1 << 16)):
        text += part
    if text.endswith(_STARTED):
        text = worth_showing(text.removesuffix(_STARTED).decode("utf-8", "replace"), has_gpu_device()).encode()
    os.write(2, text.removesuffix(_FAILED))
    os._exit(0)
