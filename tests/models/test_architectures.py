"""Each architecture against an independent implementation with the same random weights, and what differs among them."""

import json

import h5py
import numpy as np
import pytest
from keras import ops
from layer_checks import Output, check_layer
from safetensors.numpy import load_file, save_file
from tiny_bert import random_inputs
from tiny_family import KINDS, NUM_LABELS, family_inputs, logits_of, write_family_checkpoint

from powerbert_tf import load_classifier, with_retention
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, config_of

N = 23
FRACTIONS = (0.8, 0.45, 0.13)
TINY = {"vocab_size": 97, "max_position_embeddings": 31}


def inputs_for(kind, batch=5, length=19, seed=0):
    return family_inputs(random_inputs(TINY, batch=batch, length=length, seed=seed), kind)


def ours(model, inputs):
    return ops.convert_to_numpy(model(inputs))


@pytest.mark.parametrize("name", KINDS)
def test_logits_equal_those_of_transformers(name, tmp_path):
    kind = KINDS[name]
    theirs = write_family_checkpoint(tmp_path, kind)
    inputs = inputs_for(kind)
    assert (inputs["padding_mask"] == 0).any()
    assert (inputs["segment_ids"] == 1).any()
    expected = logits_of(theirs, kind, inputs)
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the weights are such that inputs matter
    model = load_classifier(tmp_path, NUM_LABELS, N)
    np.testing.assert_allclose(ours(model, inputs), expected, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_base_model_gets_a_new_head(name, tmp_path):
    write_family_checkpoint(tmp_path, KINDS[name], base=True)
    assert load_classifier(tmp_path, 3, N).get_layer("classifier").kernel.shape == (35, 3)


def test_every_architecture_is_compared():
    assert {kind.classes.lower() for kind in KINDS.values()} == set(ARCHITECTURES)


@pytest.fixture(scope="module")
def albert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("albert")
    write_family_checkpoint(folder, KINDS["albert v2"])
    return folder


def test_encoders_of_albert_are_one_set_of_weights(albert):
    model = load_classifier(albert, NUM_LABELS, N)
    encoder = 4 * (35 * 35 + 35) + 2 * 35 * 29 + 29 + 35 + 4 * 35
    embeddings = (97 + 31 + 2 + 2) * 11 + 11 * 35 + 35
    expected = embeddings + encoder + 35 * 35 + 35 + 35 * NUM_LABELS + NUM_LABELS
    assert model.count_params() == expected
    assert sum(np.prod(variable.shape) for variable in model.trainable_variables) == expected
    assert len({id(encoder.attention) for encoder in model.encoders}) == 1


def test_each_encoder_of_albert_has_retention_parameters_of_its_own(albert):
    model = load_classifier(albert, NUM_LABELS, N, soft_extract=True)
    assert [variable.path for variable in model.trainable_variables if "retention" in variable.path] == [
        f"encoder_{index}/extract/retention_parameters" for index in range(3)
    ]
    model.encoders[1].extract.retention_parameters.assign(np.full(N, 0.5, "float32"))
    assert model.masses == [N, N / 2, N]


def test_soft_extract_with_r_of_one_is_plain_albert(albert):
    inputs = inputs_for(KINDS["albert v2"])
    plain, soft = (load_classifier(albert, NUM_LABELS, N, soft_extract=soft) for soft in (False, True))
    np.testing.assert_allclose(ours(soft, inputs), ours(plain, inputs), atol=2e-6)


@pytest.mark.parametrize("name", ["albert v2", "roberta", "distilbert", "electra"])
def test_an_examples_logits_depend_on_the_example_alone(name, tmp_path):
    kind = KINDS[name]
    write_family_checkpoint(tmp_path, kind)
    model = with_retention(load_classifier(tmp_path, NUM_LABELS, N), FRACTIONS)
    inputs = inputs_for(kind, batch=7)
    together = ours(model, inputs)
    for row, length in enumerate(inputs["padding_mask"].sum(axis=1)):
        alone = {key: values[row : row + 1, :length] for key, values in inputs.items()}
        np.testing.assert_allclose(ours(model, alone)[0], together[row], atol=1e-5)


def test_gates_close_on_albert_as_extraction_does(albert):
    inputs = inputs_for(KINDS["albert v2"])
    reduced = load_classifier(albert, NUM_LABELS, N, retention_configuration=FRACTIONS)
    gated = reduced.with_slots(gate_width=0.0)
    for slot, fraction in zip(gated.slots, FRACTIONS[:-1], strict=True):
        slot.fraction.assign(fraction)
    np.testing.assert_allclose(ours(gated, inputs), ours(reduced, inputs), atol=1e-5)


@pytest.mark.parametrize(
    "slots",
    [
        {},
        {"soft_extract": True},
        {"retention_configuration": FRACTIONS},
        {"gate_width": 0.2, "gated": ("rows", "heads")},
    ],
)
def test_saved_weights_of_albert_come_back(slots, albert, tmp_path):
    inputs = inputs_for(KINDS["albert v2"])
    # Sharing twice over: encoders with each other, and the model with another one.
    model = load_classifier(albert, NUM_LABELS, N).with_slots(**slots)
    for number, slot in enumerate(model.slots):
        for variable in slot.weights:
            variable.assign(np.full(variable.shape, 1 - 0.2 * number, "float32"))
    model.save_weights(tmp_path / "model.weights.h5")
    other = BertClassifier(model.config, NUM_LABELS, N, **slots)
    assert not np.allclose(ours(other, inputs), ours(model, inputs), atol=1e-3)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(ours(other, inputs), ours(model, inputs))


def test_albert_is_saved_once(albert, tmp_path):
    model = load_classifier(albert, NUM_LABELS, N)
    model.save_weights(tmp_path / "model.weights.h5")
    sizes = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda name, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    assert sum(sizes) == model.count_params()


@pytest.mark.parametrize(
    "name", ["albert v2", "distilbert", "roberta", pytest.param("electra, wide embeddings", marks=pytest.mark.slow)]
)
def test_each_architecture_is_a_model(name, tmp_path):
    write_family_checkpoint(tmp_path, KINDS[name])
    config = find_checkpoint(tmp_path).config
    check_layer(
        lambda: BertClassifier(config, NUM_LABELS, N, retention_configuration=FRACTIONS),
        inputs_for(KINDS[name]),
        Output((5, NUM_LABELS), "float32"),
        tmp_path,
        rounding=0.05,
    )


def test_albert_costs_what_bert_of_its_size_does(albert):
    config = find_checkpoint(albert).config
    assert config.encoder_size == BertConfig(**{**TINY, **bert_sizes()}).encoder_size


def bert_sizes():
    return {"hidden_size": 35, "num_hidden_layers": 3, "num_attention_heads": 5, "intermediate_size": 29}


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("albert", {"num_hidden_groups": 3}, r"num_hidden_groups=3 is not supported for ALBERT; expected 1"),
        ("albert", {"inner_group_num": 2}, r"inner_group_num=2 is not supported for ALBERT; expected 1"),
        ("albert", {"embedding_size": 0}, r"embedding_size=0; expected a whole number of at least 1"),
        ("roberta", {"pad_token_id": 0}, r"pad_token_id=0 is not supported for RoBERTa; expected 1"),
        ("roberta", {"max_position_embeddings": 2}, r"max_position_embeddings=2; expected more than 2"),
        ("distilbert", {}, r"lacks dim, n_layers, n_heads, hidden_dim"),
        (
            "longformer",
            {},
            r"model_type='longformer' is not supported; expected one of bert \(BERT\), albert \(ALBERT\)",
        ),
    ],
)
def test_what_is_not_supported_is_named(architecture, changes, message, tmp_path):
    values = {"model_type": architecture, **TINY, **bert_sizes(), **changes}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("values", "architecture"),
    [
        ({"architectures": ["AlbertForMaskedLM"]}, "albert"),
        ({"architectures": ["BertModel"]}, "bert"),
        ({}, "bert"),
    ],
)
def test_an_old_configuration_names_its_class(values, architecture, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**TINY, **bert_sizes(), **values}))
    (tmp_path / "model.safetensors").touch()
    assert find_checkpoint(tmp_path).config.architecture == architecture


