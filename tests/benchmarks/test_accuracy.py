"""The benchmark of what is lost at a measured speed-up."""

import json
import os
import subprocess
import sys

import pytest
from tiny_task import write_checkpoint, write_data

from benchmarks.accuracy.__main__ import describe
from benchmarks.common.command import REPOSITORY


def _row(seed, model, value, speedup, trained="nothing"):
    lost = 0.9 - value
    return {
        "task": "MRPC", "seed": seed, "target": 3.0, "model": model, "trained": trained, "metric": "f1",
        "value": value, "lost": lost, "lost, 95 %": [lost - 0.01, lost + 0.02], "agreement": 0.75,
        "speedup at 32": speedup, "speedup at 1": 1.25, "weights": 7, "keeps": "0.5,0.0001",
    }  # fmt: skip


def test_the_table_has_an_interval_or_the_spread_over_seeds():
    rows = [
        _row(0, "dense", 0.9, 1.0, "fine-tuned"), _row(0, "rows alone", 0.86, 2.9), _row(1, "rows alone", 0.88, 3.1),
        _row(0, "rows alone", 0.87, 3.0, "re-trained"),
    ]  # fmt: skip
    report = {
        "command": "python -m benchmarks.accuracy", "date": "2026-11-27", "python": "3.11", "packages": {},
        "rows": rows,
    }  # fmt: skip
    text = describe(report)
    assert "| MRPC, f1 | 3x | dense | fine-tuned | 1 | 0.9000 |  | 0.750 | 1.00x | 1.25x |" in text
    # Means of .86 and .88, and of 4 and 2 points; the sample standard deviation of 4 and 2 is sqrt(2).
    assert "| MRPC, f1 | 3x | rows alone | nothing | 2 | 0.8700 | 3.0 (seeds ± 1.4) | 0.750 | 3.00x | 1.25x |" in text
    assert "| re-trained | 1 | 0.8700 | 3.0 (2.0 to 5.0) |" in text
    assert "| MRPC | 1 | 3x | rows alone | 0.5,0.0001 |" in text


@pytest.mark.slow
def test_it_searches_measures_and_resumes(tmp_path):
    write_data(tmp_path / "data", "STS-B")
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    command = [
        *(
            sys.executable,
            "-m",
            "benchmarks.accuracy",
            "--targets=STS-B=1.3",
            "--dimensions=rows and widths,rows alone",
        ),
        *("--max_seq_length=23", "--cost_model=multiply_adds", "--retrain"),
        *(f"--checkpoint={checkpoint}", f"--data_dir={tmp_path / 'data'}"),
        *(f"--output_dir={tmp_path / 'runs'}", f"--output={tmp_path / 'report'}"),
    ]
    environment = {**os.environ, "POWERBERT_TF_CACHE": str(tmp_path / "cache")}

    def run(*more):
        found = [*command, *more]
        return subprocess.run(found, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)

    run()
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    names = ["dense", "rows and widths", "rows and widths", "rows alone", "rows alone"]
    assert [row["model"] for row in rows] == names
    assert [row["trained"] for row in rows] == ["fine-tuned", "nothing", "re-trained", "nothing", "re-trained"]
    dense, joint, _, alone, _ = rows
    assert joint["weights"] < dense["weights"] == alone["weights"]
    for row in rows:
        assert row["lost"] == pytest.approx(dense["value"] - row["value"])
    assert "reused" not in run().stdout  # all rows are there
    assert "retrain: already there, reused" in run("--fresh").stdout


@pytest.mark.slow
def test_orders_and_texts_are_compared(tmp_path):
    write_data(tmp_path / "data", "STS-B")
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    command = [
        *(sys.executable, "-m", "benchmarks.accuracy.rebuilding", "--tasks=STS-B", "--max_seq_length=23"),
        *(f"--checkpoint={checkpoint}", f"--data_dir={tmp_path / 'data'}"),
        *(f"--output_dir={tmp_path / 'runs'}", f"--output={tmp_path / 'report'}"),
    ]
    subprocess.run(command, cwd=REPOSITORY, env={**os.environ}, check=True, capture_output=True, text=True)
    dense, *rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert (dense["what"], dense["moved"]) == ("dense", 0)
    orders = [row["order"] for row in rows if row["what"] == "order"]
    assert len(orders) == 2 * len(set(orders)) == 6
    assert [row["rows"] for row in rows if row["what"] == "text"] == [1024]  # all text there is
    assert all(row["moved"] > 0 for row in rows)
