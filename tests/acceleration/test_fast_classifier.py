"""The object that `accelerate`, `train` and `load` return: what it answers, shows, writes and refuses."""

import copy
import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny_classifier import CLASSES, SETTINGS, make_texts, write_classifier

import powerbert_tf
from powerbert_tf.acceleration import Accelerated
from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.retention import rows_kept

HARD = ["Words nobody knows, 日本 é!", "a", "a b c d e f g h " * 7]  # the last one is cut


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def texts():
    return make_texts(61)


@pytest.fixture(scope="module")
def fast(folder, texts):
    """Narrowed in all dimensions, and nothing trained."""
    return powerbert_tf.accelerate(folder, texts, 1.7, retrain=False, dev_data=texts[:37], verbose=0, **SETTINGS)


@pytest.fixture(scope="module")
def saved(fast, tmp_path_factory):
    return fast.save(tmp_path_factory.mktemp("saved") / "fast")


@pytest.fixture
def damaged(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_what_is_saved_answers_as_before(fast, saved, texts):
    again = powerbert_tf.load(saved)
    asked = [*texts, *HARD]
    np.testing.assert_allclose(again.logits(asked), fast.logits(asked), atol=1e-6)
    assert again.predict(asked) == fast.predict(asked)
    assert again.model.reduction == fast.model.reduction
    assert fast.model.reduction.is_narrowed
    assert again.classes == fast.classes == CLASSES
    assert str(again.report) == str(fast.report)
    assert again.model.count_params() == fast.model.count_params()


def test_what_was_loaded_can_be_saved_again(saved, tmp_path):
    again = powerbert_tf.load(powerbert_tf.load(saved).save(tmp_path / "again"))
    assert again.run.fingerprint == powerbert_tf.load(saved).run.fingerprint
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"again"}  # no unfinished folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_another_process_answers_the_same(backend, fast, saved, tmp_path, run_python):
    np.save(tmp_path / "expected.npy", fast.predict_proba(HARD))
    (tmp_path / "texts.json").write_text(json.dumps(HARD), encoding="utf-8")
    code = """if True:
        import json, pathlib, sys
        import keras, numpy as np, powerbert_tf
        saved, folder = map(pathlib.Path, sys.argv[1:])
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        found = powerbert_tf.load(saved).predict_proba(texts)
        np.testing.assert_allclose(found, np.load(folder / "expected.npy"), atol=1e-6)
        print(keras.backend.backend())
    """
    assert run_python(code, saved, tmp_path, KERAS_BACKEND=backend).stdout.split()[-1] == backend


def test_nothing_is_replaced(fast, saved, tmp_path):
    with pytest.raises(InputError, match="is there, and not empty; expected a new or empty folder"):
        fast.save(saved)
    with pytest.raises(InputError, match="is there, and not empty"):
        fast.save(saved / "task.json")
    (tmp_path / "empty").mkdir()
    assert (fast.save(tmp_path / "empty") / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "vocab.txt", "retention.json", "task.json", "fast_classifier.json"]
)
def test_a_damaged_file_is_named(name, damaged):
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{name}: damaged"):
        powerbert_tf.load(damaged)


def test_a_missing_file_is_named(damaged):
    (damaged / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab.txt: No such file or directory; expected the folder as save wrote it"):
        powerbert_tf.load(damaged)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2; expected 1: a later version wrote it"),
        ({"settings": None}, "damaged .*settings is None"),
        ({"settings": {"speed_of_light": 1}}, "no such setting: speed_of_light; a later version wrote it"),
        ({"evaluated": {"metric": "accuracy"}}, "evaluated lacks"),
    ],
)
def test_a_file_of_other_content_is_refused(changes, message, damaged):
    path = damaged / "fast_classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        powerbert_tf.load(damaged)


def test_foreign_folders_are_refused(folder, saved, tmp_path):
    with pytest.raises(InputError, match="no such folder; expected a folder that save wrote"):
        powerbert_tf.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a file; expected a folder that save wrote"):
        powerbert_tf.load(saved / "task.json")
    with pytest.raises(
        InputError, match="that of a finished run; accelerate makes a classifier in such a folder faster"
    ):
        powerbert_tf.load(folder)
    with pytest.raises(InputError, match=r"that of a finished run; .*fast is one"):
        powerbert_tf.load(saved.parent)


