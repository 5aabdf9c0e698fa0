"""Training and evaluation on files of any size: `python -m benchmarks.streams.train --rows=10000,100000`.

Generated rows of some ten words go through `run_glue.py --stage=evaluate --train_file=... --dev_file=...`, which
fine-tunes an epoch, re-trains an epoch towards the answers of the fine-tuned model, and evaluates both; a process
for each number of rows, with a tenth as many dev rows. It reports peak memory.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from absl import app

from benchmarks.common.command import FLAGS, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import write_tiny_checkpoint
from benchmarks.streams.generated import command_of, define_stream_flags, run_watched, write_rows

_DEV_SHARE = 10  # training rows per dev row
MOST_BYTES = 24.0  # of a row
_HELD_MIB = 2 * 128  # small data, of two splits: 32 of the texts, 32 of labels as they are spelled, 64 of tokens


def measure(checkpoint: Path, folder: Path, count: int) -> dict[str, Any]:
    """Measures seconds and peak memory of a process that trains on `count` rows."""
    train, dev = folder / "train.csv", folder / "dev.csv"
    write_rows(train, count, labeled=True)
    write_rows(dev, count // _DEV_SHARE, labeled=True)
    given = {
        "task": "generated",
        "stage": "evaluate",
        "train_file": train,
        "dev_file": dev,
        "text_column": "text",
        "label_column": "label",
        "checkpoint": checkpoint,
        "output_dir": folder / "runs",
        "cache_dir": folder / "cache",
        "retention_configuration": "0.8,0.3",
        "cost_model": "multiply_adds",
        "max_seq_length": 16,
        "epochs": 1,
        "epochs_retrain": 1,
        "batch_size": FLAGS.batch_size,
        "eval_batch_size": FLAGS.batch_size,
    }
    seconds, peak = run_watched(command_of(given), folder / "log")
    result = json.loads((folder / "runs" / "generated" / "evaluate" / "result.json").read_text())
    if result["examples"] != count // _DEV_SHARE:
        raise RuntimeError(f"{result['examples']} dev rows instead of {count // _DEV_SHARE}.")
    for left in ("runs", "cache"):
        shutil.rmtree(folder / left)
    return {"rows": count, "dev_rows": count // _DEV_SHARE, "seconds": seconds, "peak_mib": peak, **result["metrics"]}


def summarize(report: dict[str, Any]) -> None:
    """Adds the growth of memory, and the growth that is allowed."""
    least, most = (pick(report["sizes"], key=lambda one: one["rows"]) for pick in (min, max))
    report["growth_mib"] = most["peak_mib"] - least["peak_mib"]
    report["allowed_mib"] = _HELD_MIB + MOST_BYTES * most["rows"] / 2**20


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = [
        {
            "training rows": f"{one['rows']:,}",
            "dev rows": f"{one['dev_rows']:,}",
            "peak memory, MiB": f"{one['peak_mib']:,.0f}",
            "dev accuracy": f"{one['accuracy']:.4f}",
        }
        for one in report["sizes"]
    ]
    return page(
        table(rows),
        f"From the smallest to the largest, peak memory grows by {report['growth_mib']:.0f} MiB. What is held while it "
        f"is small, and {MOST_BYTES:g} bytes per row, may add up to {report['allowed_mib']:.0f}.",
        measured_on(report),
    )


def main(argv: list[str]) -> None:
    """Measures each size."""
    output = output_path("train_stream")
    with tempfile.TemporaryDirectory(dir=FLAGS.scratch or None) as scratch:
        checkpoint = write_tiny_checkpoint(Path(scratch))
        report: dict[str, Any] = surroundings("benchmarks.streams.train")
        report["sizes"] = [measure(checkpoint, Path(scratch), int(count)) for count in FLAGS.rows]
    summarize(report)
    publish(report, output, to_markdown(report))
    if report["growth_mib"] > report["allowed_mib"]:
        raise RuntimeError(f"memory grows by {report['growth_mib']:.0f} MiB; at most {report['allowed_mib']:.0f}.")


if __name__ == "__main__":
    define_stream_flags("Training rows")
    app.run(main)
