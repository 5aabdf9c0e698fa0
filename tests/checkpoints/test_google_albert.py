"""Google's release of ALBERT: a checkpoint with its real variable names, written here."""

import json

import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs
from tiny_family import (
    KINDS,
    NUM_LABELS,
    google_albert_variables,
    logits_of,
    write_family_checkpoint,
    write_google_albert,
)

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint, named_weights
from powerbert_tf.common.errors import InputError

KIND = KINDS["albert v2"]
N = 23


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return write_family_checkpoint(tmp_path_factory.mktemp("hugging_face"), KIND)


@pytest.fixture
def variables(theirs):
    return google_albert_variables(theirs)


def test_logits_equal_those_of_transformers(theirs, variables, tmp_path):
    head = theirs.classifier
    weights = {"output_weights": head.weight.detach().numpy(), "output_bias": head.bias.detach().numpy()}
    write_google_albert(tmp_path, KIND, {**variables, **weights})
    inputs = random_inputs({"vocab_size": 97, "max_position_embeddings": 31}, batch=5, length=19)
    found = ops.convert_to_numpy(load_classifier(tmp_path, NUM_LABELS, N)(inputs))
    np.testing.assert_allclose(found, logits_of(theirs, KIND, inputs), atol=1e-5)


def test_a_folder_as_training_leaves_it(theirs, variables, tmp_path):
    """`model.ckpt-343.*` in place of `model.ckpt-best.*`, as a folder and as the beginning of the files' names."""
    head = theirs.classifier
    weights = {"output_weights": head.weight.detach().numpy(), "output_bias": head.bias.detach().numpy()}
    write_google_albert(tmp_path, KIND, {**variables, **weights})
    for path in list(tmp_path.glob("model.ckpt-best.*")):
        path.rename(tmp_path / path.name.replace("best", "343"))
    inputs = random_inputs({"vocab_size": 97, "max_position_embeddings": 31}, batch=5, length=19)
    for place in (tmp_path, tmp_path / "model.ckpt-343"):
        found = ops.convert_to_numpy(load_classifier(place, NUM_LABELS, N)(inputs))
        np.testing.assert_allclose(found, logits_of(theirs, KIND, inputs), atol=1e-5)
        assert find_checkpoint(place).pair_truncation == "round_robin"  # as its own code does


def test_every_variable_comes_back(variables, tmp_path):
    write_google_albert(tmp_path, KIND, variables)
    model = load_classifier(tmp_path, NUM_LABELS, N)
    weights = {path: weight.numpy() for path, weight in named_weights(model).items()}
    read = find_checkpoint(tmp_path).read_weights()
    assert weights.keys() - read.keys() == {"classifier/kernel", "classifier/bias"}  # pretrained: none
    for path, array in read.items():
        np.testing.assert_array_equal(weights[path], array)
    of_the_model = [array for name, array in variables.items() if name.startswith("bert/") and "lamb_m" not in name]
    assert sorted(array.shape for array in of_the_model) == sorted(array.shape for array in read.values())


def test_its_gelu_is_the_approximation(variables, tmp_path):
    write_google_albert(tmp_path / "gelu", KIND, variables)
    write_google_albert(tmp_path / "relu", KIND, variables, hidden_act="relu")
    assert find_checkpoint(tmp_path / "gelu").config.hidden_act == "gelu_new"
    assert find_checkpoint(tmp_path / "relu").config.hidden_act == "relu"
    assert find_checkpoint(tmp_path / "gelu").config.classifier_dropout == 0.1


def test_a_missing_and_an_extra_variable_are_named(variables, tmp_path):
    name = "bert/encoder/transformer/group_0/inner_group_0/ffn_1/intermediate/dense/kernel"
    write_google_albert(tmp_path / "lacks", KIND, {key: array for key, array in variables.items() if key != name})
    with pytest.raises(InputError, match=r"lacks encoder_0/intermediate/kernel\."):
        load_classifier(tmp_path / "lacks", NUM_LABELS, N)
    extra = name.replace("group_0/inner", "group_1/inner")
    write_google_albert(tmp_path / "extra", KIND, {**variables, extra: variables[name]})
    with pytest.raises(InputError, match=r"do not belong to this ALBERT: bert/encoder/transformer/group_1"):
        load_classifier(tmp_path / "extra", NUM_LABELS, N)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("albert_config.json", r"albert_config\.json: no such file"),
        ("model.ckpt-best.index", r"model\.ckpt-best\.index: no such file"),
        ("model.ckpt-best.data-00000-of-00001", r"model\.ckpt-best\.data-\*: no such file"),
    ],
)
def test_a_missing_file_is_named(file, message, variables, tmp_path):
    write_google_albert(tmp_path, KIND, variables)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path, NUM_LABELS, N)


def test_groups_of_encoders_are_refused(variables, tmp_path):
    write_google_albert(tmp_path, KIND, variables, num_hidden_groups=3)
    with pytest.raises(InputError, match=r"num_hidden_groups=3 is not supported for ALBERT; expected 1"):
        find_checkpoint(tmp_path)


def test_a_configuration_of_bert_under_its_name_is_refused(variables, tmp_path):
    write_google_albert(tmp_path, KIND, variables)
    values = json.loads((tmp_path / "albert_config.json").read_text())
    del values["embedding_size"]  # then 128, ALBERT's
    (tmp_path / "albert_config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"embeddings/\w+ has shape .*; expected .*128"):
        load_classifier(tmp_path, NUM_LABELS, N)
