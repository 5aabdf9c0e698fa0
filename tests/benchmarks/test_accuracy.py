"""The benchmark of what is lost at a measured speed-up."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_task import write_checkpoint, write_data

from benchmarks.accuracy.__main__ import describe
from benchmarks.accuracy.cascade import answer_again, margins, with_gains
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


def test_a_cascade_asks_where_the_two_best_classes_are_near():
    reduced, dense = np.log([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]), np.log([[0.2, 0.7, 0.1], [0.6, 0.2, 0.2]])
    np.testing.assert_allclose(margins(reduced), [0.2, 0.7])
    logits, again = answer_again(reduced, dense, 0.3)
    assert again.tolist() == [True, False]
    np.testing.assert_array_equal(logits, [dense[0], reduced[1]])


def test_a_cascade_is_compared_at_its_own_speed():
    shares = [("asked again", 0.0, 3.0, 0.9), ("asked again", 0.0, 2.0, 0.96), ("asked again", 0.1, 2.5, 0.94)]
    rows = [{name: share, "speedup": speedup, "agreement": agrees} for name, share, speedup, agrees in shares]
    # Between 0.96 at 2x and 0.9 at 3x lies 0.93 at 2.5x.
    assert [row["ahead by"] for row in with_gains(rows)] == pytest.approx([0, 0, 0.01])


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
    names = ["dense", "dense", "rows and widths", "rows and widths", "rows alone", "rows alone"]
    assert [row["model"] for row in rows] == names
    trained = ["fine-tuned", "re-trained", "nothing", "re-trained", "nothing", "re-trained"]
    assert [row["trained"] for row in rows] == trained
    dense, control, joint, _, alone, _ = rows
    assert joint["weights"] < dense["weights"] == alone["weights"] == control["weights"]
    assert control["speedup at 32"] == 1
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
