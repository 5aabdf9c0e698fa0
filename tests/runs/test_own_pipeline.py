"""A user's own data through all stages, on a tiny checkpoint."""

import csv
import json
import random

import numpy as np
import pandas as pd
import pytest
from tiny_task import write_checkpoint

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_request

CLASSES = ("bad", "fair", "good")
ROWS = {"train": 61, "test": 17}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A checkpoint, and a table with a bad row; the class is the letter that occurs most."""
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    draw = random.Random(5)
    for split, count in ROWS.items():
        rows = []
        for number in range(count):
            letter = "abc"[number % 3]
            words = [letter] * 4 + [draw.choice("abc") for _ in range(draw.randrange(7))]
            rows.append((" ".join(words), CLASSES["abc".index(letter)]))
        if split == "train":
            rows[10] = ("", "good")
        pd.DataFrame(rows, columns=["review", "verdict"]).to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def request_for(world):
    def request(output, **flags):
        return read_request(
            {
                "task": "verdicts", "checkpoint": str(world / "checkpoint"), "output_dir": str(output),
                "train_file": str(world / "train.csv"), "test_file": str(world / "test.csv"),
                "text_column": "review", "label_column": "verdict", "on_bad_row": "skip",
                "cost_model": "multiply_adds", "calibration_examples": 17, "latency_batch_size": 5,
                "target_speedup": 1.3, "epochs": 2, "epochs_retrain": 1, "batch_size": 13, "learning_rate": 3e-3,
                "search_over": "rows", **flags,
            }
        )  # fmt: skip

    return request


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text())


@pytest.mark.slow
def test_from_a_csv_to_an_exported_model(request_for, tmp_path, capsys, world):
    settings, own = request_for(tmp_path, class_weights="balanced", metric="macro_f1,mcc", truncation="head_tail")
    pipeline.run(settings, own=own)
    folder = tmp_path / "verdicts"
    said = capsys.readouterr().out
    before = said.split("finetune: running")[0]
    assert "3 classes: bad (19), fair (17), good (18)" in before
    assert "1 row left out; see rejected.jsonl" in before
    assert "--max_seq_length=16: holds 100.0% of the training texts whole" in before

    (rejected,) = (folder / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["line"] == 12
    assert list(result(folder, "finetune")["metrics"]) == ["macro_f1", "mcc"]
    assert result(folder, "finetune")["settings"]["class_weights"] == "balanced"

    evaluated = result(folder, "evaluate")
    assert evaluated["classes"] == list(evaluated["per_class"]) == list(CLASSES)
    assert sum(one["examples"] for one in evaluated["per_class"].values()) == evaluated["examples"] == 6

    with (folder / "predict" / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    given = pd.read_csv(world / "test.csv", keep_default_na=False)
    assert header[:5] == ["file", "line", "review", "verdict", "prediction"]
    assert header[5:] == [f"probability of {name}" for name in CLASSES]
    assert [row[2:4] for row in rows] == given[["review", "verdict"]].to_numpy().tolist()
    rows = [[*row[:2], *row[4:]] for row in rows]
    assert [row[:2] for row in rows] == [[str(world / "test.csv"), str(number + 2)] for number in range(ROWS["test"])]
    probabilities = np.array([row[3:] for row in rows], float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [row[2] for row in rows] == [CLASSES[one] for one in probabilities.argmax(axis=1)]
    truth = pd.read_csv(world / "test.csv")["verdict"]
    predicted = result(folder, "predict")
    found = np.mean([row[2] == name for row, name in zip(rows, truth, strict=True)])
    assert set(predicted["metrics"]) == {"macro_f1", "mcc"}
    assert predicted["examples"] == len(truth)
    assert (predicted["metrics"]["macro_f1"] == 1) == (found == 1)

    exported = json.loads((folder / "saved_model" / "1" / "task.json").read_text())
    assert exported["classes"] == list(CLASSES)
    assert (exported["max_seq_length"], exported["truncation"], exported["case"]) == (16, "head_tail", "uncased")
    assert str(world) not in json.dumps(exported)

    again, own = request_for(tmp_path, task=str(folder / "task.json"), train_file=None, test_file=None)
    pipeline.run(again, "evaluate", own=own)
    assert "evaluate: already there, reused" in capsys.readouterr().out
    changed, own = request_for(tmp_path, task=str(folder / "task.json"), train_file=None, test_file=None, metric="mcc")
    with pytest.raises(InputError, match=r"metric was 'macro_f1,mcc', is 'mcc'"):
        pipeline.run(changed, "evaluate", own=own)


@pytest.mark.slow
def test_without_a_test_file_nothing_is_predicted(request_for, tmp_path, capsys):
    settings, own = request_for(tmp_path, test_file=None, epochs=1)
    with pytest.raises(InputError, match=r"--stage=predict: no data to predict; expected --test_file"):
        pipeline.run(settings, "predict", own=own)
    pipeline.run(settings, own=own)
    assert not (tmp_path / "verdicts" / "predict").exists()
    assert (tmp_path / "verdicts" / "export").exists()
    # What was inferred stands in the run's own file, metrics too, and is no other setting.
    told = {"task": str(tmp_path / "verdicts" / "task.json"), "train_file": None, "test_file": None}
    again, own = request_for(tmp_path, **told, epochs=1)
    capsys.readouterr()
    pipeline.run(again, "evaluate", own=own)
    assert "evaluate: already there, reused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"metric": "f1"}, r"--metric=f1: 'f1' does not fit; expected of accuracy, macro_f1, mcc"),
        ({"metric": "spearman"}, r"'spearman' does not fit"),
        ({"max_seq_length": 32}, r"--max_seq_length=32: .* has position embeddings for 31"),
    ],
)
def test_what_does_not_fit_is_found_before_training(request_for, tmp_path, flags, message):
    settings, own = request_for(tmp_path, **flags)
    with pytest.raises(InputError, match=message):
        pipeline.run(settings, own=own)
    assert not (tmp_path / "verdicts").exists()
