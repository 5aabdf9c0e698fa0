"""A trained head answers in the order of the task's classes, or not at all."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_hugging_face_checkpoint
from tiny_family import KINDS, family_inputs, logits_of, write_family_checkpoint

import powerbert_tf
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.checkpoints.heads import fit_head
from powerbert_tf.checkpoints.names import HEAD
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import reporting
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER
from powerbert_tf.data.tasks import get_task
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_request
from powerbert_tf.tokenizers.files import load_tokenizer

N = 23
CONFIG = tiny_config()
NAMES = ("entailment", "neutral", "contradiction")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier whose classes are in another order than MNLI's and than the alphabet's."""
    return name_classes(tmp_path_factory.mktemp("checkpoint"), NAMES)


def name_classes(folder, names, bias=0.0):
    weights = random_weights(CONFIG, len(names))
    write_hugging_face_checkpoint(folder, CONFIG, {**weights, "output_bias": weights["output_bias"] + np.float32(bias)})
    path = folder / "config.json"
    found = {**json.loads(path.read_text()), "id2label": {str(at): name for at, name in enumerate(names)}}
    path.write_text(json.dumps(found), encoding="utf-8")
    return folder


def test_logits_come_in_the_order_of_the_classes(folder, capsys):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    own = ops.convert_to_numpy(load_classifier(folder, 3, N)(inputs))
    assert capsys.readouterr().out == ""
    found = ops.convert_to_numpy(load_classifier(folder, 3, N, classes=get_task("MNLI").classes)(inputs))
    np.testing.assert_allclose(found, own[:, [2, 0, 1]], atol=1e-6)  # contradiction, entailment, neutral
    said = capsys.readouterr().out
    assert "its head has its classes in another order, entailment, neutral, contradiction; reordered to" in said


@pytest.mark.parametrize("wrong", [{"id2label": 2.5}, {"id2label": ["a", "b"]}, {"problem_type": ["regression"]}])
def test_what_the_head_stands_for_is_read_or_refused(wrong, tmp_path):
    path = name_classes(tmp_path, NAMES) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}), encoding="utf-8")
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=rf"config.json: {name}={re.escape(repr(value))}; expected "):
        load_classifier(tmp_path, 3, N)


def test_what_becomes_of_a_head_goes_where_all_lines_go(folder, capsys):
    lines = []
    with reporting(take=lines.append):
        load_classifier(folder, 7, N)
    with reporting(verbose=0):
        load_classifier(folder, 7, N)
    (line,) = lines
    assert "its head has 3 outputs, the task 7; a new head is made" in line
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "albert v2"])
def test_in_every_architecture(kind, tmp_path):
    pytest.importorskip("transformers")
    names = tuple("ebgacfd")
    model = write_family_checkpoint(tmp_path, KINDS[kind], id2label=dict(enumerate(names)))
    inputs = family_inputs(random_inputs(CONFIG, batch=5, length=19), KINDS[kind])
    expected = logits_of(model, KINDS[kind], inputs)
    found = load_classifier(tmp_path, 7, N, classes=sorted(names))(inputs)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), expected[:, [names.index(name) for name in sorted(names)]], atol=1e-5
    )


WEIGHTS = {HEAD[0]: np.arange(33.0).reshape(11, 3), HEAD[1]: np.array([0.5, 0.25, 0.125]), "pooler/bias": np.ones(5)}


@pytest.mark.parametrize(
    ("own", "classes", "num_outputs", "order", "note"),
    [
        (NAMES, NAMES, 3, [0, 1, 2], ""),
        (NAMES, (), 3, [0, 1, 2], ""),
        (NAMES, ("0", "1", "2"), 3, [0, 1, 2], ""),  # numbers of the head's outputs
        (NAMES, ("Neutral", "ENTAILMENT", "contradiction"), 3, [1, 0, 2], "reordered to Neutral, ENTAILMENT"),
        ((), ("a", "b", "c"), 3, [0, 1, 2], "no class names; its outputs are taken for a, b, c, in this order"),
        (
            ("joy", "anger", "fear"),
            NAMES,
            3,
            None,
            "its head has the classes joy, anger, fear, not entailment, neutral",
        ),
        (NAMES, ("1", "2", "3"), 3, None, "not 1, 2, 3; a new head is made"),
        (NAMES, ("a", "b"), 2, None, "its head has 3 outputs, the task 2; a new head is made"),
        (NAMES, (), 1, None, "its head has 3 outputs, the task 1; a new head is made"),
    ],
)
def test_what_becomes_of_a_head(own, classes, num_outputs, order, note):
    found, said = fit_head(WEIGHTS, own, classes, num_outputs)
    assert note in said
    assert (said == "") == (note == "")
    np.testing.assert_array_equal(found["pooler/bias"], WEIGHTS["pooler/bias"])
    if order is None:
        assert not found.keys() & set(HEAD)
    else:
        np.testing.assert_array_equal(found[HEAD[0]], WEIGHTS[HEAD[0]][:, order])
        np.testing.assert_array_equal(found[HEAD[1]], WEIGHTS[HEAD[1]][order])


