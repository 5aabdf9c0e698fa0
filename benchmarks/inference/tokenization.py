"""Tokenization against Hugging Face `tokenizers`, and how long training waits for input.

python -m benchmarks.inference.tokenization --data_dir=glue_data

Each engine has a process of its own, bound to its cores, and they are measured in turns, so that drift and noise meet
all of them alike. Ids and segments are compared before anything is timed.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.common.command import FLAGS, REPOSITORY, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from powerbert_tf.common.machine import usable_cores
from powerbert_tf.common.processes import Worker, milliseconds, turns, use_cores
from powerbert_tf.data.tasks import get_task

OURS, CACHED, HUGGING_FACE = "ours", "ours, from disk", "Hugging Face tokenizers"
MODULES = {OURS: "tensorflow_text", CACHED: "tensorflow_text", HUGGING_FACE: "tokenizers"}


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process tokenizes: the texts of all splits of a task."""

    engine: str  # one of `MODULES`
    cores: int  # at most
    task: str
    data_dir: str
    checkpoint: str  # whose vocabulary; empty for MiniLM
    folder: str  # for what is kept on disk


def is_missing(engine: str) -> bool:
    """Whether an engine's module is not installed."""
    return importlib.util.find_spec(MODULES[engine]) is None


def digest(rows: Iterable[tuple[Any, Any]]) -> str:
    """SHA-256 of ids and segments, each `[n]`, of every row."""
    total = hashlib.sha256()
    for ids, segments in rows:
        total.update(np.int32(len(ids)).tobytes())
        total.update(np.asarray(ids, "int32").tobytes())
        total.update(np.asarray(segments, "int32").tobytes())
    return total.hexdigest()


def build(job: Job) -> tuple[int, Callable[[], Any], Callable[[Any], Iterable[tuple[Any, Any]]]]:
    """Returns the number of rows, a function to time, and one that reads ids and segments from its result."""
    from powerbert_tf.checkpoints import find_checkpoint
    from powerbert_tf.data.datasets import load_dataset
    from powerbert_tf.data.splits import Split
    from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased, read_vocabulary

    task = get_task(job.task)
    vocabulary = read_vocabulary(find_checkpoint(job.checkpoint).folder / "vocab.txt")
    lower_case = not is_cased(vocabulary)
    splits = load_dataset(task, job.data_dir).splits.values()
    columns = tuple([text for split in splits for text in split.texts[number]] for number in range(1 + task.is_pair))
    num_rows = len(columns[0])

    if job.engine == HUGGING_FACE:
        import tokenizers

        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        tokenizer = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)._tokenizer
        tokenizer.enable_truncation(task.max_seq_length)
        texts = list(zip(*columns, strict=True)) if task.is_pair else columns[0]
        # Without offsets, which nobody asks for here.
        return num_rows, lambda: tokenizer.encode_batch_fast(texts), lambda rows: ((r.ids, r.type_ids) for r in rows)

    from powerbert_tf.batches.encoded_cache import load_encoded
    from powerbert_tf.batches.encoded_split import encode_split

    given = Split(columns, None, None), Tokenizer(vocabulary, lower_case), task.max_seq_length

    def rows(encoded):
        for start, second, end in encoded.spans:
            yield encoded.token_ids[start:end], np.arange(start, end) >= second

    if job.engine == CACHED:
        return num_rows, lambda: load_encoded(*given, Path(job.folder)), rows
    return num_rows, lambda: encode_split(*given), rows


def serve(given: dict[str, Any]) -> tuple[dict[str, Any], Callable]:
    """Tokenizes in a process of its own, see `processes`.

    The first answer is `{"rows", "sha256", "first_seconds"}`: what the first call made and how long it took. A request
    `{"seconds"}` is answered by `{"seconds": [...]}` of calls that together take at least that long.
    """
    job = Job(**given)
    use_cores(job.cores)
    num_rows, run, read = build(job)
    made: list[Any] = []
    first = milliseconds(lambda: made.append(run())) / 1000
    answer = {"rows": num_rows, "sha256": digest(read(made.pop())), "first_seconds": first}
    run()

    def respond(given):
        times: list[float] = []
        while sum(times) < given["seconds"]:
            times.append(milliseconds(run) / 1000)
        return {"seconds": times}

    return answer, respond


