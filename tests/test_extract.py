import keras
import numpy as np
import numpy_reference
import pytest
from keras import ops

from powerbert_tf.extract import (
    Extract,
    GatedExtract,
    MassPenalty,
    SoftExtract,
    extract,
    gates,
    gather_rows,
    ranking_scores,
    ranks,
    significance_scores,
    soft_extract,
    static_scores,
)

BATCH, HEADS, LENGTH, HIDDEN = 3, 5, 13, 7
REAL = (13, 2, 11)


@pytest.fixture
def attention():
    """Attention probabilities [B, A, T, T] that give padding nothing, word-vectors [B, T, H], mask [B, T]."""
    random = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < np.array(REAL)[:, None]).astype("int32")
    weights = np.exp(random.normal(size=(BATCH, HEADS, LENGTH, LENGTH))) * mask[:, None, None, :]
    probs = (weights / weights.sum(-1, keepdims=True)).astype("float32")
    word_vectors = random.normal(size=(BATCH, LENGTH, HIDDEN)).astype("float32")
    return probs, word_vectors, mask


@pytest.mark.parametrize("padding_queries_vote", [False, True])
def test_significance_is_the_sum_of_the_others_attention(attention, padding_queries_vote):
    probs, _, mask = attention
    expected = [
        numpy_reference.significance_scores(probs[b].astype("float64"), mask[b], padding_queries_vote)
        for b in range(BATCH)
    ]
    scores = significance_scores(probs, mask, padding_queries_vote)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert not np.any(np.array(scores)[mask == 0])


def test_significance_by_hand():
    # One head, three words: column sums without the diagonal.
    probs = np.array([[[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]]], "float32")
    np.testing.assert_allclose(significance_scores(probs, np.ones((1, 3))), [[0.5, 0.7, 0.5]], atol=1e-6)


def test_padding_votes_only_on_request(attention):
    probs, _, mask = attention
    padded = np.repeat(probs, 1, axis=0)
    padded[1, :, REAL[1] :] = 0.0  # what padding rows attend to
    padded[1, :, REAL[1] :, 0] = 1.0
    ours, theirs = (np.array(significance_scores(p, mask)) for p in (probs, padded))
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (np.array(significance_scores(p, mask, padding_queries_vote=True)) for p in (probs, padded))
    assert np.abs(ours - theirs)[1].max() > 0.1


def test_scores_of_half_precision_are_summed_in_full_precision():
    # 512 words that all attend equally: float16 would stop adding 1/512 to a sum of 2 heads well before 2.
    probs = np.full((1, 2, 509, 509), 1 / 512, "float16")
    scores = significance_scores(probs, np.ones((1, 509)))
    np.testing.assert_allclose(scores, 2 * 508 / 512, rtol=1e-6)


def test_ranks_are_positions_in_descending_order_and_earlier_first_among_equals():
    scores = np.array([[0.2, 0.9, 0.2, 0.5, 0.9]], "float32")
    np.testing.assert_array_equal(ranks(scores), [[3, 0, 4, 2, 1]])


