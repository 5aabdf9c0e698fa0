"""Tokenization against Hugging Face `tokenizers`, and how long training waits for input: `python -m benchmarks.input`.

Each engine has a process of its own, bound to its cores, and they are measured in turns, so that drift and noise meet
all of them alike. Ids and segments are compared before anything is timed.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.command import is_installed
from benchmarks.input_engines import CACHED, HUGGING_FACE, MODULES, OURS, Job, is_missing
from benchmarks.tables import measured_on
from powerbert_tf.common.files import replacing, write_json
from powerbert_tf.common.machine import usable_cores
from powerbert_tf.data.tasks import get_task
from powerbert_tf.latency.timing import device_name

_PACKAGES = ("tensorflow", "tensorflow-text", "tokenizers")
_REPOSITORY = Path(__file__).resolve().parent.parent

FLAGS = flags.FLAGS


class Worker:
    """A process that holds one engine.

    Attributes:
        job: What it does.
        first: What its first call made, and how long that took.
    """

    def __init__(self, job: Job, log: Any):
        self.job = job
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.input_engines", json.dumps(dataclasses.asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=_REPOSITORY,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.first = self._answer()  # before another process starts, which would slow it down

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.job.engine}: its process ended with {self._process.wait()}; see the log.")
        return json.loads(line)

    def time(self, seconds: float) -> list[float]:
        self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return self._answer()["seconds"]

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


@contextlib.contextmanager
def workers_for(jobs: Sequence[Job], log: Any) -> Iterator[list[Worker]]:
    """A process for each job."""
    with contextlib.ExitStack() as stack:
        workers = []
        for job in jobs:
            workers.append(Worker(job, log))
            stack.callback(workers[-1].close)
        yield workers


def check_agreement(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
    """Returns the number of rows.

    Raises:
        RuntimeError: Engines made different ids or segments.
    """
    (first, expected), *others = answers
    for engine, answer in others:
        if any(answer[name] != expected[name] for name in ("rows", "sha256")):
            raise RuntimeError(f"{engine} and {first} make different ids or segments.")
    return expected["rows"]


def measure(workers: Sequence[Worker], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Rows a second of each engine, all in turns."""
    num_rows = check_agreement([(worker.job.engine, worker.first) for worker in workers])
    times: list[list[float]] = [[] for _ in workers]
    for turn in range(rounds):
        for number in np.roll(np.arange(len(workers)), -turn):
            times[number] += workers[number].time(seconds)
    return [
        {
            "engine": worker.job.engine,
            "cores": worker.job.cores,
            "rows": num_rows,
            "first_seconds": worker.first["first_seconds"],
            "calls": len(seconds),
            **{
                f"rows_per_second_p{share}": num_rows / float(np.percentile(seconds, 100 - share))
                for share in (10, 50, 90)
            },
        }
        for worker, seconds in zip(workers, times, strict=True)
    ]


