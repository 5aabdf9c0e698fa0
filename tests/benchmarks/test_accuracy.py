"""The benchmark of what is lost at a measured speed-up."""

import json
import os
import subprocess
import sys

import pytest
from tiny_task import write_checkpoint, write_data

from benchmarks.accuracy.__main__ import describe
from benchmarks.common.command import REPOSITORY


def _row(seed, model, value, speedup):
    return {
        "task": "MRPC", "seed": seed, "model": model, "metric": "f1", "value": value, "lost": 0.9 - value,
        "speedup at 32": speedup, "speedup at 1": 1.25, "weights": 7, "search seconds": 11.0, "keeps": "0.5,0.0001",
    }  # fmt: skip


def test_the_table_has_means_over_seeds():
    rows = [_row(0, "dense", 0.9, 1.0), _row(0, "rows alone", 0.86, 2.9), _row(1, "rows alone", 0.88, 3.1)]
    report = {
        "command": "python -m benchmarks.accuracy", "date": "2026-11-27", "python": "3.11", "packages": {},
        "device": "a machine", "retrained": False, "rows": rows,
    }  # fmt: skip
    text = describe(report)
    assert "| MRPC, f1 | dense | 1 | 0.9000 | 0.0 | 1.00x | 1.25x | 11 |" in text
    assert "| MRPC, f1 | rows alone | 2 | 0.8700 | 3.0 | 3.00x | 1.25x | 11 |" in text
    assert "| MRPC | 1 | rows alone | 0.5,0.0001 |" in text


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
        *("--max_seq_length=23", "--cost_model=multiply_adds"),
        *(f"--checkpoint={checkpoint}", f"--data_dir={tmp_path / 'data'}"),
        *(f"--output_dir={tmp_path / 'runs'}", f"--output={tmp_path / 'report'}"),
    ]
    environment = {**os.environ, "POWERBERT_TF_CACHE": str(tmp_path / "cache")}

    def run():
        return subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)

    run()
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["dense", "rows and widths", "rows alone"]
    dense, joint, alone = rows
    assert joint["weights"] < dense["weights"] == alone["weights"]
    for row in rows:
        assert row["lost"] == pytest.approx(dense["value"] - row["value"])
    assert "search: already there, reused" in run().stdout


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
