import dataclasses
import math

import keras
import numpy as np
import numpy_reference
import pytest
from keras import ops
from layer_checks import Output, check_layer
from tiny_bert import random_inputs, random_weights, tiny_config

from powerbert_tf.checkpoints import assign_weights
from powerbert_tf.checkpoints.names import weight_names
from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import multiply_adds
from powerbert_tf.elimination.retention import kept_lengths
from powerbert_tf.elimination.significance import score_names
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig

CONFIG = tiny_config()
CLASSES = 11
N = 23
WEIGHTS = random_weights(CONFIG, CLASSES)
CONFIGURATION = (13, 7, 2)
RETENTION = np.sort(np.random.default_rng(2).random((3, N)), axis=-1)[:, ::-1].astype("float32")


def build(weights=WEIGHTS, config=CONFIG, **kwargs):
    """A model with the given Google weights; r = RETENTION where it has soft-extract layers."""
    config = BertConfig(**config)
    model = BertClassifier(config, CLASSES, N, **kwargs)
    ours = {
        name.ours: weights[name.google].T if name.google_transposed else weights[name.google]
        for name in weight_names(config)
    }
    retention = {f"encoder_{j}/extract/retention_parameters": r for j, r in enumerate(RETENTION)}
    assign_weights(model, {**ours, **(retention if kwargs.get("soft_extract") else {})}, "random weights")
    return model


def logits_of(model, inputs):
    return ops.convert_to_numpy(model(inputs))


