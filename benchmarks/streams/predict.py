"""Prediction of files of any size: `python -m benchmarks.streams.predict --rows=10000,100000`.

Generated rows of some ten words go through `run_glue.py --stage=predict --predict_file=...`, a process for each number
of rows, and the answers are read back: all rows are there, once and in order. It reports seconds and peak memory. The
model is a tiny one, trained on the generated sample; or that of `--run`.

With `--kills=5` another file is predicted undisturbed, and again with the process killed so many times at random
moments and restarted: the answers are the same, byte for byte.
"""

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags

from benchmarks.common.command import FLAGS, REPOSITORY, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import write_tiny_checkpoint
from benchmarks.streams.generated import command_of, define_stream_flags, run_watched, write_rows
from powerbert_tf.common.files import sha256

_RATIO = 1.1  # of peak memory


def train_tiny(folder: Path) -> Path:
    """Trains a model with 2 encoders of width 32; it is for memory, not for answers."""
    given = {
        "task": "SST-2",
        "stage": "retrain",
        "checkpoint": write_tiny_checkpoint(folder),
        "data_dir": REPOSITORY / "glue_data" / "sample",
        "output_dir": folder / "runs",
        "retention_configuration": "0.8,0.3",
        "train_examples": 64,
        "epochs": 1,
        "epochs_retrain": 1,
    }
    subprocess.run(command_of(given), check=True)
    return folder / "runs" / "SST-2"


def _command(run: Path, path: Path, answers: Path) -> list[str]:
    given = {
        "task": run,
        "stage": "predict",
        "predict_file": path,
        "predict_dir": answers,
        "predict_format": FLAGS.predict_format,
        "predict_shard_rows": FLAGS.shard_rows,
        "eval_batch_size": FLAGS.batch_size,
        "text_column": "text",
    }
    return command_of(given)


def measure(run: Path, folder: Path, count: int) -> dict[str, Any]:
    """Measures seconds and peak memory of a process that predicts `count` rows."""
    path, answers = folder / "rows.csv", folder / "answers"
    write_rows(path, count)
    seconds, peak = run_watched(_command(run, path, answers), folder / "log")
    shards = sorted(answers.glob("part-*"))
    if FLAGS.predict_format == "csv":
        _check_order(shards, count)
    shutil.rmtree(answers)
    return {"rows": count, "seconds": seconds, "peak_mib": peak, "shards": len(shards)}


def _check_order(shards: Sequence[Path], count: int) -> None:
    expected = 0
    for shard in shards:
        numbers = pd.read_csv(shard, usecols=[0]).to_numpy()[:, 0]
        if not np.array_equal(numbers, np.arange(expected, expected + len(numbers))):
            raise RuntimeError(f"{shard.name}: its rows are not those from {expected} on, once and in order.")
        expected += len(numbers)
    if expected != count:
        raise RuntimeError(f"{expected} rows instead of {count}.")


def kill_and_resume(run: Path, folder: Path, count: int, kills: int) -> dict[str, Any]:
    """Predicts once undisturbed, and once killed at random moments; compares the files."""
    path, one_row = folder / "rows.csv", folder / "row.csv"
    write_rows(path, count)
    write_rows(one_row, 1)
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    with (folder / "log").open("w") as log:

        def predict(*files: Path) -> float:
            began = time.perf_counter()
            subprocess.run(_command(run, *files), check=True, stdout=log, stderr=log)
            return time.perf_counter() - began

        start = predict(one_row, folder / "one")  # what it takes before the first row
        seconds = predict(path, undisturbed)
        draw = random.Random(FLAGS.seed)
        moments: list[dict[str, Any]] = []
        for _ in range(kills):
            # So early that all are killed at work, and so late that each gets some way.
            moment = start + draw.uniform(0, 1.5 * (seconds - start) / (kills + 1))
            process = subprocess.Popen(_command(run, path, disturbed), stdout=log, stderr=log)
            time.sleep(moment)
            process.kill()
            if process.wait() != -signal.SIGKILL:
                raise RuntimeError("a process ended before it was killed; give more --kill_rows.")
            moments.append({"seconds": moment, "shards": len(list(disturbed.glob("part-*")))})
        predict(path, disturbed)
    same = _digests(undisturbed) == _digests(disturbed)
    if not same:
        raise RuntimeError("the answers of the run that was killed differ.")
    return {"rows": count, "undisturbed_seconds": seconds, "kills": moments, "same_bytes": same}


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir() if path.name != "progress.json"}


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = [
        {
            "rows": f"{one['rows']:,}",
            "seconds": f"{one['seconds']:.1f}",
            "rows/s": f"{one['rows'] / one['seconds']:,.0f}",
            "peak memory, MiB": f"{one['peak_mib']:,.0f}",
        }
        for one in report["sizes"]
    ]
    sections = [table(rows)]
    if report.get("memory_ratio"):
        sections.append(f"Peak memory at most, against that of 100,000 rows: {report['memory_ratio']:.3f}.")
    if killed := report.get("killed"):
        moments = ", ".join(f"{one['seconds']:.1f} s ({one['shards']})" for one in killed["kills"])
        sections.append(
            f"{killed['rows']:,} rows, killed after {moments} (files finished by then): the same bytes as undisturbed."
        )
    return page(*sections, measured_on(report))


def main(argv: list[str]) -> None:
    """Measures each size, then kills."""
    output = output_path("predict_stream")
    with tempfile.TemporaryDirectory(dir=FLAGS.scratch or None) as scratch:
        run = Path(FLAGS.run).resolve() if FLAGS.run else train_tiny(Path(scratch))
        report: dict[str, Any] = surroundings("benchmarks.streams.predict")
        report["sizes"] = [measure(run, Path(scratch), int(count)) for count in FLAGS.rows]
        peaks = {one["rows"]: one["peak_mib"] for one in report["sizes"]}
        if 100_000 in peaks:
            report["memory_ratio"] = max(peaks.values()) / peaks[100_000]
        if FLAGS.kills:
            report["killed"] = kill_and_resume(run, Path(scratch), FLAGS.kill_rows, FLAGS.kills)
    publish(report, output, to_markdown(report))
    if report.get("memory_ratio", 0) > _RATIO:
        raise RuntimeError(f"peak memory grows with the rows: {report['memory_ratio']:.2f} times; at most {_RATIO}.")


if __name__ == "__main__":
    define_stream_flags("Rows")
    flags.DEFINE_string("run", "", "A trained run of a task on single texts; empty for a tiny model.")
    flags.DEFINE_string("predict_format", "csv", "As --predict_format of run_glue.py.")
    flags.DEFINE_integer("shard_rows", 100_000, "As --predict_shard_rows of run_glue.py.")
    flags.DEFINE_integer("kills", 0, "Times that a prediction is killed.", lower_bound=0)
    flags.DEFINE_integer("kill_rows", 300_000, "Rows of that prediction.")
    flags.DEFINE_integer("seed", 0, "Seed of the moments at which it is killed.")
    app.run(main)