def test_the_folder_of_a_finished_run_is_loaded(tiny_run, tmp_path):
    root = tiny_run.copy(tmp_path, stage="evaluate")
    fast = powerbert_tf.load(root)
    evaluated = json.loads((root / "evaluate" / "result.json").read_text())
    assert fast.report.reduced == evaluated["reduced"]["metrics"]
    dev = pd.read_csv(tiny_run.data / "SST-2" / "dev.tsv", sep="\t", quoting=3)
    found = fast.evaluate((dev["sentence"], dev["label"]))
    assert found == pytest.approx(evaluated["reduced"]["metrics"])
    again = powerbert_tf.load(fast.save(tmp_path / "saved"))
    np.testing.assert_allclose(again.logits(dev["sentence"]), fast.logits(dev["sentence"]), atol=1e-6)


def test_metrics_of_labels_in_any_container(fast, texts, tmp_path):
    answers = fast.predict(texts)
    labels = [CLASSES[number % 3] for number in range(len(texts))]
    expected = np.mean(np.array(answers) == labels)
    numbers = [CLASSES.index(label) for label in labels]
    frame = pd.DataFrame({"text": texts, "label": labels})
    frame.to_csv(tmp_path / "table.csv", index=False)
    containers = [
        (texts, labels), (texts, numbers), (pd.Series(texts), np.array(numbers)), frame, tmp_path / "table.csv",
        tf.data.Dataset.from_tensor_slices((texts, numbers)),
        tf.data.Dataset.from_tensor_slices((texts, labels)).batch(7),
    ]  # fmt: skip
    for data in containers:
        assert fast.evaluate(data)["accuracy"] == pytest.approx(expected)
    renamed = frame.rename(columns={"text": "review", "label": "verdict"})
    assert fast.evaluate(renamed, text_column="review", label_column="verdict")["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["a b", "c"], "data: has no labels"),
        ((["a b", "c"], ["superb", "fine"]), "the label 'superb' is none of dull, fair, fine"),
        ((["a b", "c"], ["good", "bad"]), "labels: bad, good; expected dull, fair, fine or numbers from 0 to 2"),
        ((["a b"], ["fine", "dull"]), "1 texts and 2 labels"),
        (((["a b"], ["c"]), ["fine"]), "2 texts a row; the model was made on 1"),
        ("nowhere.csv", "nowhere.csv: no such file"),
        (7, "a int; expected a file of a table"),
    ],
)
def test_data_without_fitting_labels_is_refused(data, message, fast):
    with pytest.raises(InputError, match=message):
        fast.evaluate(data)


def test_an_explanation_has_as_many_tokens_as_each_encoder_keeps(fast, texts):
    text = texts[5]
    found = fast.explain(text)
    table = found.table
    length = len(text.split()) + 2  # [CLS] and [SEP]
    assert len(table) == length
    assert list(table["token"][[0, length - 1]]) == ["[CLS]", "[SEP]"]
    outlived = [length]
    for number, kept in enumerate(fast.model.retention_configuration[:-1], start=1):
        stays = table["encoder"].isna() | (table["encoder"] > number)
        assert stays.sum() == min(rows_kept(kept, length), outlived[-1])
        outlived.append(stays.sum())
    # Those that leave score no higher than those that stay, but for [CLS], which always does.
    for number, scores in enumerate(found.scores[:-1], start=1):
        leaves = (table["encoder"] == number).fillna(False).to_numpy(bool)
        stays = ~np.isnan(scores) & ~leaves & (np.arange(length) > 0)
        np.testing.assert_allclose(table["score"][leaves], scores[leaves])
        assert np.max(scores[leaves], initial=-np.inf) <= np.min(scores[stays], initial=np.inf) + 1e-6
    assert found.answer == fast.predict(text)[0]
    assert found.probabilities[found.answer] == pytest.approx(fast.predict_proba(text).max(), abs=1e-5)


def test_an_explanation_is_shown_as_html_and_as_text(fast):
    found = fast.explain("a <b> & c")
    assert "&lt;" in found._repr_html_()
    assert "<b> &" not in found._repr_html_()
    assert found.answer in repr(found)
    with pytest.raises(InputError, match="text: a list; expected one text"):
        fast.explain(["a", "b"])


def test_cards_have_the_verdict(fast, capsys):
    assert repr(fast).startswith("<FastClassifier texts: 3 classes, ")
    for line in fast.report.verdict:
        assert line.replace("→", "") in fast._repr_html_().replace("→", "")
    fast.summary()
    shown = capsys.readouterr().out
    assert str(fast.report) in shown
    assert f"{fast.model.count_params():,} weights" in shown


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_saved_and_not_pickled(make, fast):
    with pytest.raises(TypeError, match=r"cannot be pickled or copied; save\(folder\) writes it"):
        make(fast)


def test_earlier_names_work(fast, texts):
    assert Accelerated is powerbert_tf.FastClassifier
    np.testing.assert_array_equal(fast.probabilities(texts[:3]), fast.predict_proba(texts[:3]))
    assert fast.run.task.classes == CLASSES