FRACTIONS = (0.8, 0.45, 0.13)
MODELS = {
    "plain": {},
    "soft-extract": {"soft_extract": True},
    "extract": {"retention_configuration": CONFIGURATION},
    "fractions": {"retention_configuration": FRACTIONS},
    "weighted": {"retention_configuration": FRACTIONS, "selection": "weighted"},
    "weighted soft-extract": {"soft_extract": True, "selection": "weighted"},
    "head": {"retention_configuration": CONFIGURATION, "selection": "head"},
    "random": {"retention_configuration": CONFIGURATION, "selection": "random"},
}


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        *((kind, "gelu") for kind in MODELS if kind != "random"),
        *(("plain", act) for act in ("relu", "gelu_new")),
    ],
)
def test_logits_equal_the_numpy_reference(kind, act):
    config = tiny_config(hidden_act=act)
    inputs = random_inputs(config, batch=5, length=19)
    model = build(config=config, **MODELS[kind])
    expected = numpy_reference.forward(
        WEIGHTS,
        config,
        **inputs,
        retention_parameters=RETENTION if MODELS[kind].get("soft_extract") else None,
        retention_configuration=MODELS[kind].get("retention_configuration"),
        selection=MODELS[kind].get("selection", "attention"),
    )
    np.testing.assert_allclose(logits_of(model, inputs), expected["logits"], atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_more_padding_gives_the_same_logits(kind):
    inputs = random_inputs(CONFIG, batch=5, length=17)
    padded = {name: np.pad(values, ((0, 0), (0, N - 17))) for name, values in inputs.items()}
    model = build(**MODELS[kind])
    np.testing.assert_allclose(logits_of(model, inputs), logits_of(model, padded), atol=1e-5)


@pytest.mark.parametrize("kind", ["extract", "fractions", "random"])
def test_more_padding_keeps_the_same_words(kind, monkeypatch):
    model = build(**MODELS[kind])
    inputs = random_inputs(CONFIG, batch=5, length=17)
    padded = {name: np.pad(values, ((0, 0), (0, N - 17))) for name, values in inputs.items()}

    def kept(given):
        """Where each encoder's rows come from: positions travel in the place of the padding mask."""
        real = given["padding_mask"].sum(axis=1)
        seen = []
        for encoder in model.encoders:
            feed_forward = encoder.feed_forward

            def spy(rows, *args, feed_forward=feed_forward):
                seen.append(np.array(rows).reshape(len(real), -1, CONFIG["hidden_size"]))
                return feed_forward(rows, *args)

            monkeypatch.setattr(encoder, "feed_forward", spy)
        model(given)
        monkeypatch.undo()
        return seen, real

    (few, real), (many, _) = kept(inputs), kept(padded)
    for j, (rows, more_rows) in enumerate(zip(few, many, strict=True)):
        for b, length in enumerate(real):
            words = min(length, rows.shape[1])  # one in the last encoder
            if kind == "fractions":
                words = min(words, math.ceil(FRACTIONS[j] * length - 1e-9))
            np.testing.assert_allclose(rows[b, :words], more_rows[b, :words], atol=1e-5)


@pytest.mark.parametrize("kept", [(N, N, N), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("selection", score_names())
def test_keeping_all_is_plain_bert(selection, kept):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    reduced = build(retention_configuration=kept, selection=selection)
    np.testing.assert_array_equal(logits_of(reduced, inputs), logits_of(build(), inputs))


def test_r_of_one_is_plain_bert():
    inputs = random_inputs(CONFIG, batch=5, length=19)
    model = build(soft_extract=True)
    for encoder in model.encoders:
        encoder.extract.retention_parameters.assign(np.ones(N))
    # No equality: of the last encoder plain BERT computes [CLS] alone, and products of other sizes round differently.
    np.testing.assert_allclose(logits_of(model, inputs), logits_of(build(), inputs), atol=2e-6)


@pytest.mark.parametrize("kind", ["extract", "fractions"])
def test_an_example_gives_the_same_logits_alone_beside_longer_ones_and_padded_to_n(kind):
    inputs = random_inputs(CONFIG, batch=7, length=19)
    model = build(**MODELS[kind])
    together = logits_of(model, inputs)
    padded = logits_of(model, {name: np.pad(values, ((0, 0), (0, N - 19))) for name, values in inputs.items()})
    for b, length in enumerate(inputs["padding_mask"].sum(axis=1)):
        alone = logits_of(model, {name: values[b : b + 1, :length] for name, values in inputs.items()})
        np.testing.assert_allclose(together[b], alone[0], atol=1e-5)
        np.testing.assert_allclose(padded[b], alone[0], atol=1e-5)


@pytest.mark.parametrize("gate_width", [0.0, 0.3])
def test_open_gates_are_plain_bert(gate_width):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    gated = build().with_slots(gate_width=gate_width)
    assert len(gated.trainable_variables) - len(build().trainable_variables) == (2 if gate_width else 0)
    np.testing.assert_allclose(logits_of(gated, inputs), logits_of(build(), inputs), atol=1e-6)


@pytest.mark.parametrize("selection", ["attention", "weighted", "head"])  # random positions are counted anew
def test_gates_without_a_ramp_eliminate_what_extraction_does(selection):
    inputs = random_inputs(CONFIG, batch=7, length=19)
    reduced = build(retention_configuration=FRACTIONS, selection=selection)
    gated = reduced.with_slots(gate_width=0.0)
    for slot, fraction in zip(gated.slots, FRACTIONS[:-1], strict=True):
        slot.fraction.assign(fraction)
    np.testing.assert_allclose(logits_of(gated, inputs), logits_of(reduced, inputs), atol=1e-5)


def test_retention_is_switched_without_another_copy_of_the_weights():
    inputs = random_inputs(CONFIG, batch=5, length=19)
    model = build()
    reduced = with_retention(model, FRACTIONS)
    np.testing.assert_array_equal(logits_of(reduced, inputs), logits_of(build(**MODELS["fractions"]), inputs))
    again = with_retention(with_retention(reduced, CONFIGURATION), None)
    np.testing.assert_array_equal(logits_of(again, inputs), logits_of(model, inputs))
    assert {id(variable) for variable in model.weights} == {id(variable) for variable in again.weights}
    assert reduced.retention_configuration == FRACTIONS
    with pytest.raises(InputError, match=r"2 entries; expected 3"):
        with_retention(model, (0.5, 0.3))


def test_weights_of_a_model_that_shares_them_load_into_one_that_does_not(tmp_path):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    reduced = with_retention(build(), FRACTIONS)
    reduced.save_weights(tmp_path / "shared.weights.h5")
    other = BertClassifier(BertConfig(**CONFIG), CLASSES, N, retention_configuration=FRACTIONS)
    other.load_weights(tmp_path / "shared.weights.h5")
    np.testing.assert_array_equal(logits_of(other, inputs), logits_of(reduced, inputs))


@pytest.mark.parametrize("length", [1, 2, 5, 13, N])
def test_any_length_up_to_the_maximum_goes_through(length):
    model = build(retention_configuration=CONFIGURATION)
    inputs = {name: values[:, :length] for name, values in random_inputs(CONFIG, batch=3, length=N).items()}
    expected = numpy_reference.forward(WEIGHTS, CONFIG, **inputs, retention_configuration=CONFIGURATION)
    np.testing.assert_allclose(logits_of(model, inputs), expected["logits"], atol=1e-5)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), expected["logits"], atol=1e-5)


def test_a_longer_input_is_refused():
    inputs = random_inputs(CONFIG, batch=3, length=N + 1)
    with pytest.raises(ValueError, match=rf"token_ids: {N + 1} columns; expected at most max_seq_length={N}"):
        build()(inputs)


KINDS = {
    **MODELS,
    "gates": {"gate_width": 0.3},
    "gates on rows and widths": {"gate_width": 0.3, "gated": ("rows", "neurons", "heads")},
    "original": {"retention_configuration": CONFIGURATION, "padding_queries_vote": True},
}


# Their layers are among those of other kinds, and are checked by themselves.
COVERED = ("soft-extract", "extract", "head", "random", "gates")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in COVERED else ()) for kind in KINDS]
)
def test_each_kind_is_a_model(kind, tmp_path):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    config = BertConfig(**CONFIG)
    expected = Output((5, CLASSES), "float32")  # so that the softmax is exact
    check_layer(lambda: BertClassifier(config, CLASSES, N, **KINDS[kind]), inputs, expected, tmp_path, rounding=0.05)


