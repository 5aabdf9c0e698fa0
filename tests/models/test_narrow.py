"""Narrowed classifiers: slices against zeroed models, and prefixes against slices."""

import keras
import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.narrow import head_columns, num_removed, prefix, take_widths, widened
from tests.layer_checks import Output, check_layer
from tests.tiny_bert import tiny_config

CLASSES, N = 3, 31
NEURONS, HEADS = (17, 29, 7), (5, 2, 3)


def classifier(**changes):
    model = BertClassifier(BertConfig(**{**tiny_config(dropout=0.0), **changes}), CLASSES, N)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def inputs_of(length=19, examples=11, seed=0):
    random = np.random.default_rng(seed)
    tokens = random.integers(1, length + 1, examples)
    tokens[0] = length
    return {
        "token_ids": random.integers(0, 97, (examples, length), dtype="int32"),
        "segment_ids": random.integers(0, 2, (examples, length), dtype="int32"),
        "padding_mask": (np.arange(length) < tokens[:, None]).astype("int32"),
    }


def logits_of(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs))


def _chosen(seed=3):
    random = np.random.default_rng(seed)
    return [random.permutation(29)[:width] for width in NEURONS], [random.permutation(5)[:width] for width in HEADS]


def test_a_slice_is_the_full_model_with_the_others_zeroed():
    model, inputs = classifier(), inputs_of()
    neurons, heads = _chosen()

    narrowed = take_widths(model, neurons, heads)

    zeroed = take_widths(model, [np.arange(29)] * 3, [np.arange(5)] * 3)  # a copy
    for encoder, stays, of_heads in zip(zeroed.encoders, neurons, heads, strict=True):
        for layer, columns in (
            (encoder.feed_forward_output, stays),
            (encoder.attention.output_projection, head_columns(of_heads, 7)),
        ):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.where(np.isin(np.arange(len(kernel)), columns)[:, None], kernel, 0.0), bias])
    np.testing.assert_allclose(logits_of(narrowed, inputs), logits_of(zeroed, inputs), atol=1e-6)
    assert np.abs(logits_of(narrowed, inputs) - logits_of(model, inputs)).max() > 1e-2
    # 4 H S + 2 H I weights, 3 S + I + H biases, of which S = 7 A; H and LayerNorms stay as they are.
    lost = [
        (4 * 35 + 3) * 7 * (5 - heads) + (2 * 35 + 1) * (29 - neurons)
        for heads, neurons in zip(HEADS, NEURONS, strict=True)
    ]
    assert model.count_params() - narrowed.count_params() == sum(lost)


def test_all_widths_in_any_order_compute_the_same():
    model, inputs = classifier(), inputs_of()
    random = np.random.default_rng(1)

    same = take_widths(model, [random.permutation(29) for _ in range(3)], [random.permutation(5) for _ in range(3)])

    assert same.config == model.config
    np.testing.assert_allclose(logits_of(same, inputs), logits_of(model, inputs), atol=1e-6)


def test_a_prefix_is_a_slice_of_the_first_ones():
    model, inputs = classifier(), inputs_of()
    neurons, heads = ([np.arange(width) for width in widths] for widths in (NEURONS, HEADS))

    found, expected = prefix(model, NEURONS, HEADS), take_widths(model, neurons, heads)

    np.testing.assert_array_equal(logits_of(found, inputs), logits_of(expected, inputs))


def test_widths_and_rows_go_together():
    model, inputs = classifier(), inputs_of()
    rows = (0.9, 0.5, 0.1)

    narrowed_last = prefix(with_retention(model, rows), NEURONS, HEADS)
    narrowed_first = with_retention(prefix(model, NEURONS, HEADS), rows)

    np.testing.assert_array_equal(logits_of(narrowed_last, inputs), logits_of(narrowed_first, inputs))
    assert narrowed_first.reduction == narrowed_last.reduction
    assert narrowed_first.reduction.rows == rows
    assert (narrowed_first.reduction.neurons, narrowed_first.reduction.heads) == (NEURONS, HEADS)


