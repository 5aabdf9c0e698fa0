"""A task with any number of labels, through all stages, on a tiny checkpoint."""

import csv
import json
import random

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import special
from sklearn import metrics as sklearn_metrics
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint
from tiny_task import write_checkpoint

import powerbert_tf
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.prediction.predict import predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_predict_request, read_request
from powerbert_tf.tokenizers.files import load_tokenizer

LABELS = ("anger", "fear", "joy")
ROWS = {"train": 61, "test": 17}
N = 23
CONFIG = tiny_config(max_position_embeddings=31)
FAST = {
    "cost_model": "multiply_adds", "calibration_examples": 17, "latency_batch_size": 5, "batch_size": 13,
    "search_over": "rows",
}  # fmt: skip


def make_rows(count, seed):
    """Texts, and the labels of those letters that they have."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.choice("abcdef") for _ in range(draw.randrange(2, 9))]
        rows.append((" ".join(words), [label for label, letter in zip(LABELS, "abc", strict=True) if letter in words]))
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    for split, count in ROWS.items():
        frame = pd.DataFrame(make_rows(count, seed=count), columns=["text", "moods"])
        frame.to_json(folder / f"{split}.jsonl", orient="records", lines=True)
    return folder


def request(world, output, **flags):
    return read_request(
        {
            "task": "moods", "checkpoint": str(world / "checkpoint"), "output_dir": str(output),
            "train_file": str(world / "train.jsonl"), "test_file": str(world / "test.jsonl"),
            "text_column": "text", "label_column": "moods", "target_speedup": 1.3, "epochs": 2, "epochs_retrain": 1,
            "learning_rate": 3e-3, **FAST, **flags,
        }
    )  # fmt: skip


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text())


def having(rows):
    return np.array([[label in labels for label in LABELS] for labels in rows])


@pytest.mark.slow
def test_from_lists_of_labels_to_an_exported_model(world, tmp_path, capsys):
    settings, own = request(world, tmp_path, distillation="kl", export_format="tf_saved_model,hugging_face")
    pipeline.run(settings, own=own)
    folder = tmp_path / "moods"
    assert "3 labels, any number per row: anger" in capsys.readouterr().out

    thresholds = result(folder, "retrain")["thresholds"]
    evaluated = result(folder, "evaluate")
    assert list(evaluated["metrics"]) == ["micro_f1", "macro_f1", "average_precision"]
    assert [one["threshold"] for one in evaluated["per_class"].values()] == thresholds
    assert evaluated["reduced"]["metrics"] == result(folder, "retrain")["metrics"]
    f1 = [one["f1"] for one in evaluated["per_class"].values()]
    assert evaluated["metrics"]["macro_f1"] == pytest.approx(np.mean(f1))

    # Answers to the test file are the labels above their thresholds, and the metrics are those of scikit-learn.
    with (folder / "predict" / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "line", "text", "moods", "prediction", *(f"probability of {name}" for name in LABELS)]
    probabilities = np.array([row[5:] for row in rows], float)
    answers = having([json.loads(row[4]) for row in rows])
    np.testing.assert_array_equal(answers, probabilities >= thresholds)
    truth = having([labels for _, labels in make_rows(ROWS["test"], seed=ROWS["test"])])
    np.testing.assert_array_equal(having([json.loads(row[3]) for row in rows]), truth)
    assert result(folder, "predict")["metrics"] == pytest.approx(
        {
            "micro_f1": sklearn_metrics.f1_score(truth, answers, average="micro", zero_division=0),
            "macro_f1": sklearn_metrics.f1_score(truth, answers, average="macro", zero_division=0),
            "average_precision": sklearn_metrics.average_precision_score(truth, probabilities),
        }
    )

    # The exported model gives the same probabilities, and says what to do with them.
    version = folder / "saved_model" / "1"
    described = json.loads((version / "task.json").read_text())
    assert (described["multi_label"], described["classes"]) == (True, list(LABELS))
    assert described["thresholds"] == thresholds
    assert described["temperature"] == result(folder, "retrain")["temperature"]
    card = (version / "README.md").read_text()
    assert f"| anger | {thresholds[0]:g} |" in card
    assert "multi-label classification of single texts; labels, in this order, any number of which can be right" in card
    texts = [text for text, _ in make_rows(ROWS["test"], seed=ROWS["test"])]
    served = tf.saved_model.load(str(version)).signatures["serve_text"](text=tf.constant(texts))
    assert set(served) == {"probabilities", "classes"}
    np.testing.assert_allclose(served["probabilities"], probabilities, atol=1e-5)
    config = json.loads((folder / "hugging_face" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["id2label"].values()) == list(LABELS)
    assert find_checkpoint(folder / "hugging_face").is_multi_label

    # Files that the run has never seen, from its task.json alone.
    for form in ("csv", "parquet"):
        given = {"task": str(folder / "task.json"), "output_dir": str(tmp_path)}
        settings = PredictSettings(
            predict_file=str(world / "test.jsonl"), predict_format=form, predict_dir=str(tmp_path / form)
        )
        found = predict_files(read_predict_request(settings, given))
        frame = (pd.read_csv if form == "csv" else pd.read_parquet)(found / f"part-00000.{form}")
        said = [json.loads(one) if form == "csv" else one for one in frame["prediction"]]
        np.testing.assert_array_equal(having(said), answers)

    # The run's own file repeats it; another threshold would be another model.
    again, own = request(world, tmp_path, task=str(folder / "task.json"), train_file=None, test_file=None)
    with pytest.raises(InputError, match="distillation was 'kl', is 'logits'"):
        pipeline.run(again, "evaluate", own=own)


@pytest.mark.slow
def test_the_other_stages(world, tmp_path):
    columns = {label: having([labels for _, labels in make_rows(61, 61)])[:, at] for at, label in enumerate(LABELS)}
    frame = pd.DataFrame({"text": [text for text, _ in make_rows(61, 61)], **columns})
    frame.astype(dict.fromkeys(LABELS, int)).to_csv(tmp_path / "train.csv", index=False)
    settings, own = request(
        world, tmp_path, train_file=str(tmp_path / "train.csv"), test_file=None, label_column=",".join(LABELS),
        search_method="soft", target_speedups="1.2,1.4", export_model="elastic", explain_examples=5, format="text",
    )  # fmt: skip
    for stage in ("explain", "elastic", "export", "pareto", "report"):
        pipeline.run(settings, stage, own=own)
    folder = tmp_path / "moods"
    page = (folder / "report" / "report.md").read_text()
    assert "| class | precision | recall | F1 | threshold | examples |" in page
    assert "An answer is right if all its labels are" in page
    assert (folder / "explain" / "explain.txt").read_text().startswith("example 0: dense ")
    budgets = result(folder, "elastic")["budgets"]
    assert all(len(budget["thresholds"]) == 3 for budget in budgets)
    card = (folder / "saved_model" / "1" / "README.md").read_text()
    assert "| label | threshold | at 1.2x | at 1.4x |" in card
    assert f" {budgets[1]['thresholds'][2]:g} |" in card


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    write_hugging_face_checkpoint(folder, CONFIG, random_weights(CONFIG, 3))
    path = folder / "config.json"
    named = {"id2label": {str(at): name for at, name in enumerate(LABELS)}}
    content = {**json.loads(path.read_text()), **named, "problem_type": "multi_label_classification"}
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def probabilities_of(folder, texts):
    """The sigmoids of the checkpoint's own logits."""
    checkpoint = find_checkpoint(folder)
    token_ids, segment_ids = load_tokenizer(checkpoint)([tf.constant(texts)], N)
    inputs = {
        "token_ids": token_ids.to_tensor(),
        "segment_ids": segment_ids.to_tensor(),
        "padding_mask": tf.sequence_mask(token_ids.row_lengths(), dtype=tf.int32),
    }
    return special.expit(keras.ops.convert_to_numpy(load_classifier(checkpoint, 3, N)(inputs)))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["array", "names", "columns"])
