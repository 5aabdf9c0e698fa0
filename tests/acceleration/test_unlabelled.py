"""Texts without labels: the classifier's own answers take their place."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats
from tiny_bert import random_weights, write_hugging_face_checkpoint
from tiny_classifier import CLASSES, CONFIG, SETTINGS, N, dense_logits, make_texts, write_classifier

import powerbert_tf
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labelled_tables import memory_tables
from powerbert_tf.data.settings import DataSettings

SEARCH = {**SETTINGS, "retrain": False, "search_over": "rows", "verbose": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def texts():
    return make_texts(61)


@pytest.fixture(scope="module")
def unlabelled(folder, texts):
    return powerbert_tf.accelerate(folder, texts, 1.7, dev_data=texts[:37], **SEARCH)


@pytest.mark.slow
def test_the_models_own_answers_are_the_labels(unlabelled, folder, texts):
    """Nothing else changes: with these answers as labels, the same model is found, with the same figures."""
    answers = [CLASSES[answer] for answer in dense_logits(folder, texts).argmax(axis=1)]
    labelled = powerbert_tf.accelerate(
        folder, (texts, answers), 1.7, dev_data=(texts[:37], answers[:37]), metric="accuracy", **SEARCH
    )
    assert unlabelled.report.retention_configuration == labelled.report.retention_configuration
    np.testing.assert_array_equal(unlabelled.logits(texts), labelled.logits(texts))
    assert unlabelled.report.original == {"agreement": 1.0}
    assert unlabelled.report.reduced == {"agreement": labelled.report.reduced["accuracy"]}
    assert unlabelled.report.agreement == labelled.report.agreement == unlabelled.report.reduced["agreement"]


CONTAINERS = {
    "list": list,
    "Series": pd.Series,
    "array": np.array,
    "tensor": tf.constant,
    "Dataset": tf.data.Dataset.from_tensor_slices,
    "batches": lambda texts: tf.data.Dataset.from_tensor_slices(texts).batch(5),
    "frame": lambda texts: pd.DataFrame({"text": texts, "id": range(len(texts))}),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_texts_come_in_any_container(container, texts):
    tables = memory_tables({"train": container(texts)}, DataSettings())
    assert [row.cells["text"] for _, row in tables.rows("train")] == texts
    assert not tables.label_column


def test_pairs_are_a_list_of_two_texts_each():
    tables = memory_tables({"train": [("one", "other"), ["two", "more"]]}, DataSettings())
    cells = [row.cells for _, row in tables.rows("train")]
    assert cells == [{"text": "one", "text_pair": "other"}, {"text": "two", "text_pair": "more"}]


def test_a_file_without_a_label_column(folder, texts, tmp_path, capsys):
    path = tmp_path / "requests.jsonl"
    pd.DataFrame({"request": texts, "at": range(len(texts))}).to_json(path, orient="records", lines=True)
    given = {**SEARCH, "verbose": 1, "max_seq_length": 0}
    accelerated = powerbert_tf.accelerate(folder, path, 1.3, text_column="request", **given)
    assert "requests: 31 training rows, 30 dev rows, split off (50%)" in capsys.readouterr().out
    assert accelerated.report.original == {"agreement": 1.0}
    # 18 words at most and 2 special tokens, in multiples of 8.
    assert accelerated.report.max_seq_length == accelerated.run.settings.inputs.max_seq_length == 24


@pytest.mark.slow
def test_the_share_of_answers_that_may_change(folder, texts):
    accelerated = powerbert_tf.accelerate(folder, texts, max_disagreement=0.3, held_out_share=0.2, **SEARCH)
    settings = accelerated.run.settings.search
    assert (settings.max_loss, settings.target_speedup) == (0.3, 0.0)
    held_out = accelerated.run.split("held_out")
    assert len(held_out) == 6
    assert accelerated.run.evaluate(accelerated.model, split="held_out")["agreement"] >= 1 - 0.3


def test_a_column_named_label_of_a_file_is_taken_as_in_a_data_frame(folder, texts, tmp_path):
    answers = dense_logits(folder, texts).argmax(axis=1)
    path = tmp_path / "data.csv"
    pd.DataFrame({"text": texts, "label": [CLASSES[one] for one in answers]}).to_csv(path, index=False)
    with pytest.raises(InputError, match="max_disagreement: the data has labels"):
        powerbert_tf.accelerate(folder, path, text_column="text", max_disagreement=0.1, **SEARCH)


@pytest.mark.slow
def test_numbers_agree_by_correlation(texts, tmp_path):
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, 1))
    with pytest.raises(InputError, match="max_disagreement: is for a model of one class of several"):
        powerbert_tf.accelerate(tmp_path, texts, max_disagreement=0.1, **SEARCH)
    accelerated = powerbert_tf.accelerate(tmp_path, texts, 1.3, dev_data=texts[:37], **SEARCH)
    assert accelerated.report.original["spearman"] == pytest.approx(1)
    before, after = dense_logits(tmp_path, texts[:37], num_outputs=1)[:, 0], accelerated.logits(texts[:37])[:, 0]
    assert accelerated.report.reduced["spearman"] == pytest.approx(stats.spearmanr(before, after).statistic, abs=1e-3)


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ((["a", "b"], ["dull", "fine"]), {"max_disagreement": 0.1}, "max_disagreement: the data has labels"),
        (["a", "b"], {"max_disagreement": 0.1, "max_loss": 0.1}, "max_disagreement and max_loss are given"),
        (["a", "b"], {"dev_data": (["a"], ["dull"])}, "train and dev: one has labels, the other has not"),
        ([1, 2], {}, r"train\[0\]: 1; expected a text"),
        ({"a": 1}, {}, "train: a dict; expected a file of a table"),
        (7, {}, "train: a int; expected a file of a table"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(folder, data, given, message):
    with pytest.raises(InputError, match=message):
        powerbert_tf.accelerate(folder, data, 1.3, **{**SEARCH, **given})


def test_n_is_that_of_the_classifier_unless_given(unlabelled):
    assert unlabelled.run.settings.inputs.max_seq_length == N