def test_multiple_choice_is_a_model(tmp_path):
    inputs = random_inputs(CONFIG, batch=2 * 3, length=19)
    config = BertConfig(**CONFIG)
    check_layer(
        lambda: BertClassifier(config, 1, N, choices=2, retention_configuration=FRACTIONS),
        inputs,
        Output((3, 2), "float32"),
        tmp_path,
        rounding=0.05,
    )


def test_a_configuration_with_lambdas_former_name_is_read():
    config = BertClassifier(BertConfig(**CONFIG), CLASSES, N, soft_extract=True, lambda_=0.5).get_config()
    config["mass_penalty"] = config.pop("lambda_")
    assert BertClassifier.from_config(config).lambda_ == 0.5


def test_a_fully_padded_row_gives_finite_logits():
    inputs = random_inputs(CONFIG, batch=3, length=19)
    inputs["padding_mask"][1] = 0
    for kind in MODELS.values():
        assert np.all(np.isfinite(logits_of(build(**kind), inputs)))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_classes": 0}, r"num_classes=0; expected at least 1"),
        ({"max_seq_length": 32}, r"max_seq_length=32; expected 1 to 31, the checkpoint's position embeddings"),
        ({"max_seq_length": 0}, r"max_seq_length=0; expected 1 to 31"),
        ({"soft_extract": True, "retention_configuration": (3, 2, 1)}, r"are given; expected one of them"),
        ({"retention_configuration": (3, 2)}, r"2 entries; expected 3"),
        ({"choices": 5}, r"num_classes=2 and choices=5; expected 1 logit of each option"),
        (
            {"gate_width": 0.3, "gated": ("rows", "columns")},
            r"gated=.*columns.*; expected some of rows, neurons",
        ),
        ({"custom_slots": [None]}, r"custom_slots: 1 entries; expected 3, a layer or None per encoder"),
        ({"custom_slots": [None, None, keras.layers.Identity()]}, r"the last entry is a layer; expected None"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        BertClassifier(**{"config": BertConfig(**CONFIG), "num_classes": 2, "max_seq_length": N, **kwargs})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 36}, r"hidden_size=36 is not a multiple of num_attention_heads=5"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers=0; expected a whole number of at least 1"),
        ({"vocab_size": 9.5}, r"vocab_size=9.5; expected a whole number"),
        ({"hidden_act": "swish2"}, r"hidden_act='swish2'; expected one of gelu"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob=1.0; expected a rate in \[0, 1\)"),
        ({"layer_norm_eps": 0}, r"layer_norm_eps=0; expected a positive number"),
        ({"layer_norm_eps": True}, r"layer_norm_eps=True; expected a positive number of at most 1"),
        ({"vocab_size": 10**400}, r"vocab_size=10{400}; expected at most 10{15}\."),
        ({"position_offset": "2"}, r"position_offset='2'; expected a whole number of at least 0"),
        ({"pad_token_id": -1}, r"pad_token_id=-1; expected a whole number of at least 0"),
        ({"shares_encoders": 1}, r"shares_encoders=1; expected true or false"),
        ({"projects_embeddings": "no"}, r"projects_embeddings='no'; expected true or false"),
    ],
)
def test_sizes_that_make_no_bert_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(BertConfig(**CONFIG), **change)


