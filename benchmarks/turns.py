"""Engines in processes of their own, measured in turns, so that drift and noise meet all of them alike."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.backends import process_environment
from benchmarks.engine import Job
from benchmarks.worker import ENGINES, PEAK


class Worker:
    """A process that holds one engine.

    Args:
        grid: `"inference"` or `"training"`.
        engine: Its name.
        job: What it builds.
        log: File for what libraries print.
        module: What runs in the process.
    """

    def __init__(self, grid: str, engine: str, job: Any, log: Any, module: str = "benchmarks.worker"):
        self.name = engine
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, grid, engine, json.dumps(dataclasses.asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **process_environment(job.device, job.threads)},
        )

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            RuntimeError: The process has ended.
        """
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.name}: its process ended with status {self._process.wait()}; see the log.")
        return json.loads(line)

    def ask(self, **request: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Times that each engine is called upon for each cell.
        calls: Calls each time, at least.
        seconds: Seconds each time, at least.
        at_once: Engines that are held in memory at once, and take turns; 0 for all.
    """

    rounds: int
    calls: int
    seconds: float
    at_once: int = 0


def measure_grid(
    grid: str,
    engines: Iterable[str],
    job: Job,
    cells: Sequence[tuple[int, int]],
    effort: Effort,
    check: Callable[[int, int, Mapping[str, Mapping[str, Any]]], None],
    log: Any,
) -> dict[str, Any]:
    """Builds the engines, checks what they answer and times all of them on all cells.

    Args:
        grid: `"inference"` or `"training"`.
        engines: Names of those that are wanted.
        job: What they build.
        cells: Batch and length.
        effort: How long to measure.
        check: Called before a cell is timed with its batch and length and the first answers by engine; raises where
            they are wrong.
        log: File for what libraries print.

    Returns:
        `results`, a row an engine and cell; `skipped`, why others are missing, by name; `device`; and
        `matrix_product_peak`, multiply-adds a second.

    Raises:
        RuntimeError: An engine failed.
        ValueError: No engine can do the job; says why.
    """
    skipped, wanted = {}, []
    for name in engines:
        missing = ENGINES[grid][name].missing
        if missing:
            skipped[name] = f"{', '.join(missing)} not installed"
        else:
            wanted.append(name)
    with _working([PEAK], grid, job, log) as (peak, ready):
        if "unavailable" in ready[PEAK]:
            raise ValueError(f"--device={job.device}: {ready[PEAK]['unavailable']}.")
        peaks = peak[PEAK].ask()["multiply_adds_a_second"][1:]
        results: list[dict[str, Any]] = []
        answers: dict[tuple[int, int], dict[str, Any]] = {cell: {} for cell in cells}
        for start in range(0, len(wanted), effort.at_once or len(wanted)):
            group = wanted[start : start + (effort.at_once or len(wanted))]
            with _working(group, grid, job, log) as (workers, told):
                skipped |= {name: answer["unavailable"] for name, answer in told.items() if "unavailable" in answer}
                there = {name: worker for name, worker in workers.items() if name not in skipped}
                results += _take_turns(there, answers, effort, check)
        peaks += peak[PEAK].ask()["multiply_adds_a_second"]
    if not results:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"--engines: none can be measured ({reasons}).")
    for name, reason in skipped.items():
        print(f"{name}: skipped, {reason}", flush=True)
    return {
        "results": results,
        "skipped": skipped,
        "device": ready[PEAK]["device"],
        "matrix_product_peak": float(np.median(peaks)),
    }


@contextlib.contextmanager
def _working(
    names: Sequence[str], grid: str, job: Job, log: Any
) -> Iterator[tuple[dict[str, Worker], dict[str, dict[str, Any]]]]:
    """Workers and what they say when they are ready, by engine."""
    workers = {name: Worker(grid, name, job, log) for name in names}
    try:
        yield workers, {name: worker.answer() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()


def _take_turns(workers: Mapping[str, Worker], answers, effort: Effort, check) -> list[dict[str, Any]]:
    """Adds to the first answers of engines by cell, and times those of `workers`."""
    results = []
    with tqdm(total=len(answers) * (effort.rounds + 1) * len(workers), unit="turn", disable=None) as bar:
        for (batch, length), first in answers.items():
            for name, worker in workers.items():
                bar.set_description(f"{batch} x {length}, {name}")
                first[name] = worker.ask(batch=batch, length=length, calls=0, seconds=0)
                bar.update()
            check(batch, length, first)
            times, peaks = time_in_turns(workers, batch, length, effort, bar)
            for name, milliseconds in times.items():
                p50, p90, p99 = (float(np.percentile(milliseconds, share)) for share in (50, 90, 99))
                results.append(
                    {
                        "engine": name,
                        "batch": batch,
                        "length": length,
                        "p50_ms": p50,
                        "p90_ms": p90,
                        "p99_ms": p99,
                        "first_ms": first[name]["first_ms"],
                        "calls": len(milliseconds),
                        "peak_mib": peaks[name],
                    }
                )
    return results


def time_in_turns(
    workers: Mapping[str, Worker], batch: int, length: int, effort: Effort, bar: tqdm
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of each call, and the most memory that each process held, in MiB."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    peaks = dict.fromkeys(workers, 0.0)
    names = list(workers)
    for turn in range(effort.rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            answer = workers[name].ask(batch=batch, length=length, calls=effort.calls, seconds=effort.seconds)
            times[name] += answer["ms"]
            peaks[name] = max(peaks[name], answer["peak_mib"])
            bar.update()
    return times, peaks
