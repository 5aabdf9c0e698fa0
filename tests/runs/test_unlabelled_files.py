"""The command line takes texts without labels for a trained classifier, as `accelerate` does."""

import json
import random

import numpy as np
import pandas as pd
import pytest
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint

import powerbert_tf
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.asked import remember
from powerbert_tf.runs.request import read_request

CONFIG = tiny_config()
SETTINGS = {
    "max_seq_length": 23, "cost_model": "multiply_adds", "calibration_examples": 13, "latency_batch_size": 5,
    "batch_size": 13, "search_over": "rows",
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_hugging_face_checkpoint(folder, CONFIG, random_weights(CONFIG, 3))
    return folder


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    draw = random.Random(3)
    texts = [" ".join(draw.choice("abcdefgh") for _ in range(draw.randrange(2, 19))) for _ in range(61)]
    path = tmp_path_factory.mktemp("data") / "logs.jsonl"
    pd.DataFrame({"text": texts, "at": range(61)}).to_json(path, orient="records", lines=True)
    return path


@pytest.mark.slow
def test_a_file_without_labels_does_what_accelerate_does(classifier, logs, tmp_path, capsys):
    flags = {**SETTINGS, "checkpoint": str(classifier), "train_file": str(logs), "text_column": "text"}
    settings, own = read_request({**flags, "target_speedup": 1.7, "epochs_retrain": 0, "output_dir": str(tmp_path)})
    pipeline.run(settings, "evaluate", own=own)
    shown = capsys.readouterr().out
    assert "label: none; the classifier's own answers take its place" in shown
    assert "the classifier's own weights take the place of fine-tuned ones" in shown
    from_file = powerbert_tf.load(tmp_path / "logs")
    fast = powerbert_tf.accelerate(classifier, logs, 1.7, retrain=False, text_column="text", verbose=0, **SETTINGS)
    texts = pd.read_json(logs, lines=True)["text"]
    np.testing.assert_allclose(from_file.logits(texts), fast.logits(texts), atol=1e-6)
    assert from_file.report.reduced == fast.report.reduced
    # The run is found again by its folder, with nothing to do.
    asked = remember({"task": str(tmp_path / "logs")}, "evaluate")
    settings, own = read_request(asked.given)
    pipeline.run(settings, "evaluate", own=own, root=asked.root)
    assert "evaluate: already there, reused" in capsys.readouterr().out


def test_the_share_of_answers_that_may_change_is_a_flag(classifier, logs):
    flags = {**SETTINGS, "checkpoint": str(classifier), "train_file": str(logs), "text_column": "text"}
    settings, own = read_request({**flags, "max_disagreement": 0.1})
    assert (settings.search.max_loss, settings.search.target_speedup) == (0.1, 0)
    assert own.task.metrics == ("agreement",)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"checkpoint": ""},
            "--label_column: missing; .*texts without labels need a trained classifier, which --checkpoint",
        ),
        ({"max_disagreement": 0.1, "max_loss": 0.1}, "max_disagreement and max_loss are given"),
        ({"max_disagreement": 0.1, "label_column": "at"}, "--max_disagreement=0.1: the data has labels"),
        ({"max_disagreement": 0.1, "target_speedup": 2.0}, "--target_speedup and --max_loss are given"),
    ],
)
def test_what_does_not_fit_is_refused(flags, message, classifier, logs):
    given = {**SETTINGS, "checkpoint": str(classifier), "train_file": str(logs), "text_column": "text", **flags}
    with pytest.raises(InputError, match=message):
        read_request(given)


def test_a_checkpoint_without_a_head_lacks_it(logs, tmp_path):
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, num_outputs=None))
    with pytest.raises(InputError, match=r"texts without labels need a trained classifier: .*has no head"):
        read_request({"checkpoint": str(tmp_path), "train_file": str(logs), "text_column": "text"})


def test_a_task_file_repeats_it(classifier, logs, tmp_path):
    task = {
        "name": "logs",
        "classes": ["x", "y", "z"],
        "text_column": "text",
        "label_column": "",
        "train_file": str(logs),
    }
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    _, own = read_request({"task": str(tmp_path / "task.json"), "checkpoint": str(classifier)})
    assert own.task.classes == ("x", "y", "z")
    assert own.task.is_unlabelled