def products_of_the_graph(model, batch, length):
    """Multiply-adds of all matrix products, by the shapes that the graph itself says."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec([batch, length], tf.int32) for name in model.input}
    graph = tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(specs).graph
    return sum(
        operation.outputs[0].shape.num_elements() * int(operation.inputs[0].shape[-1])
        for operation in graph.get_operations()
        if operation.type in ("MatMul", "BatchMatMulV2")
    )


@pytest.mark.parametrize("selection", ["attention", "weighted", "head"])
@pytest.mark.parametrize("kept", [None, CONFIGURATION, FRACTIONS, (1.0, 0.4, 0.4)])
def test_a_graph_computes_the_multiply_adds_that_are_counted(kept, selection):
    config = BertConfig(**CONFIG)
    batch, length = 5, 19
    expected = multiply_adds(config.encoder_size, length, kept) + 35 * 35 + 35 * CLASSES  # pooler and head
    if kept is not None and selection != "head":
        # Each encoder that extracts sums its 5 heads' probabilities, once more for each.
        entering = (length, *kept_lengths(kept, 3, length))[:2]
        leaving = kept_lengths(kept, 3, length)[:2]
        expected += sum(5 * rows**2 for rows, left in zip(entering, leaving, strict=True) if left < rows)
    model = BertClassifier(config, CLASSES, N, retention_configuration=kept, selection=selection)
    assert products_of_the_graph(model, batch, length) == batch * expected


def test_the_search_computes_cls_alone_in_the_last_encoder_unless_it_ranks_cls():
    inputs = random_inputs(CONFIG, batch=5, length=19)
    pinned, ranked = build(soft_extract=True), build(soft_extract=True, pin_cls=False)
    # Where [CLS] is the most significant word-vector anyway, both are the same.
    for model in (pinned, ranked):
        for encoder in model.encoders:
            encoder.extract.selection = "head"
    assert [model.encoders[-1].cls_only for model in (pinned, ranked)] == [True, False]
    np.testing.assert_allclose(logits_of(pinned, inputs), logits_of(ranked, inputs), atol=1e-5)
    with pytest.raises(ValueError, match=r"pin_cls=False; expected True: \[CLS\] has rank 0 only then"):
        ranked.encoders[-1].extract.cls_scale(inputs["padding_mask"])


def test_dropout_acts_in_training_alone():
    inputs = random_inputs(CONFIG, batch=5, length=19)
    model = build(retention_configuration=CONFIGURATION)
    first, second = (ops.convert_to_numpy(model(inputs, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(logits_of(model, inputs), logits_of(model, inputs))