@pytest.mark.parametrize("selection", ["attention", "weighted"])
@pytest.mark.parametrize("rows", [None, (0.9, 0.5, 0.1)])
def test_closed_gates_are_a_prefix(rows, selection):
    model, inputs = classifier(), inputs_of()
    narrowed = with_retention(prefix(model, NEURONS, HEADS), rows, selection=selection)

    gated = model.with_slots(gate_width=0.0, gated=("rows", "neurons", "heads"), selection=selection)
    for gate, width in zip([*gated.gates["neurons"], *gated.gates["heads"]], [*NEURONS, *HEADS], strict=True):
        gate.fraction.assign(width / gate.size)
    for gate, fraction in zip(gated.gates["rows"], (rows or (1.0,) * 3)[:-1], strict=True):
        gate.fraction.assign(fraction)

    np.testing.assert_allclose(logits_of(gated, inputs), logits_of(narrowed, inputs), atol=1e-6)
    assert np.abs(logits_of(gated, inputs) - logits_of(model, inputs)).max() > 1e-2


def test_gates_on_widths_alone_leave_the_rows():
    model, inputs = classifier(), inputs_of()
    gated = model.with_slots(gate_width=0.3, gated=("neurons", "heads"))
    assert (list(gated.gates), gated.slots) == (["neurons", "heads"], [])
    assert len(gated.trainable_variables) - len(model.trainable_variables) == 6
    np.testing.assert_allclose(logits_of(gated, inputs), logits_of(model, inputs), atol=1e-6)
    assert gated.with_slots(gate_width=0.3).gates.keys() == {"rows"}
    assert gated.with_slots().gates == {}


def test_encoders_that_share_weights_share_their_widths():
    model, inputs = classifier(shares_encoders=True), inputs_of()
    gated = model.with_slots(gate_width=0.3, gated=("rows", "neurons", "heads"))
    assert {name: len(gates) for name, gates in gated.gates.items()} == {"rows": 2, "neurons": 1, "heads": 1}
    assert len(gated.losses) == 4
    closed = model.with_slots(gate_width=0.0, gated=("neurons", "heads"))
    for name, width in (("neurons", 7), ("heads", 2)):
        closed.gates[name][0].fraction.assign(width / closed.gates[name][0].size)
    expected = logits_of(prefix(model, (7,) * 3, (2,) * 3), inputs)
    np.testing.assert_allclose(logits_of(closed, inputs), expected, atol=1e-6)


@pytest.mark.parametrize("intermediate_size", [None, 31])
def test_widening_is_the_inverse_of_narrowing(intermediate_size):
    narrowed, inputs = prefix(classifier(), NEURONS, HEADS), inputs_of()
    rows = (0.9, 0.5, 0.1)

    wide = widened(with_retention(narrowed, rows), intermediate_size)

    np.testing.assert_allclose(logits_of(wide, inputs), logits_of(with_retention(narrowed, rows), inputs), atol=1e-6)
    assert wide.config == BertConfig(**tiny_config(dropout=0.0, intermediate_size=intermediate_size or 29))
    again = prefix(wide, NEURONS, HEADS)
    for found, expected in zip(again.get_weights(), narrowed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shares_encoders", [False, True])
def test_removed_weights_are_counted(shares_encoders):
    model = classifier(shares_encoders=shares_encoders)
    widths = ((7,) * 3, (2,) * 3) if shares_encoders else (NEURONS, HEADS)
    narrowed = prefix(model, *widths)
    assert num_removed(narrowed.config) == model.count_params() - narrowed.count_params() > 0
    assert num_removed(model.config) == 0


def test_a_narrowed_classifier_does_what_every_model_must(tmp_path):
    def make():
        config = BertConfig(**tiny_config(dropout=0.0), neurons=NEURONS, heads=HEADS)
        return BertClassifier(config, CLASSES, N, retention_configuration=(0.9, 0.5, 0.1))

    check_layer(make, inputs_of(), Output((11, CLASSES), "float32"), tmp_path, rounding=0.1)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"neurons": (29, 29)}, "neurons=29,29: 2 entries; expected 3"),
        ({"heads": (5, 6, 5)}, "heads=5,6,5: has 6; expected whole numbers from 1 to 5"),
        ({"neurons": (29, 0, 1)}, "neurons=29,0,1: has 0"),
        ({"heads": (5, 4, 4), "shares_encoders": True}, "all encoders have the same weights"),
    ],
)
def test_widths_that_do_not_fit_are_refused(widths, message):
    with pytest.raises(InputError, match=message):
        BertConfig(**tiny_config(), **widths)


def test_full_widths_are_no_widths():
    assert BertConfig(**tiny_config(), neurons=[29] * 3, heads=[5] * 3) == BertConfig(**tiny_config())
