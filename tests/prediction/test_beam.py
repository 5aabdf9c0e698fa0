"""The Beam pipeline gives the files that `--predict_file` gives; with more than one worker process, too."""

import importlib.util
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from conftest import REPOSITORY
from test_predict_files import CLASSES, QUICK, texts
from tiny_task import write_checkpoint

from powerbert_tf.prediction.predict import predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_predict_request, read_request

ROWS = (37, 23)
SHARD_ROWS = 17
BAD = 5

pytestmark = pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="apache-beam is not installed")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An exported model, two files with a bad row each, and the answers of `--predict_file`."""
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    for name, count in {"train": 61, "rows-0": ROWS[0], "rows-1": ROWS[1]}.items():
        rows = pd.DataFrame({"n": range(count), "review": texts(count, count)})
        rows["verdict"] = [CLASSES["abc".index(text[0])] for text in rows["review"]]
        if name != "train":
            rows.loc[BAD, "review"] = " "
        rows.to_csv(folder / f"{name}.csv", index=False)
    settings, own = read_request(
        {
            "task": "verdicts", "checkpoint": str(folder / "checkpoint"), "output_dir": str(folder / "runs"),
            "train_file": str(folder / "train.csv"), "text_column": "review", "label_column": "verdict", **QUICK,
        }
    )  # fmt: skip
    pipeline.run(settings, "export", own=own)
    flags = PredictSettings(
        predict_file=str(folder / "rows-*.csv"),
        predict_dir=str(folder / "expected"),
        predict_format="jsonl",
        predict_shard_rows=SHARD_ROWS,
    )
    given = {"task": "verdicts", "output_dir": str(folder / "runs"), "on_bad_row": "skip"}
    predict_files(read_predict_request(flags, given))
    return folder


def run_beam(world, out, *more, expected=0):
    model = world / "runs" / "verdicts" / "saved_model" / "1"
    process = subprocess.run(
        [
            sys.executable, "-m", "powerbert_tf.beam", f"--saved_model={model}",
            f"--predict_file={world / 'rows-*.csv'}", f"--predict_dir={out}", "--predict_format=jsonl",
            f"--predict_shard_rows={SHARD_ROWS}", "--eval_batch_size=5", *more,
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert process.returncode == expected, process.stdout + process.stderr
    return process


def read(folder):
    return {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob("part-*.jsonl"))
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_files(world, tmp_path, workers):
    mode = ["--runner=DirectRunner", f"--direct_num_workers={workers}"]
    mode += ["--direct_running_mode=multi_processing"] if workers > 1 else []
    run_beam(world, tmp_path / "out", "--on_bad_row=skip", *mode)
    expected, found = read(world / "expected"), read(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert [len(shard) for shard in found.values()] == [17, 17, 17, 7]
    for name, rows in expected.items():
        for one, other in zip(found[name], rows, strict=True):
            assert list(one) == list(other)
            for key, value in other.items():
                assert one[key] == (pytest.approx(value, abs=2e-6) if key.startswith("probability") else value)
    rejected = [path / "rejected.jsonl" for path in (tmp_path / "out", world / "expected")]
    assert rejected[0].read_bytes() == rejected[1].read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"part-{number:05d}.jsonl" for number in range(4)), "rejected.jsonl",
    ]  # fmt: skip


def test_a_bad_row_ends_it_and_answers_are_not_mixed(world, tmp_path):
    (tmp_path / "out").mkdir()
    process = run_beam(world, tmp_path / "out", "--runner=DirectRunner", expected=2)
    assert process.stderr.splitlines()[-1].startswith("error: 1 row cannot be used: ")
    assert f"rows-0.csv:{BAD + 2}: review is empty" in process.stderr.splitlines()[-1]
    (tmp_path / "out" / "part-00000.csv").touch()
    assert "holds answers already; expected another folder" in run_beam(world, tmp_path / "out", expected=2).stderr
