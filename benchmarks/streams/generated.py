"""Generated rows, and a process whose memory is watched."""

import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.common.command import REPOSITORY, define_flags

_WORDS = [
    "a",
    "film",
    "that",
    "is",
    "as",
    "good",
    "bad",
    "long",
    "short",
    "loud",
    "quiet",
    "old",
    "never",
    "new",
    "says",
]


def define_stream_flags(rows: str) -> None:
    """Defines the flags of both commands; `rows` names the rows in the help text."""
    define_flags()
    flags.DEFINE_list("rows", ["10000", "100000", "1000000"], f"{rows} of each file.")
    flags.DEFINE_integer("batch_size", 512, "Of all that the model computes; a tiny one wants large batches.")
    flags.DEFINE_string("scratch", "", "Folder for generated rows and results; empty for the system's.")


def write_rows(path: Path, count: int, labeled: bool = False) -> None:
    """Writes a CSV with `number,text[,label]`: texts of 5 to 12 words, the label whether "good" is among them."""
    draw = random.Random(count)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"number,text{',label' if labeled else ''}\n")
        for number in range(count):
            words = draw.choices(_WORDS, k=draw.randrange(5, 13))
            label = f",{'yes' if 'good' in words else 'no'}" if labeled else ""
            file.write(f"{number},{' '.join(words)}{label}\n")


def command_of(given: Mapping[str, Any]) -> list[str]:
    """Returns the command of `run_glue.py` with these flags."""
    return [sys.executable, str(REPOSITORY / "run_glue.py"), *(f"--{name}={value}" for name, value in given.items())]


def run_watched(command: list[str], log: Path) -> tuple[float, float]:
    """Runs a command; returns seconds, and the peak of its memory in MiB.

    Raises:
        RuntimeError: It failed; the message has the end of its log.
    """
    with log.open("w") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=file)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _peak_mib(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {log.read_text()[-2000:]}")
    return seconds, peak


def _peak_mib(process: int) -> float:
    """The peak memory of a process; `ru_maxrss` would include that of its parent."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")), 0.0)
