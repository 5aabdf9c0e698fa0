"""From a trained classifier to a reduced one: what it answers, what its report says, what is refused beforehand."""

import gc
import json
import tempfile
import weakref

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import special
from tiny_bert import random_weights, write_hugging_face_checkpoint
from tiny_classifier import CLASSES, CONFIG, SETTINGS, N, dense_logits, make_texts, write_classifier

import powerbert_tf
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import get_task
from powerbert_tf.reports import acceleration_report
from powerbert_tf.reports.acceleration_report import best_constant, make_report
from powerbert_tf.runs.stages import search


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def texts():
    return make_texts(61)


@pytest.fixture(scope="module")
def frame(folder, texts):
    """Labels that are the model's own answers, but for every seventh."""
    answers = dense_logits(folder, texts).argmax(axis=1)
    answers[::7] = (answers[::7] + 1) % 3
    return pd.DataFrame({"review": texts, "verdict": [CLASSES[answer] for answer in answers]})


@pytest.fixture(scope="module")
def reduced(folder, frame, tmp_path_factory):
    """Nothing trained, in a folder that stays."""
    output = tmp_path_factory.mktemp("reduced")
    accelerated = powerbert_tf.accelerate(
        folder, frame, 1.7, retrain=False, search_over="rows", text_column="review", label_column="verdict",
        dev_data=frame[:37], output_dir=output, **SETTINGS,
    )  # fmt: skip
    return accelerated, output


def test_without_retraining_no_weight_changes(reduced, folder):
    accelerated, _ = reduced
    checkpoint = find_checkpoint(folder)
    before, after = load_classifier(checkpoint, 3, N).get_weights(), accelerated.model.get_weights()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not accelerated.report.retrained


def test_the_report_is_of_the_original_and_the_reduced_model(reduced, folder, frame):
    accelerated, _ = reduced
    report, dev = accelerated.report, frame[:37]
    original = [CLASSES[answer] for answer in dense_logits(folder, dev["review"].to_list()).argmax(axis=1)]
    now = accelerated.predict(dev["review"])
    assert report.agreement == pytest.approx(np.mean(np.array(original) == now))
    assert report.original["accuracy"] == pytest.approx(np.mean(np.array(original) == dev["verdict"].to_numpy()))
    assert report.reduced["accuracy"] == pytest.approx(np.mean(np.array(now) == dev["verdict"].to_numpy()))
    assert report.examples == 37
    assert report.predicted_speedup >= 1.7 - 1e-6
    assert report.retention_configuration == accelerated.model.retention_configuration
    assert min(report.retention_configuration) < 1
    times = report.milliseconds
    assert report.measured_speedup == pytest.approx(
        times["dense, grouped by length"] / times["reduced, grouped by length"]
    )
    assert f"agrees with the original: {report.agreement:.1%} of 37 dev examples" in str(report)
    assert str(report).startswith("\n".join(report.verdict))
    assert f"{report.measured_speedup:.2f}" in report.verdict[0]
    assert "nothing trained" in str(report)


def test_an_export_answers_raw_text_as_predict_does(reduced, texts, tmp_path):
    accelerated, output = reduced
    version = accelerated.export(tmp_path / "served")
    assert version == tmp_path / "served" / "1"
    signature = tf.saved_model.load(str(version)).signatures["serve_text"]
    asked = [*texts[:5], "Words nobody knows, 日本 é!"]
    answers = signature(text=tf.constant(asked))
    assert [label.decode() for label in answers["label"].numpy()] == accelerated.predict(asked)
    np.testing.assert_allclose(answers["probabilities"], accelerated.probabilities(asked), atol=1e-5)
    assert accelerated.export(tmp_path / "served").name == "2"
    assert json.loads((version / "task.json").read_text())["classes"] == list(CLASSES)
    assert (output / "evaluate" / "result.json").is_file()


def test_texts_come_in_any_container(reduced, texts):
    accelerated, _ = reduced
    asked = texts[:5]
    expected = accelerated.logits(asked)
    containers = [
        tuple(asked), pd.Series(asked, index=list("vwxyz")), np.array(asked), np.array(asked)[:, None],
        tf.constant(asked),
        tf.data.Dataset.from_tensor_slices(asked), tf.data.Dataset.from_tensor_slices(asked).batch(2), iter(asked),
        [text.encode() for text in asked],
    ]  # fmt: skip
    for container in containers:
        np.testing.assert_array_equal(accelerated.logits(container), expected)
    assert accelerated.predict(asked[0]) == accelerated.predict(asked[:1])
    for wrong, message in (([7], r"texts\[0\]: 7; expected a text"), (7, "texts: 7; expected a text, or several")):
        with pytest.raises(InputError, match=message):
            accelerated.predict(wrong)


