"""A small ALBERT of random weights with a vocabulary of its own is a checkpoint as any other."""

import json

import numpy as np
import pytest
from tiny_pieces import sample_texts

pytest.importorskip("sentencepiece")

from benchmarks.paper.albert_from_scratch import small_albert, write_random_albert
from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.tokenizers.files import load_tokenizer


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch") / "albert"
    config = small_albert(64, 5, 211, 0.04)
    return folder, config, write_random_albert(folder, iter(sample_texts()), config, ("no", "yes"), seed=3)


def test_it_is_read_back(written):
    folder, config, parameters = written
    checkpoint = find_checkpoint(folder)
    assert (checkpoint.config.num_hidden_layers, checkpoint.config.num_encoder_weights) == (5, 1)
    assert checkpoint.config.encoder_size == config.encoder_size
    model = load_classifier(checkpoint, 2, 31)
    encoder = 4 * (64 * 64 + 64) + 2 * 64 * 256 + 256 + 64 + 4 * 64
    embeddings = (211 + 128 + 2 + 2) * 32 + 32 * 64 + 64
    assert model.count_params() == parameters == embeddings + encoder + 64 * 64 + 64 + 2 * 64 + 2
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    kernel = model.get_layer("encoder_0").intermediate.kernel.numpy()
    assert 0.03 < kernel.std() < 0.04  # truncated at two standard deviations


def test_its_vocabulary_fits_and_the_same_seed_gives_the_same_weights(written, tmp_path):
    folder, config, _ = written
    tokenizer = load_tokenizer(find_checkpoint(folder))
    assert tokenizer.vocabulary[:2] == ["<pad>", "<unk>"]
    assert tokenizer.lower_case
    write_random_albert(tmp_path / "again", iter(sample_texts()), config, ("no", "yes"), seed=3)
    for name in ("spiece.model", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    weights, again = (find_checkpoint(path).read_weights() for path in (folder, tmp_path / "again"))
    assert all(np.array_equal(weights[path], again[path]) for path in weights)
