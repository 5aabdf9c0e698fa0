"""A `.keras` file that `model.save` wrote, as a checkpoint: its weights, its sizes, and the tokenizer beside it."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from tiny_bert import SPECIAL_TOKENS, random_inputs, random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.narrow import prefix
from powerbert_tf.tokenizers.files import load_tokenizer

CONFIG = tiny_config()
N, CLASSES = 23, 3
INPUTS = random_inputs(CONFIG, batch=5, length=19)


@pytest.fixture
def model(tmp_path):
    write_google_checkpoint(tmp_path / "google", CONFIG, random_weights(CONFIG, CLASSES))
    return load_classifier(tmp_path / "google", CLASSES, N)


def answers_of(model):
    return ops.convert_to_numpy(model(INPUTS))


def test_it_answers_as_the_model_did(model, tmp_path):
    model.save(tmp_path / "m.keras")
    found = find_checkpoint(tmp_path / "m.keras")
    assert (found.config, found.max_seq_length) == (model.config, N)
    np.testing.assert_array_equal(answers_of(load_classifier(found, CLASSES, N)), answers_of(model))
    before = found.fingerprint()
    model.get_layer("classifier").bias.assign([1.0, 2.0, 3.0])
    model.save(tmp_path / "m.keras")
    assert find_checkpoint(tmp_path / "m.keras").fingerprint() != before


def test_a_reduced_model_gives_its_weights_alone(model, tmp_path, capsys):
    reduced = prefix(model, (17, 29, 7), (5, 2, 3)).with_slots(retention_configuration=(17, 11, 2))
    reduced.save(tmp_path / "m.keras")
    loaded = load_classifier(tmp_path / "m.keras", CLASSES, N)
    assert "only its weights are taken; --retention_configuration gives its configuration" in capsys.readouterr().out
    dense = reduced.with_slots(retention_configuration=None)
    np.testing.assert_allclose(answers_of(loaded), answers_of(dense), atol=1e-5)
    assert not loaded.config.is_narrowed


def test_the_tokenizer_is_that_beside_it(model, tmp_path):
    model.save(tmp_path / "m.keras")
    checkpoint = find_checkpoint(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"vocab\.txt: cannot be read \(No such file"):
        load_tokenizer(checkpoint)
    words = [*SPECIAL_TOKENS, *(f"w{number}" for number in range(97 - len(SPECIAL_TOKENS)))]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert load_tokenizer(checkpoint).vocabulary == words


def test_other_files_are_named(model, tmp_path):
    keras.Sequential([keras.Input([3]), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(InputError, match=r"a Sequential; expected one of KerasHub's"):
        find_checkpoint(tmp_path / "dense.keras")
    model.save(tmp_path / "m.keras")
    (tmp_path / "m.keras").write_bytes((tmp_path / "m.keras").read_bytes()[:9000])
    with pytest.raises(InputError, match=r"m\.keras: cannot be read"):
        find_checkpoint(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_model.h5", r"a file \(tf_model\.h5 is TensorFlow weights of transformers: load them there"),
        ("pytorch_model.bin", r"a file \(pytorch_model\.bin is a pickle, which is never loaded: convert it"),
        ("model.onnx", r"a file \(model\.onnx is a graph without"),
        ("notes.txt", r"a file; expected a folder in Google's or Hugging Face's format, a \.keras file"),
    ],
)
def test_a_file_as_a_checkpoint_is_named(name, message, tmp_path):
    (tmp_path / name).write_text(json.dumps({}))
    with pytest.raises(InputError, match=message):
        find_checkpoint(tmp_path / name)
