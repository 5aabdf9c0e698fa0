import fractions
import math

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import Output, check_layer
from made_up_attention import BATCH, LENGTH, REAL

from powerbert_tf.elimination.extract import (
    Extract,
    GatedExtract,
    MassPenalty,
    SoftExtract,
    gates,
    gather_queries,
    gather_rows,
    kept_rows,
    own_shares,
    soft_scale,
)
from powerbert_tf.elimination.retention import parts_of
from powerbert_tf.elimination.significance import ranking_scores


def test_the_most_significant_rows_stay_in_their_order(attention):
    _, mask = attention
    scores = np.random.default_rng(1).random((BATCH, LENGTH)).astype("float32")
    rows, kept_mask = kept_rows(ranking_scores(scores, mask), mask, 5)
    assert rows.shape == (BATCH, 5)
    for b, real in enumerate(REAL):
        others = sorted(range(1, real), key=lambda w: -scores[b, w])[:4]
        kept = sorted([0, *others])
        np.testing.assert_array_equal(rows[b][: len(kept)], kept)
        np.testing.assert_array_equal(kept_mask[b], [1] * len(kept) + [0] * (5 - len(kept)))


@pytest.mark.parametrize("num_kept", [LENGTH, LENGTH + 4])
def test_where_all_stay_nothing_is_ranked(attention, num_kept):
    probs, mask = attention
    stays = Extract(num_kept, max_seq_length=17)(probs, mask, mask)
    assert list(stays) == ["padding_mask"]
    np.testing.assert_array_equal(stays["padding_mask"], mask)


def test_keeping_one_keeps_cls(attention):
    probs, mask = attention
    stays = Extract(1, max_seq_length=17)(probs, mask, mask)
    np.testing.assert_array_equal(stays["rows"], np.zeros((BATCH, 1)))
    np.testing.assert_array_equal(stays["padding_mask"], mask[:, :1])


def test_soft_extract_scales_by_the_parameter_of_the_rank():
    scores = np.array([[0.9, 0.1, 0.8, 0.3, 0.2]], "float32")
    scale = soft_scale(scores, np.array([1.0, 0.5, 0.25, 0.125, 0.0, 7.0], "float32"))
    np.testing.assert_array_equal(scale, [[1.0, 0.0, 0.5, 0.25, 0.125]])


def test_r_starts_at_one_for_all(attention):
    probs, mask = attention
    layer = SoftExtract(17)
    stays = layer(probs, mask, mask)
    np.testing.assert_array_equal(stays["scale"], np.ones((BATCH, LENGTH)))
    np.testing.assert_array_equal(stays["padding_mask"], mask)
    assert layer.mass == 17


def test_search_loss_of_an_encoder_is_its_weighted_mass(attention):
    probs, mask = attention
    layer = SoftExtract(17, coefficient=0.03)
    layer(probs, mask, mask)
    layer.retention_parameters.assign(np.linspace(0, 1, 17, dtype="float32"))
    assert layer.mass == pytest.approx(17 / 2)
    assert float(ops.convert_to_numpy(layer.losses[0])) == pytest.approx(0.03 * 17 / 2)
    assert MassPenalty.from_config(MassPenalty(0.03).get_config()).coefficient == 0.03


def test_retention_parameters_stay_between_0_and_1(attention):
    probs, mask = attention
    layer = SoftExtract(17)
    layer(probs, mask, mask)
    optimizer = keras.optimizers.SGD(1.0)
    gradient = np.where(np.arange(17) % 2, 3.0, -3.0).astype("float32")
    optimizer.apply([ops.convert_to_tensor(gradient)], [layer.retention_parameters])
    np.testing.assert_array_equal(layer.retention_parameters, np.where(np.arange(17) % 2, 0.0, 1.0))


def test_head_keeps_the_first_rows_and_random_fixed_ones(attention):
    probs, mask = attention
    full = np.ones_like(mask)

    def rows(given=probs, **kwargs):
        return np.array(Extract(5, 17, **kwargs)(given, full, full)["rows"])

    np.testing.assert_array_equal(rows(selection="head"), [range(5)] * BATCH)
    random = rows(selection="random", seed=3)
    np.testing.assert_array_equal(random, rows(probs[::-1], selection="random", seed=3))
    assert not np.array_equal(random, rows(selection="random", seed=4))
    assert not random[:, 0].any()


@pytest.mark.parametrize("layer", [Extract, SoftExtract])
def test_an_unknown_selection_is_refused(layer):
    with pytest.raises(ValueError, match=r"selection='tail'; expected one of attention, weighted, head, random"):
        layer(3, max_seq_length=17, selection="tail") if layer is Extract else layer(17, selection="tail")


@pytest.mark.parametrize("layer", [Extract(0.5, 17, selection="weighted"), SoftExtract(17, selection="weighted")])
def test_weighing_by_values_needs_values(layer, attention):
    probs, mask = attention
    with pytest.raises(ValueError, match=r"value=None; expected the values \[B, A, T, D\], which selection='weighted'"):
        layer(probs, mask, mask)


def test_keeping_nothing_is_refused():
    with pytest.raises(ValueError, match=r"num_kept=0.0; expected a fraction above 0 and up to 1"):
        Extract(0.0, 17)
    with pytest.raises(ValueError, match=r"num_kept=0; expected at least 1: \[CLS\] always stays"):
        Extract(0, 17)


