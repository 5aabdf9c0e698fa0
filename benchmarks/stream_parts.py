"""What the benchmarks of files larger than memory share: rows, a tiny checkpoint, a process that is watched."""

import dataclasses
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parent.parent / "run_glue.py"
_WORDS = (
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
)


def write_rows(path: Path, count: int, labeled: bool = False) -> None:
    """A CSV with `number,text`, or `number,text,label`: texts of 5 to 12 words, the label whether "good" is in it."""
    draw = random.Random(count)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"number,text{',label' if labeled else ''}\n")
        for number in range(count):
            words = draw.choices(_WORDS, k=draw.randrange(5, 13))
            label = f",{'yes' if 'good' in words else 'no'}" if labeled else ""
            file.write(f"{number},{' '.join(words)}{label}\n")


def write_tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint with 2 encoders of width 32; it is for memory, not for answers."""
    from benchmarks.random_checkpoint import SHAPES, write_random_checkpoint
    from powerbert_tf.checkpoints import find_checkpoint

    config = dataclasses.replace(
        SHAPES["minilm"], num_hidden_layers=2, num_attention_heads=2, hidden_size=32, intermediate_size=128
    )
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    write_random_checkpoint(checkpoint, config, num_classes=2)
    shutil.copy(find_checkpoint().folder / "vocab.txt", checkpoint)
    return checkpoint


def command_of(given: Mapping[str, Any]) -> list[str]:
    """`run_glue.py` with these flags."""
    return [sys.executable, str(PROGRAM), *(f"--{name}={value}" for name, value in given.items())]


def run_watched(command: list[str], log: Path) -> tuple[float, float]:
    """Runs a command; seconds, and the peak of its memory in MiB.

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
    """Peak of the memory that a process holds; `ru_maxrss` would count that of the process which started it, too."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")), 0.0)