def check_agreement(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
    """Checks that engines made the same ids and segments; returns the number of rows.

    Raises:
        RuntimeError: Engines made different ids or segments.
    """
    (first, expected), *others = answers
    for engine, answer in others:
        if any(answer[name] != expected[name] for name in ("rows", "sha256")):
            raise RuntimeError(f"{engine} and {first} make different ids or segments.")
    return expected["rows"]


def measure(jobs: Sequence[Job], rounds: int, seconds: float, log: Any) -> list[dict[str, Any]]:
    """Rows per second of each engine, all in turns."""
    with contextlib.ExitStack() as stack:
        workers, first = [], []
        for job in jobs:
            given, function = [dataclasses.asdict(job)], "benchmarks.inference.tokenization:serve"
            worker = Worker(job.engine, function, given, log, {"TF_CPP_MIN_LOG_LEVEL": "3"})
            workers.append(stack.enter_context(worker))
            first.append(worker.answer())  # before another process starts, which would slow it down
        num_rows = check_agreement([(job.engine, answer) for job, answer in zip(jobs, first, strict=True)])
        times: list[list[float]] = [[] for _ in workers]
        for number in turns(range(len(workers)), rounds):
            times[number] += workers[number].ask(seconds=seconds)["seconds"]
    return [
        {
            "engine": job.engine,
            "cores": job.cores,
            "rows": num_rows,
            "first_seconds": answer["first_seconds"],
            "calls": len(taken),
            **{f"rows_per_second_p{p}": num_rows / float(np.percentile(taken, 100 - p)) for p in (10, 50, 90)},
        }
        for job, answer, taken in zip(jobs, first, times, strict=True)
    ]


def measure_input_wait(task: str, data_dir: str, checkpoint: str, examples: int) -> dict[str, Any]:
    """Fine-tunes for two epochs by the command line, and reads the second one's line in the log.

    Raises:
        RuntimeError: The command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = {"task": task, "data_dir": data_dir, "checkpoint": checkpoint, "train_examples": examples, "epochs": 2}
        done = subprocess.run(
            [sys.executable, "run_glue.py", "--stage=finetune", f"--output_dir={folder}", f"--cache_dir={folder}/cache"]
            + [f"--{name}={value}" for name, value in given.items()],
            cwd=REPOSITORY,
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
    rows = []
    for row in report["results"]:
        low, median, high = (row[f"rows_per_second_p{share}"] for share in (10, 50, 90))
        rows.append(
            {
                "engine": row["engine"],
                "cores": row["cores"],
                f"{unit} a second, median": f"{median:,.0f}",
                "p10 to p90": f"{low:,.0f} to {high:,.0f}",
                "times `tokenizers`": f"{median / theirs[row['cores']]:.1f}" if row["cores"] in theirs else "",
                "first call, ms": f"{1000 * row['first_seconds']:.0f}",
            }
        )
    skipped = "".join(f" {engine}: not installed, skipped." for engine in report["skipped"])
    sections = [
        f"# Input, {report['task']}",
        f"{measured_on(report)}{skipped} {report['results'][0]['rows']:,} {unit}, at most {report['max_seq_length']} "
        "tokens each; ids and segments are equal.",
        table(rows),
        "Ours ends with arrays, theirs with objects that hold lists. From disk, the hash of the texts and the check of "
        "the file are part of the time. Our first call traces a graph, once for all splits.",
    ]
    if wait := report["input_wait"]:
        sections.append(
            f"Fine-tuning {wait['checkpoint']} in batches of {wait['batch_size']} waits for input "
            f"**{wait['share']:.2%}** of the time: {wait['steps']} steps of {wait['step_ms']:.0f} ms, second epoch."
        )
    return page(*sections)


def define_flags() -> None:
    """Flags of the command."""
    flags.DEFINE_string("task", "MRPC", "Task whose texts are tokenized, of all splits.")
    flags.DEFINE_string(
        "data_dir", "glue_data", "Folder that holds <TASK>/{train,dev,test}.tsv; else the sample is taken."
    )
    flags.DEFINE_string(
        "checkpoint", "", "Checkpoint whose vocabulary is used, and which is trained; empty for MiniLM."
    )
    flags.DEFINE_integer("rounds", 5, "Turns of each engine.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "Seconds per turn, at least.", lower_bound=0.01)
    flags.DEFINE_integer("train_examples", 1024, "Examples per epoch of training; 0 to train nothing.", lower_bound=0)
    define_output_flag()


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    from powerbert_tf.latency.timing import device_name

    task, cores = get_task(FLAGS.task), usable_cores()
    skipped = [engine for engine in MODULES if is_missing(engine)]
    for engine in skipped:
        print(f"{engine}: skipped, {MODULES[engine]} is not installed")
    wanted = [(engine, count) for engine in (OURS, HUGGING_FACE) for count in sorted({1, cores})] + [(CACHED, cores)]
    output = output_path(f"input-{task.name}")
    with tempfile.TemporaryDirectory() as folder, output.with_suffix(".log").open("w", encoding="utf-8") as log:
        jobs = [
            Job(engine, count, task.name, os.path.abspath(FLAGS.data_dir), FLAGS.checkpoint, folder)
            for engine, count in wanted
            if engine not in skipped
        ]
        results = measure(jobs, FLAGS.rounds, FLAGS.seconds, log)
    examples = FLAGS.train_examples
    report = {
        **surroundings("benchmarks.inference.tokenization"),
        "device": device_name(),
        "task": task.name,
        "max_seq_length": task.max_seq_length,
        "skipped": skipped,
        "results": results,
        "input_wait": measure_input_wait(task.name, os.path.abspath(FLAGS.data_dir), FLAGS.checkpoint, examples)
        if examples
        else None,
    }
    publish(report, output, to_markdown(report))


if __name__ == "__main__":
    define_flags()
    app.run(main)