def test_gates_by_hand():
    # n = 10 of 13 rows, width 0.4: a ramp of 4 ranks. f = 0.5: gate(rank) = (0.5 * 14 - rank) / 4, 1 up to rank 3, then
    # 3/4, 2/4, 1/4 and 0. The scores fall with the position, so that ranks are positions.
    mask = (np.arange(13) < 10).astype("int32")[None]
    scores = ranking_scores(np.linspace(1, 0.1, 13, dtype="float32")[None], mask)
    expected = [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(gates(scores, mask, 0.5, mask, width=0.4), [expected], atol=1e-6)
    before = mask * np.float32(0.5)
    np.testing.assert_allclose(gates(scores, before, 0.5, mask, width=0.4), [np.multiply(expected, 0.5)], atol=1e-6)
    np.testing.assert_array_equal(gates(scores, mask, 1.0, mask, width=0.4), mask)
    np.testing.assert_array_equal(gates(scores, mask, 0.0, mask, width=0.4)[0], np.eye(13)[0])  # [CLS]
    np.testing.assert_array_equal(gates(scores, mask, 0.41, mask, width=0.0)[0], np.arange(13) < 5)


def test_a_fraction_is_of_each_examples_own_length(attention):
    probs, mask = attention
    stays = Extract(0.4, max_seq_length=17)(probs, mask, mask)
    # ceil(0.4 * 13) rows in all; of 13, 2 and 11 words 6, 1 and 5 stay.
    assert stays["rows"].shape == (BATCH, 6)
    np.testing.assert_array_equal(ops.sum(stays["padding_mask"], axis=1), [6, 1, 5])
    counts = Extract(5, max_seq_length=17)(probs, mask, mask)
    np.testing.assert_array_equal(stays["rows"][2][:5], counts["rows"][2])


def test_a_fraction_is_of_the_input_and_not_of_the_rows_that_are_left(attention):
    probs, mask = attention
    lengths = np.array([17, 2, 13])
    input_mask = (np.arange(17) < lengths[:, None]).astype("int32")
    stays = Extract(0.4, max_seq_length=17)(probs, mask, input_mask)
    assert stays["rows"].shape == (BATCH, 7)  # ceil(0.4 * 17)
    np.testing.assert_array_equal(ops.sum(stays["padding_mask"], axis=1), [7, 1, 6])


def test_shares_are_rounded_up_exactly():
    lengths = np.arange(1, 48)
    mask = (np.arange(47) < lengths[:, None]).astype("int32")
    for percent in (1, 29, 40, 50, 100):
        expected = [max(1, math.ceil(fractions.Fraction(percent, 100) * int(length))) for length in lengths]
        np.testing.assert_array_equal(own_shares(parts_of(percent / 100), mask), expected)


@pytest.mark.parametrize("tail", [(), (7,), (2, 3)])
def test_gather_rows_picks_rows_of_each_example(tail):
    tensor = np.random.default_rng(0).random((BATCH, LENGTH, *tail)).astype("float32")
    rows = np.array([[0, 3], [12, 5], [1, 1]])
    np.testing.assert_array_equal(gather_rows(tensor, rows), [tensor[b, rows[b]] for b in range(BATCH)])


def test_gather_queries_picks_the_same_rows_of_every_head(attention):
    probs, _ = attention
    rows = np.array([[0, 3], [12, 5], [1, 1]])
    np.testing.assert_array_equal(gather_queries(probs, rows), [probs[b][:, rows[b]] for b in range(BATCH)])


INTEGER_MASK = Output((BATCH, LENGTH), "int32")
GATE = Output((BATCH, LENGTH), "float32")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Extract(5, 17), {"padding_mask": Output((BATCH, 5), "int32"), "rows": Output((BATCH, 5), "int32")}),
        (
            lambda: Extract(5, 17, selection="random", seed=3, padding_queries_vote=True),
            {"padding_mask": Output((BATCH, 5), "int32"), "rows": Output((BATCH, 5), "int32")},
        ),
        (
            lambda: Extract(0.5, 17, selection="weighted"),
            {"padding_mask": Output((BATCH, 7), "int32"), "rows": Output((BATCH, 7), "int32")},
        ),
        (lambda: SoftExtract(17), {"padding_mask": INTEGER_MASK, "scale": GATE}),
        (
            lambda: SoftExtract(17, coefficient=0.5, pin_cls=False, selection="head"),
            {"padding_mask": INTEGER_MASK, "scale": GATE},
        ),
        (lambda: GatedExtract(17), {"padding_mask": GATE}),
        (lambda: GatedExtract(17, width=0.3, selection="weighted"), {"padding_mask": GATE}),
    ],
)
def test_each_is_a_layer_and_half_precision_changes_nothing(make, expected, attention, tmp_path):
    probs, mask = attention
    value = np.random.default_rng(2).standard_normal((*probs.shape[:3], 7)).astype("float32")
    inputs = {"attention_probs": probs, "padding_mask": mask, "input_mask": mask, "value": value}
    check_layer(make, inputs, expected, tmp_path, rounding=0)


def test_a_configuration_with_the_coefficients_former_name_is_read():
    config = SoftExtract(17, coefficient=0.5).get_config()
    config["mass_penalty"] = config.pop("coefficient")
    assert SoftExtract.from_config(config).coefficient == 0.5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_keeps_the_same_rows(attention, dtype):
    probs, mask = attention
    half = ops.cast(probs, dtype)
    full = Extract(5, 17)(ops.cast(half, "float32"), mask, mask)["rows"]
    np.testing.assert_array_equal(Extract(5, 17, dtype=f"mixed_{dtype}")(half, mask, mask)["rows"], full)
