"""From text and labels to a fast classifier, by the stages of the command line."""

import numpy as np
import pandas as pd
import pytest
from tiny_bert import random_weights, write_hugging_face_checkpoint
from tiny_classifier import CONFIG, SETTINGS, make_texts

import powerbert_tf
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_request

TRAINING = {**SETTINGS, "epochs": 1, "epochs_retrain": 1, "learning_rate": 1e-3, "search_over": "rows"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_hugging_face_checkpoint(folder, CONFIG, random_weights(CONFIG, num_outputs=None))
    return folder


@pytest.fixture(scope="module")
def frame():
    texts = make_texts(61)
    return pd.DataFrame({"text": texts, "label": ["long" if len(text) > 17 else "short" for text in texts]})


def test_a_data_frame_is_enough(checkpoint, frame, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    fast = powerbert_tf.train(frame, checkpoint, 1.5, verbose=0, **TRAINING)
    assert fast.classes == ("long", "short")
    assert {*fast.predict(frame["text"])} <= {"long", "short"}
    assert fast.report.predicted_speedup >= 1.5 - 1e-6
    assert fast.report.retrained
    assert fast.run.results.result("finetune")["epoch"] == 1  # which is trained
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_command_line_makes_the_same_model(checkpoint, frame, tmp_path):
    path = tmp_path / "reviews.csv"
    frame.to_csv(path, index=False)
    given = {**TRAINING, "checkpoint": str(checkpoint), "target_speedup": 1.5, "output_dir": str(tmp_path / "runs")}
    settings, own = read_request({**given, "train_file": str(path), "text_column": "text", "label_column": "label"})
    pipeline.run(settings, "evaluate", own=own, verbose=0)
    expected = powerbert_tf.load(tmp_path / "runs" / "reviews")
    in_memory = powerbert_tf.train(path, checkpoint, 1.5, text_column="text", verbose=0, **TRAINING)
    in_folder = powerbert_tf.train(
        frame, checkpoint, 1.5, name="reviews", output_dir=tmp_path / "mine", verbose=0, **TRAINING
    )
    for fast in (in_memory, in_folder, powerbert_tf.load(tmp_path / "mine")):
        assert fast.model.reduction == expected.model.reduction
        np.testing.assert_allclose(fast.logits(frame["text"]), expected.logits(frame["text"]), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        (["a b", "c"], {}, "data: has no labels; expected label_column"),
        ((["a b", "c"], ["x"]), {}, "2 texts and 1 labels"),
        ((["a b", "c"], ["x", "x"]), {}, "expected"),
        ((["a b", "c"], ["x", "y"]), {"epoch": 3}, "epoch: no setting of train; expected one of"),
        ((["a b", "c"] * 9, ["x", "y"] * 9), {"target_speedup": 1000.0}, "--target_speedup=1000: out of reach"),
        ((["a b", "c"] * 9, ["x", "y"] * 9), {"checkpoint": "nowhere"}, "checkpoint nowhere: no such folder"),
        ((["a b", "c"], ["x", "y"]), {"output_dir": "."}, "output_dir=.: holds files"),
    ],
)
def test_refused_before_anything_is_trained(data, given, message, checkpoint, monkeypatch):
    monkeypatch.setattr("powerbert_tf.acceleration.making.run_stage", lambda *_: pytest.fail("too late"))
    with pytest.raises(InputError, match=message):
        powerbert_tf.train(data, **{"checkpoint": checkpoint, **TRAINING, **given})
