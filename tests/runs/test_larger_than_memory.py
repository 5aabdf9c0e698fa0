"""What is in files gives the same as what is in memory: data, token ids, batches, trained models."""

import json
import os
import random

import numpy as np
import pandas as pd
import pytest
from made_up_rows import segment_ids_of, token_ids_of
from tiny_task import write_checkpoint

from powerbert_tf.batches import encoded_cache, encoded_split
from powerbert_tf.batches.encoded_cache import load_encoded
from powerbert_tf.batches.padded_batches import prediction_batches, training_batches
from powerbert_tf.common import large_arrays
from powerbert_tf.common.large_arrays import new_array
from powerbert_tf.data import text_columns
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.data.rejected_rows import write_rejected
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.splits import Split
from powerbert_tf.data.text_columns import StoredTexts
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.stages import predict
from powerbert_tf.tokenizers.word_pieces import Tokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"]


@pytest.fixture
def in_files(monkeypatch):
    """Turns on that nothing is held; the data of the tests would be."""

    def turn_on():
        monkeypatch.setattr(text_columns, "MOST_HELD", 1)
        monkeypatch.setattr(text_columns, "BLOCK", 7)
        monkeypatch.setattr(encoded_split, "FEWEST_AT_ONCE", 11)
        monkeypatch.setattr(encoded_split, "COUNTED_AT_ONCE", 3)
        monkeypatch.setattr(large_arrays, "MOST_HELD", 0)
        monkeypatch.setattr(predict, "BLOCK", 5)

    return turn_on


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Tables of pairs, with rows that cannot be used; the class is the letter that occurs most."""
    folder = tmp_path_factory.mktemp("files")
    draw = random.Random(3)
    for split, count in (("train", 97), ("test", 23)):
        rows = []
        for number in range(count):
            letter = "ab"[number % 2]
            words = [letter] * 4 + [draw.choice("ab") for _ in range(draw.randrange(9))]
            rows.append((" ".join(words), " ".join(words[::2]), letter, f"{number} שלום"))
        rows[7] = ("", " ", "a", "no text")
        rows[11] = ("a", "b", "c", "another class")
        pd.DataFrame(rows, columns=["one", "two", "label", "note"]).to_csv(folder / f"{split}.csv", index=False)
    return folder


def flags_of(files):
    return {
        "train_file": str(files / "train.csv"),
        "test_file": str(files / "test.csv"),
        "text_column": "one",
        "text_pair_column": "two",
        "label_column": "label",
        "on_bad_row": "skip",
    }


def test_own_data(files, in_files, tmp_path):
    def load(name):
        own = load_own_data(DataSettings(**flags_of(files), dev_share=0.2), "letters", ("a", "b"))
        (tmp_path / name).mkdir()
        write_rejected(tmp_path / name, own.rejected)
        return own, (tmp_path / name / "rejected.jsonl").read_text()

    held, held_rejected = load("held")
    in_files()
    stored, stored_rejected = load("stored")
    assert stored.dataset.fingerprint() == held.dataset.fingerprint()
    assert stored.summary == held.summary
    assert stored_rejected == held_rejected
    # Bad rows come first, then those whose label is none; each whole.
    assert [json.loads(line)["row"]["note"] for line in stored_rejected.splitlines()] == [
        "no text",
        "another class",
    ] * 2
    for name, split in held.dataset.splits.items():
        other = stored.dataset.splits[name]
        assert all(isinstance(column, StoredTexts) for column in other.texts)
        assert all(isinstance(column, list) for column in split.texts)
        assert [list(column) for column in other.texts] == list(split.texts)
        np.testing.assert_array_equal(other.labels, split.labels)
        assert (other.indices is None) == (split.indices is None)
        assert list(other.indices or ()) == list(split.indices or ())
        few, others = (one.sample(13, seed=1) for one in (split, other))
        assert few.texts == tuple(map(list, others.texts))


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("num_texts", [1, 2])
def test_token_ids(in_files, tmp_path, keeps, num_texts):
    draw = random.Random(0)
    texts = tuple([" ".join(draw.choices(["a", "bc", "x"], k=draw.randrange(9))) for _ in range(97)] for _ in range(2))
    split = Split(texts[:num_texts], np.arange(97, dtype="int32"), None)
    tokenizer = Tokenizer(VOCABULARY, lower_case=True)
    held = load_encoded(split, tokenizer, 13, None)
    in_files()
    folder = tmp_path / "cache" if keeps else None
    for _ in range(2):
        stored = load_encoded(split, tokenizer, 13, folder)
        assert isinstance(stored.token_ids, np.memmap)
        assert isinstance(stored.spans, np.memmap)
        assert token_ids_of(stored) == token_ids_of(held)
        assert segment_ids_of(stored) == segment_ids_of(held)
        np.testing.assert_array_equal(stored.lengths, held.lengths)
    assert (len(list(folder.iterdir())) if folder else 0) == int(keeps)
    for make in (
        lambda encoded: training_batches(encoded, 5, epochs=3, seed=2).select(slice(4, None)).dataset(with_labels=True),
        lambda encoded: training_batches(encoded, 5, epochs=3, seed=2, fill=True).dataset(with_labels=True),
        lambda encoded: prediction_batches(encoded, 5).dataset(with_labels=False),
        lambda encoded: prediction_batches(encoded.take(np.array([5, 3, 90])), 2).dataset(with_labels=False),
    ):
        batches = [list(make(encoded).as_numpy_iterator()) for encoded in (held, stored)]
        assert len(batches[0]) == len(batches[1]) > 0
        for one, other in zip(*batches, strict=True):
            one, other = (values if isinstance(values, tuple) else (values,) for values in (one, other))
            for name, values in one[0].items():
                np.testing.assert_array_equal(other[0][name], values)
            for values, others in zip(one[1:], other[1:], strict=True):
                np.testing.assert_array_equal(others, values)


def test_a_folder_without_room_is_done_without(in_files, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(encoded_cache.logging, "warning", lambda text, *values: messages.append(text % values))
    in_files()
    (tmp_path / "file").write_text("")
    split = Split((["a"] * 97,), None, None)
    encoded = load_encoded(split, Tokenizer(VOCABULARY, lower_case=True), 7, tmp_path / "file" / "folder")
    assert token_ids_of(encoded) == [[2, 4, 3]] * 97
    assert len(messages) == 1
    assert "cannot be written" in messages[0]


def test_no_file_stays_open(in_files, tmp_path):
    in_files()

    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        load_encoded(Split((["a"] * 97,), None, None), Tokenizer(VOCABULARY, lower_case=True), 7, tmp_path)
    assert count() == before


def test_large_arrays_are_files(in_files):
    small = new_array((3, 5), "float32")
    in_files()
    large = new_array((3, 5), "float32")
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    for array in (small, large):
        array[np.array([2, 0])] = [[1] * 5, [3] * 5]
        array[1] = 7
        assert array.sum() == 55


@pytest.mark.slow
def test_a_run_gives_the_same_bits(files, in_files, tmp_path):
    """Fine-tuned, re-trained towards its answers, evaluated, predicted."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint")

    def run(name):
        settings, own = read_request(
            {
                **flags_of(files), "task": "letters", "checkpoint": str(checkpoint), "output_dir": str(tmp_path / name),
                "cache_dir": str(tmp_path / name / "cache"), "retention_configuration": "7,3", "max_seq_length": 23,
                "cost_model": "multiply_adds", "latency_batch_size": 5, "epochs": 2, "epochs_retrain": 1,
                "batch_size": 13, "learning_rate": 3e-3, "eval_batch_size": 7,
            }
        )  # fmt: skip
        for stage in ("evaluate", "predict"):
            pipeline.run(settings, stage, own=own)
        folder = tmp_path / name / "letters"
        evaluated = json.loads((folder / "evaluate" / "result.json").read_text())
        logs = [(folder / stage / "log.jsonl").read_text().splitlines() for stage in ("finetune", "retrain")]
        losses = [json.loads(line)["loss"] for lines in logs for line in lines]
        answers = (folder / "predict" / "predictions.csv").read_text()
        return {name: evaluated[name] for name in ("dense", "reduced", "per_class", "agreement")}, losses, answers

    held = run("held")
    in_files()
    assert run("stored") == held