@pytest.mark.slow
def test_a_run_starts_from_the_answers_of_a_trained_head(folder, tmp_path):
    """Labels that are the model's own answers, by name; a rate that changes next to nothing."""
    texts = [" ".join(row) for row in np.random.default_rng(3).choice(list("abcdefgh"), (61, 7))]
    token_ids, segment_ids = load_tokenizer(find_checkpoint(folder))([texts], N)
    inputs = {"token_ids": token_ids.to_tensor(), "segment_ids": segment_ids.to_tensor()}
    logits = load_classifier(folder, 3, N)({**inputs, "padding_mask": ops.ones_like(inputs["token_ids"])})
    mean = ops.convert_to_numpy(logits).mean(axis=0)  # without which one class answers for all
    labels = [NAMES[at] for at in (ops.convert_to_numpy(logits) - mean).argmax(axis=1)]
    assert set(labels) == set(NAMES)
    name_classes(tmp_path / "checkpoint", NAMES, -mean)
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "train.csv", index=False)
    settings, own = read_request(
        {
            "task": "nli", "checkpoint": str(tmp_path / "checkpoint"), "output_dir": str(tmp_path), "max_seq_length": N,
            "train_file": str(tmp_path / "train.csv"), "text_column": "text", "label_column": "label",
            "epochs": 1, "learning_rate": 1e-9, "batch_size": 13,
        }
    )  # fmt: skip
    pipeline.run(settings, "finetune", own=own)
    assert json.loads((tmp_path / "nli" / "finetune" / "result.json").read_text())["metrics"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("regression", r"its head answers 3 numbers \(problem_type=regression\)"),
        ("ranking", r"config\.json: problem_type='ranking'; expected one of regression, single_label"),
    ],
)
def test_a_head_that_answers_something_else_is_refused_or_replaced(kind, message, tmp_path, capsys):
    name_classes(tmp_path, NAMES)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "problem_type": kind}))
    with pytest.raises(InputError, match=message):
        powerbert_tf.accelerate(tmp_path, (["a b"] * 3, list(NAMES)), max_seq_length=N)
    if kind != "ranking":
        load_classifier(tmp_path, 3, N, classes=NAMES)
        assert "; a new head is made" in capsys.readouterr().out


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_one_output_with_a_sigmoid_is_refused_or_replaced(problem, tmp_path, capsys):
    name_classes(tmp_path, ("toxic",))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "problem_type": problem}))
    message = rf"its head answers one label by a sigmoid \(one output, problem_type={problem}\); expected one class of"
    with pytest.raises(InputError, match=message):
        powerbert_tf.accelerate(tmp_path, (["a b"] * 3, [0.5, 1.5, 2.5]), max_seq_length=N)
    load_classifier(tmp_path, 1, N, kind=NUMBER)
    assert "; a new head is made" in capsys.readouterr().out


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_a_head_for_one_class_is_none_for_several_labels(problem, tmp_path, capsys):
    name_classes(tmp_path, NAMES)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "problem_type": problem}))
    bias = find_checkpoint(tmp_path).read_weights()[HEAD[1]]
    for kind in (CLASSES, LABELS):
        model = load_classifier(tmp_path, 3, N, classes=NAMES, kind=kind)
        is_kept = kind.problem_type == problem
        assert ("a new head is made" in capsys.readouterr().out) != is_kept
        np.testing.assert_array_equal(ops.convert_to_numpy(model.get_layer("classifier").bias), bias * is_kept)


STARS = tuple(f"{count} star{'s' * (count > 1)}" for count in range(1, 6))


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (STARS, ["1", "2", "3", "4", "5"]),
        (STARS, ["1", "2", "3", "4"]),  # no 5, so that all are numbers of outputs
        (("dull", "fair", "fine"), ["1", "2", "3"]),
        (("dull", "fair", "fine"), ["0", "1", "2", "3"]),
    ],
)
def test_numbers_that_may_be_other_classes_are_refused(names, labels, tmp_path):
    name_classes(tmp_path, names)
    data = (["a b"] * len(labels), labels)
    with pytest.raises(InputError, match=rf"labels: .*; expected {names[0]}, .* or numbers from 0 to {len(names) - 1}"):
        powerbert_tf.accelerate(tmp_path, data, max_seq_length=N)


@pytest.mark.parametrize("mark", ["-1", "-"])
def test_a_mark_of_rows_without_a_label_is_no_number_of_a_class(mark, tmp_path):
    name_classes(tmp_path, ("dull", "fair", "fine"))
    data = (["a b"] * 7, ["0", "1", "2", "0", "1", "2", mark])
    with pytest.raises(InputError, match=rf"train:7: the label '{mark}' is none of 0, 1, 2; it marks rows without"):
        powerbert_tf.accelerate(tmp_path, data, max_seq_length=N)