@pytest.mark.slow
def test_retraining_brings_answers_back_from_any_data(folder, texts, frame, capsys):
    answers = [CLASSES.index(verdict) for verdict in frame["verdict"]]
    before = find_checkpoint(folder).read_weights()
    accelerated = powerbert_tf.accelerate(folder, (texts, answers), 2.0, metric="macro_f1", **SETTINGS)
    assert accelerated.report.retrained
    assert accelerated.report.metric == "macro_f1"
    shown = capsys.readouterr().out
    assert "55 training rows, 6 dev rows, split off" in shown
    assert "epoch 2" in shown
    assert str(accelerated.report) not in shown  # it is in what is returned
    assert accelerated.run.task.classes == CLASSES  # the model's, where the data has numbers
    after = accelerated.model.get_layer("classifier").kernel
    kept = accelerated.run.results.result("retrain")["epoch"]
    assert bool(np.any(np.array(after) != before["classifier/kernel"])) == (kept > 0)


@pytest.mark.slow
def test_without_verbose_nothing_is_printed_and_without_a_folder_nothing_is_written(
    folder, frame, capfd, tmp_path, monkeypatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    accelerated = powerbert_tf.accelerate(
        folder, (frame["review"], frame["verdict"]), 2.0, search_over="rows", verbose=0, cache_dir="", **SETTINGS
    )
    accelerated.predict(frame["review"][:3])
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    left = [path.name for path in tmp_path.rglob("*")]
    assert [name for name in left if not name.startswith("__autograph")] == ["temporary"]  # TensorFlow's own
    run = weakref.ref(accelerated.run)
    del accelerated
    gc.collect()
    assert run() is None


@pytest.mark.slow
def test_pairs_of_a_regression_from_a_table(tmp_path, texts):
    folder = write_classifier(tmp_path / "checkpoint", num_outputs=1, classes=())
    pairs = make_texts(61, seed=5)
    scores = dense_logits(folder, texts, pairs, num_outputs=1)[:, 0]
    table = pd.DataFrame({"a": texts, "b": pairs, "score": scores})
    table.to_csv(tmp_path / "pairs.csv", index=False)
    accelerated = powerbert_tf.accelerate(
        str(folder), tmp_path / "pairs.csv", 1.5, False, text_column="a", text_pair_column="b", label_column="score",
        search_over="rows", **SETTINGS,
    )  # fmt: skip
    report = accelerated.report
    assert report.original["spearman"] == pytest.approx(1)
    assert report.original["pearson"] == pytest.approx(1)
    # The labels are the original's answers.
    assert report.agreement == pytest.approx(report.reduced["pearson"], abs=1e-5)
    (score,) = accelerated.predict(["a b"], ["c d"])
    assert isinstance(score, float)
    with pytest.raises(InputError, match="the model is a regression; expected predict"):
        accelerated.probabilities(["a b"], ["c d"])
    with pytest.raises(InputError, match="the model was made on texts and text_pairs"):
        accelerated.predict(["a b"])
    with pytest.raises(InputError, match="text_pairs: 1 for 2 texts"):
        accelerated.predict(["a b", "c"], ["c d"])


@pytest.mark.slow
def test_a_classifier_of_keras_hub_with_its_length_and_tokenizer():
    pytest.importorskip("keras_hub")
    from tiny_hub import KINDS, make_classifier, make_preprocessor

    classifier = make_classifier(KINDS["bert"], make_preprocessor(KINDS["bert"], None), 3, {"vocabulary_size": 23})
    texts = [text.replace("e", "fé") for text in make_texts(53)]
    expected = classifier.predict(texts, verbose=0)
    labels = expected.argmax(axis=1)
    data = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(8)
    settings = {**SETTINGS, "max_seq_length": 0}
    accelerated = powerbert_tf.accelerate(classifier, data, 1.5, False, classes="xyz", dev_data=data, **settings)
    assert accelerated.report.original["accuracy"] == 1
    assert accelerated.report.max_seq_length == N
    assert accelerated.run.task.classes == ("x", "y", "z")
    named = np.array(["x", "y", "z"])[labels]
    assert accelerated.report.agreement == pytest.approx(np.mean(named == accelerated.predict(texts)))


def test_nothing_within_the_loss_is_no_gain(folder, frame, monkeypatch):
    monkeypatch.setattr(search, "bisect_speedup", lambda *arguments, **settings: None)
    accelerated = powerbert_tf.accelerate(
        folder, (frame["review"], frame["verdict"]), None, max_loss=0.01, search_over="rows", **SETTINGS
    )  # fmt: skip
    report = accelerated.report
    assert report.no_gain.startswith("--max_loss=0.01: no gain here: every configuration that was tried")
    assert report.retention_configuration == (1.0, 1.0, 1.0)
    assert report.agreement == 1
    assert report.reduced == report.original
    assert not report.retrained
    texts = frame["review"][:11].to_list()
    logits = dense_logits(folder, texts) / accelerated.run.task.temperature
    np.testing.assert_allclose(accelerated.probabilities(texts), special.softmax(logits, axis=-1), atol=1e-5)
    np.testing.assert_allclose(accelerated.logits(texts), dense_logits(folder, texts), atol=1e-5)


@pytest.fixture
def evaluated(reduced):
    """A report of other figures."""
    accelerated, _ = reduced
    found = accelerated.run.results.result("evaluate")

    def report(speedup, metric, value, retrained, constant=None):
        found["speedup"]["grouped"] = speedup
        found["metric"] = metric
        found["reduced"]["metrics"][metric] = value
        found["dense"]["metrics"][metric] = 0.95
        found["constant"] = constant
        return make_report(found, N, retrained)

    return report


def test_a_model_that_is_not_faster_is_no_gain(evaluated):
    assert evaluated(1.06, "accuracy", 0.94, True).no_gain == ""
    reason = evaluated(1.04, "accuracy", 0.94, True).no_gain
    assert "1.04x as fast on the same length-grouped batches" in reason
    assert "Not worth having: measured" in str(evaluated(1.04, "accuracy", 0.94, True))


def test_a_model_that_always_answers_alike_is_no_gain(evaluated, frame):
    constant = frame["verdict"][:37].value_counts(normalize=True).max()

    def no_gain(share, retrained):  # of the way from one answer to everything to all right
        value = constant + share * (1 - constant)
        return evaluated(2.0, "accuracy", value, retrained, constant).no_gain

    assert no_gain(0.11, True) == ""
    assert "barely better than chance" in no_gain(0.09, True)
    assert "no better than giving the same answer to everything" in no_gain(0, True)
    assert "try a lower target_speedup" in no_gain(0, True)
    assert "try retrain=True, or a lower" in no_gain(0, False)


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [("accuracy", [0, 1, 1, 1], 0.75), ("f1", [0, 1, 1], 0.8), ("mcc", [0, 1, 1], 0), ("macro_f1", [0, 1, 1], 0.4)],
)
def test_the_best_constant_answer(metric, labels, expected):
    assert best_constant(metric, np.array(labels), get_task("SST-2")) == pytest.approx(expected)
    assert acceleration_report.LEAST_GAIN > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_speedup": 1000.0}, "--target_speedup=1000: out of reach"),
        ({"target_speedup": 2.0, "max_loss": 0.01}, "--target_speedup and --max_loss are given; expected one target"),
        ({"classes": ("x", "y")}, "classes: x, y; expected 3 different names, one for each output"),
        ({"classes": ("x", "y", "x")}, "classes: x, y, x; expected 3 different names"),
        ({"classes": ("x", "y", "z")}, "labels: dull, fair, fine; expected x, y, z or numbers from 0 to 2"),
        ({"output_dir": "."}, "output_dir=.: holds files; expected a new or empty folder"),
        ({"epoch_retrain": 3}, "epoch_retrain: no setting of accelerate; expected one of"),
        ({"checkpoint": "x"}, "checkpoint: no setting of accelerate"),
        ({"search_method": "soft"}, "search_method=soft: expected calibrate, which trains nothing"),
        ({"retrain": True, "search_method": "paper"}, "search_method=paper: expected calibrate or soft"),
        ({"dev_data": "dev.csv"}, "data and dev_data: one is a path, the other is not"),
        ({"max_seq_length": 37}, "max_seq_length=37"),
        ({"text_column": "text"}, "text_column='text': no such column in the data frame"),
    ],
)
def test_refused_before_anything_is_searched(changes, message, folder, frame, monkeypatch):
    monkeypatch.setattr("powerbert_tf.acceleration.making.run_stage", lambda *_: pytest.fail("too late"))
    given = {"text_column": "review", "label_column": "verdict", "retrain": False, **SETTINGS, **changes}
    with pytest.raises(InputError, match=message):
        powerbert_tf.accelerate(folder, frame, **given)


def test_a_model_without_a_head_is_refused(tmp_path, frame):
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, num_outputs=None))
    with pytest.raises(InputError, match="has no head, so it is not a trained classifier"):
        powerbert_tf.accelerate(tmp_path, frame)
    with pytest.raises(InputError, match="model: none given"):
        powerbert_tf.accelerate("", frame)


def test_a_row_of_no_class_is_named(folder, frame):
    data = (frame["review"], ["superb", *frame["verdict"][1:]])
    with pytest.raises(InputError, match="train:1: the label 'superb' is none of dull, fair, fine"):
        powerbert_tf.accelerate(folder, data, **SETTINGS)


def test_placeholders_are_no_names(tmp_path):
    folder = write_classifier(tmp_path, classes=("LABEL_0", "LABEL_1", "LABEL_2"))
    assert find_checkpoint(folder).classes == ()
    with pytest.raises(InputError, match=r"labels: bad, good; expected numbers from 0 to 2, the classes of .*classes="):
        powerbert_tf.accelerate(folder, (["a", "b"] * 5, ["good", "bad"] * 5), **SETTINGS)