def measure_input_wait(task: str, data_dir: str, checkpoint: str, examples: int) -> dict[str, Any]:
    """Fine-tunes for two epochs by the command line, and reads what the log says of the second.

    Raises:
        RuntimeError: It did not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = {"task": task, "data_dir": data_dir, "checkpoint": checkpoint, "train_examples": examples, "epochs": 2}
        done = subprocess.run(
            [sys.executable, "run_glue.py", "--stage=finetune", f"--output_dir={folder}", f"--cache_dir={folder}/cache"]
            + [f"--{name}={value}" for name, value in given.items()],
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"run_glue.py ended with {done.returncode}: {done.stderr}")
        stage = Path(folder) / task / "finetune"
        settings = json.loads((stage / "result.json").read_text(encoding="utf-8"))["settings"]
        epoch = json.loads((stage / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    steps = -(-examples // settings["batch_size"])
    return {
        "checkpoint": settings["checkpoint"],
        "batch_size": settings["batch_size"],
        "steps": steps,
        "step_ms": 1000 * epoch["train_seconds"] / steps,
        "share": epoch["input_wait_share"],
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as text."""
    unit = "pairs" if get_task(report["task"]).is_pair else "texts"
    theirs = {row["cores"]: row["rows_per_second_p50"] for row in report["results"] if row["engine"] == HUGGING_FACE}
    lines = [
        f"| engine | cores | {unit} a second, median | p10 to p90 | times `tokenizers` | first call, ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["results"]:
        low, median, high = (row[f"rows_per_second_p{share}"] for share in (10, 50, 90))
        ratio = f"{median / theirs[row['cores']]:.1f}" if row["cores"] in theirs else ""
        first = f"{1000 * row['first_seconds']:.0f}"
        cells = [row["engine"], row["cores"], f"{median:,.0f}", f"{low:,.0f} to {high:,.0f}", ratio, first]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    skipped = "".join(f" {engine}: not installed, skipped." for engine in report["skipped"])
    rows = report["results"][0]["rows"]
    sections = [
        f"# Input, {report['task']}",
        f"`{report['command']}`\n\n{measured_on(report)}{skipped} "
        f"{rows:,} {unit}, at most {report['max_seq_length']} word-pieces each; ids and segments are equal.",
        "\n".join(lines),
        "Ours ends with arrays, theirs with objects that hold lists. From disk, the hash of the texts and the check of "
        "the file are part of the time. Our first call traces a graph, once for all splits.",
    ]
    if wait := report["input_wait"]:
        sections.append(
            f"Fine-tuning {wait['checkpoint']} in batches of {wait['batch_size']} waits for input "
            f"**{wait['share']:.2%}** of the time: {wait['steps']} steps of {wait['step_ms']:.0f} ms, second epoch."
        )
    return "\n\n".join(sections) + "\n"


def define_flags() -> None:
    """Of the command alone: other commands have flags of the same names."""
    flags.DEFINE_string("task", "MRPC", "Whose texts: all of its splits.")
    flags.DEFINE_string(
        "data_dir", "glue_data", "Folder that holds <TASK>/{train,dev,test}.tsv; else the sample is taken."
    )
    flags.DEFINE_string("checkpoint", "", "Whose vocabulary, and which model to train; empty for MiniLM.")
    flags.DEFINE_integer("rounds", 5, "Times that each engine is called upon.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "Seconds each time, at least.", lower_bound=0.01)
    flags.DEFINE_integer(
        "train_examples", 1024, "Of each of two epochs of training; 0 to train nothing.", lower_bound=0
    )
    flags.DEFINE_string("output", "", "Files to write, without suffix; empty for benchmarks/results/input-<task>.")


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    task = get_task(FLAGS.task)
    cores = usable_cores()
    skipped = [engine for engine in MODULES if is_missing(engine)]
    for engine in skipped:
        print(f"{engine}: skipped, {MODULES[engine]} is not installed")
    wanted = [(engine, count) for engine in (OURS, HUGGING_FACE) for count in sorted({1, cores})] + [(CACHED, cores)]
    output = Path(FLAGS.output or Path(__file__).parent / "results" / f"input-{task.name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, output.with_suffix(".log").open("w", encoding="utf-8") as log:
        jobs = [
            Job(engine, count, task.name, os.path.abspath(FLAGS.data_dir), FLAGS.checkpoint, folder)
            for engine, count in wanted
            if engine not in skipped
        ]
        with workers_for(jobs, log) as workers:
            results = measure(workers, FLAGS.rounds, FLAGS.seconds)
    examples = FLAGS.train_examples
    report = {
        "command": " ".join(["python -m benchmarks.input", *_flags_of_the_measurement()]),
        "date": datetime.date.today().isoformat(),
        "device": device_name(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if is_installed(name)},
        "task": task.name,
        "max_seq_length": task.max_seq_length,
        "skipped": skipped,
        "results": results,
        "input_wait": measure_input_wait(task.name, os.path.abspath(FLAGS.data_dir), FLAGS.checkpoint, examples)
        if examples
        else None,
    }
    write_json(output.with_suffix(".json"), report)
    with replacing(output.with_suffix(".md")) as path:
        path.write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def _flags_of_the_measurement() -> list[str]:
    return [given for given in sys.argv[1:] if not given.startswith("--output")]


if __name__ == "__main__":
    define_flags()
    app.run(main)