def test_a_trained_classifier_with_several_labels_is_accelerated(classifier, form, tmp_path):
    texts = [text for text, _ in make_rows(61, seed=3)]
    probabilities = probabilities_of(classifier, texts)
    labels = probabilities > np.median(probabilities, axis=0)
    named = [[name for name, there in zip(LABELS, row, strict=True) if there] for row in labels]
    data = {
        "array": (texts, labels.astype("float32")),
        "names": (texts, named),
        "columns": pd.DataFrame({"text": texts, **{name: labels[:, at] for at, name in enumerate(LABELS)}}),
    }[form]
    accelerated = powerbert_tf.accelerate(
        classifier, data, 1.3, retrain=form == "names", dev_data=data, max_seq_length=N, output_dir=tmp_path,
        label_column=LABELS if form == "columns" else "", epochs_retrain=1, verbose=0, held_out_share=0.0, **FAST,
    )  # fmt: skip
    report = accelerated.report
    # Thresholds that fit dev best find what its labels were made of.
    assert report.original == pytest.approx({"micro_f1": 1, "macro_f1": 1, "average_precision": 1})
    assert accelerated.run.task.classes == LABELS
    found = accelerated.probabilities(texts)
    answers = found >= accelerated.thresholds
    assert accelerated.predict(texts) == [
        [name for name, there in zip(LABELS, row, strict=True) if there] for row in answers
    ]
    assert report.reduced["micro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, answers, average="micro"))
    assert report.agreement == pytest.approx(np.mean(np.all(answers == labels, axis=1)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["anger", "envy"], []] * 7, "the label 'envy' is none of anger, fear, joy"),
        ([["envy"], []] * 7, "labels: envy; expected anger, fear, joy or numbers from 0 to 2"),
        ([[3, 1], [2]] * 7, "labels: 1, 2, 3; expected anger, fear, joy or numbers from 0 to 2"),
        (np.ones((15, 5), int), "labels: 0, 1, 2, 3, 4; expected anger, fear, joy or numbers from 0 to 2"),
        (np.linspace(0, 1, 15), "labels: 0, "),
    ],
)
def test_labels_that_are_not_the_models_are_refused(classifier, labels, message):
    with pytest.raises(InputError, match=message):
        powerbert_tf.accelerate(classifier, (["a b"] * len(labels), labels), max_seq_length=N)


@pytest.mark.parametrize(
    ("labels", "separator"),
    [
        ([["dull", "fine"], ["fair"]] * 7, ""),
        ([[1, 0, 1], [0, 1, 0]] * 7, ""),
        (["dull|fine", "dull", "fine", "fair|fine", "fair"] * 3, "|"),
    ],
)
def test_several_labels_are_refused_by_a_model_of_one_class(labels, separator, tmp_path):
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, 3))
    with pytest.raises(InputError, match=r"labels: several per row; .* one class of 3. Expected one label per row"):
        powerbert_tf.accelerate(
            tmp_path, (["a b"] * len(labels), labels), max_seq_length=N, label_separator=separator,
            classes=("dull", "fair", "fine"),
        )  # fmt: skip
