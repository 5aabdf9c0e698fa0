import numpy as np
import numpy_reference
import pytest
from keras import ops
from made_up_attention import BATCH, REAL

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination import significance
from powerbert_tf.elimination.significance import (
    find_score,
    ranking_scores,
    ranks,
    register_score,
    score_names,
    score_rows,
    significance_scores,
)


@pytest.mark.parametrize("padding_queries_vote", [False, True])
def test_significance_is_the_sum_of_the_others_attention(attention, padding_queries_vote):
    probs, mask = attention
    expected = [
        numpy_reference.significance_scores(probs[b].astype("float64"), mask[b], padding_queries_vote)
        for b in range(BATCH)
    ]
    scores = significance_scores(probs, np.ones_like(mask) if padding_queries_vote else mask)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert not np.any(np.array(scores)[mask == 0])


def test_significance_by_hand():
    # One head, three words: column sums without the diagonal.
    probs = np.array([[[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]]], "float32")
    np.testing.assert_allclose(significance_scores(probs, np.ones((1, 3))), [[0.5, 0.7, 0.5]], atol=1e-6)


def test_weighted_significance_by_hand():
    # The second word's value is twice as long as the others', and the third's is nothing: (3, 4), (6, 8) and (0, 0).
    probs = np.array([[[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]]], "float32")
    value = np.array([[[[3, 4], [6, 8], [0, 0]]]], "float32")
    scores = significance_scores(probs, np.ones((1, 3)), value=value)
    np.testing.assert_allclose(scores, [[0.5 * 5, 0.7 * 10, 0.0]], rtol=1e-6)


def test_values_of_one_length_weigh_nothing(attention):
    probs, mask = attention
    value = np.random.default_rng(0).choice([-0.5, 0.5], (*probs.shape[:3], 4)).astype("float32")  # all of norm 1
    np.testing.assert_array_equal(significance_scores(probs, mask, value=value), significance_scores(probs, mask))


def test_padding_votes_only_on_request(attention):
    probs, mask = attention
    padded = np.repeat(probs, 1, axis=0)
    padded[1, :, REAL[1] :] = 0.0  # what padding rows attend to
    padded[1, :, REAL[1] :, 0] = 1.0
    ours, theirs = (np.array(significance_scores(p, mask)) for p in (probs, padded))
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (np.array(significance_scores(p, np.ones_like(mask))) for p in (probs, padded))
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


@pytest.mark.parametrize("selection", ["head", "random"])
def test_static_scores_depend_on_nothing_but_the_position(selection):
    scores = [
        np.array(score_rows(selection, None, np.ones((3, length)), max_seq_length=23, seed=5)) for length in (7, 19)
    ]
    assert [each.shape for each in scores] == [(1, 7), (1, 19)]
    np.testing.assert_array_equal(scores[0], scores[1][:, :7])
    assert len(set(scores[1][0].tolist())) == 19
    assert scores[1].min() > 0
    np.testing.assert_array_equal(scores[1][0], find_score(selection).of_positions(23, seed=5)[:19])


def test_negative_scores_rank_above_padding():
    scores = np.array([[-0.5, -7.0, -3.0, 0.0, 0.0]], "float32")
    mask = np.array([[1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(ranks(ranking_scores(scores, mask)), [[0, 2, 1, 3, 4]])


def test_an_unknown_score_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"selection='tail'; expected one of attention, weighted, head, random, or"):
        find_score("tail")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attention", np.sum), "is a score of powerbert_tf"),
        (("two words", np.sum), "expected an identifier"),
        (("mine", 3), "expected a function"),
        (("mine", np.sum, "pooler"), "expected one of attention, values, nothing"),
    ],
)
def test_what_cannot_be_registered_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        register_score(*arguments)


@pytest.fixture
def registered(monkeypatch):
    """A registry that forgets at the end of the test."""
    monkeypatch.setattr(significance, "_scores", dict(significance._scores))
    return register_score


def test_a_registered_score_gets_what_it_needs(registered, attention):
    probs, mask = attention
    value = np.random.default_rng(0).standard_normal((*probs.shape[:3], 4)).astype("float32")
    registered("to_cls", lambda probs, votes: ops.sum(probs[..., 0], axis=1))
    registered("loud", lambda probs, votes, value: ops.sum(value[..., 0], axis=1), needs="values")
    registered("last", lambda length, seed: np.arange(length) + seed, needs="nothing")
    assert score_names()[4:] == ("to_cls", "loud", "last")
    rows = {
        name: np.array(score_rows(name, probs, mask, value, max_seq_length=53, seed=7))
        for name in ("to_cls", "loud", "last")
    }
    np.testing.assert_allclose(rows["to_cls"], probs[..., 0].sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows["loud"], value[..., 0].sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(rows["last"], [np.arange(7, 7 + mask.shape[1])])
    with pytest.raises(ValueError, match=r"expected the values .*selection='loud'"):
        score_rows("loud", probs, mask, max_seq_length=53)
    registered("last", lambda length, seed: np.zeros(length), needs="nothing")  # again: replaced
    assert not np.array(score_rows("last", probs, mask, max_seq_length=53)).any()