def test_lengths_end_where_positions_do(tmp_path):
    write_family_checkpoint(tmp_path, KINDS["roberta"])  # 33 positions, the first of a text is 2
    load_classifier(tmp_path, NUM_LABELS, 31)
    with pytest.raises(InputError, match=r"max_seq_length=32; expected 1 to 31"):
        load_classifier(tmp_path, NUM_LABELS, 32)


@pytest.mark.parametrize("name", ["distilbert", "albert v2", "roberta"])
def test_weights_of_another_architecture_are_named(name, tmp_path):
    kind = KINDS[name]
    write_family_checkpoint(tmp_path, kind)
    values = {"model_type": "bert", **TINY, **bert_sizes()}
    (tmp_path / "config.json").write_text(json.dumps(values))
    title = {"distilbert": "DistilBERT", "albert v2": "ALBERT", "roberta": "RoBERTa"}[name]
    with pytest.raises(InputError, match=rf"holds the weights of a {title}; the configuration beside it is a BERT's"):
        load_classifier(tmp_path, NUM_LABELS, N)


@pytest.mark.parametrize("network", ["ElectraForPreTraining", "ElectraForMaskedLM"])
def test_discriminator_and_generator_of_electra_are_taken(tmp_path, network):
    transformers = pytest.importorskip("transformers")
    found = getattr(transformers, network)(transformers.ElectraConfig(**KINDS["electra"].values))
    found.save_pretrained(tmp_path)
    model = load_classifier(tmp_path, NUM_LABELS, N)
    theirs = found.electra.embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(model.get_layer("embeddings").word_embeddings.numpy(), theirs)


def test_half_a_head_is_an_error(tmp_path):
    write_family_checkpoint(tmp_path, KINDS["roberta"])
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["classifier.dense.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"lacks pooler/kernel"):
        load_classifier(tmp_path, NUM_LABELS, N)


def test_dropout_is_where_the_architecture_has_it():
    rates = {name: config_of(name, {**TINY, **distil_sizes(), **bert_sizes()}) for name in ARCHITECTURES}
    assert {name: config.dropout_before_pooler for name, config in rates.items() if config.dropout_before_pooler} == {
        "roberta": True,
        "electra": True,
    }
    assert {name: config.classifier_dropout for name, config in rates.items()} == {
        "bert": None,
        "albert": 0.1,
        "distilbert": 0.2,
        "roberta": None,
        "electra": None,
    }


def distil_sizes():
    return {"dim": 35, "n_layers": 3, "n_heads": 5, "hidden_dim": 29}
