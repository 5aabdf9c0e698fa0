"""The stages whole with tiny models of the family, each with its own tokenizer, from its own files."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_family import write_albert, write_roberta
from tiny_task import write_data

from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.retention import configuration_from_masses
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.tokenizers.files import load_tokenizer


@pytest.fixture
def settings_for(tmp_path):
    def settings(task, **changes):
        write_data(tmp_path / "data", task)
        return resolve_settings(
            task,
            checkpoint=str(tmp_path / "checkpoint"),
            data_dir=str(tmp_path / "data"),
            output_dir=str(tmp_path / "runs"),
            max_seq_length=23,
            epochs=1,
            batch_size=13,
            cost_model="multiply_adds",
            latency_batch_size=5,
            calibration_examples=11,
            **{"target_speedup": 1.3, "search_over": "rows", **changes},
        )

    return settings


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_albert_from_googles_files(settings_for, tmp_path):
    write_albert(tmp_path / "checkpoint")
    pipeline.run(settings_for("QNLI"))
    folder = tmp_path / "runs" / "QNLI"
    configuration = result(folder, "search")["retention_configuration"]
    assert len(configuration) == 3  # one an encoder
    assert result(folder, "retrain")["retention_configuration"] == configuration
    assert result(folder, "evaluate")["multiply_adds"]["padded"]["saved"] > 1
    check_texts_are_served(folder, "QNLI")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "changes"),
    [("paper", {"target_speedup": None, "lambda_": 0.1, "learning_rate_soft_extract": 0.05}), ("soft", {})],
)
def test_albert_is_searched_and_retrained(method, changes, settings_for, tmp_path):
    write_albert(tmp_path / "checkpoint")
    pipeline.run(settings_for("SST-2", search_method=method, **changes), "retrain")
    folder = tmp_path / "runs" / "SST-2"
    configuration = result(folder, "retrain")["retention_configuration"]
    assert len(configuration) == 3
    if method == "paper":
        masses = result(folder, "search")["masses"]
        assert len(set(masses)) == 3  # retention parameters of their own
        assert configuration == list(configuration_from_masses(masses))


def check_texts_are_served(folder, task):
    """Texts get the answers of their ids."""
    texts = {"SST-2": {"text": ["a b b a", "B  a"]}, "QNLI": {"text": ["a b b a", "B  a"], "text_pair": ["b", "a a a"]}}
    signatures = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures
    of_texts, of_ids = signatures["serve_text"], signatures["serving_default"]
    texts = {name: tf.constant(column) for name, column in texts[task].items()}
    tokenizer = tokenizer_of(folder)
    token_ids, segment_ids = tokenizer(list(texts.values()), 23)
    ids = {
        "token_ids": token_ids.to_tensor(tokenizer.pad_id, shape=[None, 23]),
        "segment_ids": segment_ids.to_tensor(shape=[None, 23]),
        "padding_mask": tf.ones_like(token_ids).to_tensor(shape=[None, 23]),
    }
    np.testing.assert_allclose(of_texts(**texts)["probabilities"], of_ids(**ids)["probabilities"], atol=1e-5)


def tokenizer_of(folder):
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return load_tokenizer(find_checkpoint(settings["checkpoint"]))


@pytest.mark.slow
def test_albert_for_many_budgets(settings_for, tmp_path):
    write_albert(tmp_path / "checkpoint")
    settings = settings_for("SST-2", target_speedups="1.3", target_speedup=None, search_over="")
    pipeline.run(settings, "elastic")
    pipeline.run(settings, "pareto")
    folder = tmp_path / "runs" / "SST-2"
    (budget,) = result(folder, "elastic")["budgets"]
    points = {point["strategy"]: point for point in result(folder, "pareto")["points"]}
    assert points["elastic"]["configuration"] == budget["retention_configuration"]
    assert len(points["calibrate"]["configuration"]) == 3


@pytest.mark.slow
def test_roberta_tells_pairs_without_segments(settings_for, tmp_path):
    write_roberta(tmp_path / "checkpoint")
    pipeline.run(settings_for("QNLI"))
    check_texts_are_served(tmp_path / "runs" / "QNLI", "QNLI")


def test_robertas_padding_is_its_own(settings_for, tmp_path):
    write_roberta(tmp_path / "checkpoint")
    run = prepare(settings_for("SST-2"), tmp_path / "runs" / "SST-2")
    batches = prediction_batches(run.split("dev"), 5, padding="max")
    batch = batches.inputs(0)
    assert set(batch["token_ids"][batch["padding_mask"] == 0]) == {1}


def test_a_length_without_room_for_words_and_one_beyond_the_positions(settings_for, tmp_path):
    write_roberta(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"--max_seq_length=32: .* has position embeddings for 31 tokens"):
        pipeline.run(resolve_settings("SST-2", checkpoint=str(tmp_path / "checkpoint"), max_seq_length=32))
    with pytest.raises(InputError, match=r"--max_seq_length=4: leaves no room for words; expected at least 5"):
        pipeline.run(resolve_settings("QNLI", checkpoint=str(tmp_path / "checkpoint"), max_seq_length=4))