def test_cls_is_first_and_padding_last():
    scores = np.array([[0.0, 0.7, 0.1, 0.0, 0.0]], "float32")
    mask = np.array([[1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(ranks(ranking_scores(scores, mask)), [[0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(ranks(ranking_scores(scores, mask, pin_cls=False)), [[2, 0, 1, 3, 4]])


def test_extract_keeps_the_most_significant_rows_in_their_order(attention):
    _, word_vectors, mask = attention
    scores = np.random.default_rng(1).random((BATCH, LENGTH)).astype("float32")
    kept_vectors, kept_mask = extract(word_vectors, mask, ranking_scores(scores, mask), 5)
    assert kept_vectors.shape == (BATCH, 5, HIDDEN)
    for b, real in enumerate(REAL):
        others = sorted(range(1, real), key=lambda w: -scores[b, w])[:4]
        kept = sorted([0, *others])
        np.testing.assert_array_equal(kept_vectors[b][: len(kept)], word_vectors[b, kept])
        np.testing.assert_array_equal(kept_mask[b], [1] * len(kept) + [0] * (5 - len(kept)))


@pytest.mark.parametrize("num_kept", [LENGTH, LENGTH + 4])
def test_keeping_all_is_the_identity(attention, num_kept):
    probs, word_vectors, mask = attention
    kept_vectors, kept_mask = Extract(num_kept, max_seq_length=17)(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(kept_vectors, word_vectors)
    np.testing.assert_array_equal(kept_mask, mask)


def test_keeping_one_keeps_cls(attention):
    probs, word_vectors, mask = attention
    kept_vectors, kept_mask = Extract(1, max_seq_length=17)(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(kept_vectors, word_vectors[:, :1])
    np.testing.assert_array_equal(kept_mask, mask[:, :1])


def test_soft_extract_scales_by_the_parameter_of_the_rank():
    word_vectors = np.arange(1.0, 11.0, dtype="float32").reshape(1, 5, 2)
    scores = np.array([[0.9, 0.1, 0.8, 0.3, 0.2]], "float32")
    scaled = soft_extract(word_vectors, scores, np.array([1.0, 0.5, 0.25, 0.125, 0.0, 7.0], "float32"))
    np.testing.assert_array_equal(scaled, word_vectors * np.array([1.0, 0.0, 0.5, 0.25, 0.125], "float32")[:, None])


def test_r_of_one_is_the_identity(attention):
    probs, word_vectors, mask = attention
    layer = SoftExtract(17)
    scaled, same_mask = layer(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(scaled, word_vectors)
    np.testing.assert_array_equal(same_mask, mask)
    assert layer.mass == 17


def test_search_loss_of_an_encoder_is_its_weighted_mass(attention):
    probs, word_vectors, mask = attention
    layer = SoftExtract(17, mass_penalty=0.03)
    layer(word_vectors, probs, mask, mask)
    layer.retention_parameters.assign(np.linspace(0, 1, 17, dtype="float32"))
    assert layer.mass == pytest.approx(17 / 2)
    assert float(ops.convert_to_numpy(layer.losses[0])) == pytest.approx(0.03 * 17 / 2)
    assert MassPenalty.from_config(MassPenalty(0.03).get_config()).coefficient == 0.03


def test_retention_parameters_stay_between_0_and_1(attention):
    probs, word_vectors, mask = attention
    layer = SoftExtract(17)
    layer(word_vectors, probs, mask, mask)
    optimizer = keras.optimizers.SGD(1.0)
    gradient = np.where(np.arange(17) % 2, 3.0, -3.0).astype("float32")
    optimizer.apply([ops.convert_to_tensor(gradient)], [layer.retention_parameters])
    np.testing.assert_array_equal(layer.retention_parameters, np.where(np.arange(17) % 2, 0.0, 1.0))


@pytest.mark.parametrize("selection", ["head", "random"])
def test_static_scores_depend_on_nothing_but_the_position(selection):
    scores = [np.array(static_scores(selection, length, 23, seed=5)) for length in (7, 19)]
    np.testing.assert_array_equal(scores[0], scores[1][:7])
    assert len(set(scores[1].tolist())) == 19
    assert scores[1].min() > 0


def test_head_keeps_the_first_rows_and_random_fixed_ones(attention):
    probs, word_vectors, mask = attention
    first, _ = Extract(5, 17, selection="head")(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(first, word_vectors[:, :5])
    random, _ = Extract(5, 17, selection="random", seed=3)(word_vectors, probs, mask, mask)
    again, _ = Extract(5, 17, selection="random", seed=3)(word_vectors, probs[::-1], mask, mask)
    other, _ = Extract(5, 17, selection="random", seed=4)(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(random, again)
    assert not np.array_equal(random, other)
    np.testing.assert_array_equal(random[:, 0], word_vectors[:, 0])


@pytest.mark.parametrize("layer", [Extract, SoftExtract])
def test_an_unknown_selection_is_refused(layer):
    with pytest.raises(ValueError, match=r"selection='tail'; expected one of attention, head, random"):
        layer(3, max_seq_length=17, selection="tail") if layer is Extract else layer(17, selection="tail")


def test_keeping_nothing_is_refused():
    with pytest.raises(ValueError, match=r"num_kept=0.0; expected a fraction above 0 and up to 1"):
        Extract(0.0, 17)
    with pytest.raises(ValueError, match=r"num_kept=0; expected at least 1: \[CLS\] never leaves"):
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
    probs, word_vectors, mask = attention
    kept_vectors, kept_mask = Extract(0.4, max_seq_length=17)(word_vectors, probs, mask, mask)
    # ceil(0.4 * 13) rows in all; of 13, 2 and 11 words 6, 1 and 5 stay.
    assert kept_vectors.shape == (BATCH, 6, HIDDEN)
    np.testing.assert_array_equal(ops.sum(kept_mask, axis=1), [6, 1, 5])
    counts, _ = Extract(5, max_seq_length=17)(word_vectors, probs, mask, mask)
    np.testing.assert_array_equal(kept_vectors[2][:5], counts[2])


@pytest.mark.parametrize("tail", [(), (7,), (2, 3)])
def test_gather_rows_picks_rows_of_each_example(tail):
    tensor = np.random.default_rng(0).random((BATCH, LENGTH, *tail)).astype("float32")
    rows = np.array([[0, 3], [12, 5], [1, 1]])
    np.testing.assert_array_equal(gather_rows(tensor, rows), [tensor[b, rows[b]] for b in range(BATCH)])


@pytest.mark.parametrize(
    "layer",
    [
        Extract(5, 17, selection="random", seed=3, padding_queries_vote=True, name="extract"),
        SoftExtract(17, mass_penalty=0.5, pin_cls=False, selection="head", name="soft"),
        Extract(0.35, 17, name="extract"),
        GatedExtract(17, width=0.1, name="gated"),
    ],
)
def test_layers_come_back_from_their_configuration(layer):
    config = layer.get_config()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == config


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_same_rows(attention, policy):
    probs, word_vectors, mask = attention
    full, _ = Extract(5, 17)(word_vectors, probs, mask, mask)
    half, _ = Extract(5, 17, dtype=policy)(word_vectors, probs, mask, mask)
    assert keras.backend.standardize_dtype(half.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_allclose(ops.cast(half, "float32"), full, rtol=1e-2)
