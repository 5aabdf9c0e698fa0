"""Narrowed models, rebuilt from calibration text."""

import numpy as np
import pytest

import powerbert_tf
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.models.classifier import with_retention
from powerbert_tf.models.narrow import prefix, take_widths
from powerbert_tf.models.precision import computing_in
from powerbert_tf.search.rebuilding import RebuiltWidths, rebuild_in_sequence, with_reduction
from tests.models.test_narrow import HEADS, NEURONS, classifier, inputs_of, logits_of


@pytest.mark.parametrize("shares_encoders", [False, True])
def test_rebuilding_moves_outputs_less_than_slicing(shares_encoders):
    model = classifier(shares_encoders=shares_encoders)
    batches = [inputs_of(length, seed=length) for length in (7, 13, 19)]
    neurons, heads = ((17,) * 3, (3,) * 3) if shares_encoders else (NEURONS, HEADS)

    widths = RebuiltWidths(model, batches)

    unseen = inputs_of(17, seed=5)
    full = logits_of(model, unseen)
    np.testing.assert_allclose(logits_of(widths.model, unseen), full, atol=1e-6)
    rebuilt = np.abs(logits_of(widths.narrowed(neurons, heads), unseen) - full).mean()
    sliced = np.abs(logits_of(prefix(widths.model, neurons, heads), unseen) - full).mean()
    assert rebuilt < 0.2 * sliced


def test_rebuilding_in_sequence_makes_up_for_rows_that_leave():
    model = classifier()
    batches = [inputs_of(length, examples=29, seed=length) for length in (7, 13, 19)]
    reduced = with_retention(RebuiltWidths(model, batches).narrowed(NEURONS, HEADS), (0.9, 0.5, 0.1))

    def cls_before_the_last_encoder(one, batch):
        word_vectors = one.get_layer("embeddings")(batch["token_ids"], batch["segment_ids"])
        mask = batch["padding_mask"]
        for encoder in one.encoders[:-1]:
            word_vectors, mask = encoder(word_vectors, mask, batch["padding_mask"])
        return np.asarray(word_vectors[:, 0])

    def distance():
        states = [[cls_before_the_last_encoder(one, batch) for one in (model, reduced)] for batch in batches]
        return np.mean([np.mean((full - own) ** 2) for full, own in states])

    before, last = distance(), reduced.encoders[-1].get_weights()

    rebuild_in_sequence(model, reduced, batches)

    assert distance() < 0.8 * before
    np.testing.assert_equal(reduced.encoders[-1].get_weights(), last)


def test_a_model_is_reduced_in_one_call():
    model = classifier()
    batches = [inputs_of(length, seed=length) for length in (7, 13, 19)]
    reduction = Reduction((0.9, 0.5, 0.1), NEURONS, HEADS)

    reduced = powerbert_tf.with_reduction(model, reduction, batches, selection="weighted")

    assert reduced.reduction == reduction
    assert reduced.selection == "weighted"
    widths = RebuiltWidths(model, batches).narrowed(NEURONS, HEADS)
    expected = with_retention(widths, reduction.rows, selection="weighted")
    rebuild_in_sequence(model, expected, batches)
    np.testing.assert_allclose(logits_of(reduced, batches[1]), logits_of(expected, batches[1]), atol=1e-6)

    first_ones = powerbert_tf.with_reduction(model, reduction)  # without text
    expected = with_retention(prefix(model, NEURONS, HEADS), reduction.rows)
    np.testing.assert_array_equal(logits_of(first_ones, batches[1]), logits_of(expected, batches[1]))


def test_without_widths_weights_are_shared():
    model = classifier()
    reduced = powerbert_tf.with_reduction(model, Reduction((0.9, 0.5, 0.1)))
    assert reduced.encoders[0].intermediate is model.encoders[0].intermediate


def test_encoders_that_share_weights_are_not_rebuilt_one_after_the_other():
    model = classifier(shares_encoders=True)
    batches = [inputs_of(length, seed=length) for length in (7, 13)]
    reduction = Reduction((0.9, 0.5, 0.1), (17,) * 3, (3,) * 3)
    reduced = with_reduction(model, reduction, batches)
    expected = RebuiltWidths(model, batches).narrowed(reduction.neurons, reduction.heads)
    expected = logits_of(with_retention(expected, reduction.rows), batches[0])
    np.testing.assert_allclose(logits_of(reduced, batches[0]), expected, atol=1e-5)


def test_models_in_half_precision_are_rebuilt_as_well():
    batches = [inputs_of(length, examples=29, seed=length) for length in (7, 13, 19)]
    full = classifier()
    with computing_in("mixed_bfloat16"):
        half = classifier()
        reduced = with_reduction(half, Reduction((0.9, 0.5, 0.1), NEURONS, HEADS), batches)
        found = np.asarray(logits_of(reduced, batches[1]), "float32")
    exact = with_reduction(full, Reduction((0.9, 0.5, 0.1), NEURONS, HEADS), batches)
    np.testing.assert_allclose(found, logits_of(exact, batches[1]), atol=0.05)


def test_rebuilding_the_model_itself_in_sequence_changes_nothing():
    model = classifier()
    batches = [inputs_of(length, examples=29, seed=length) for length in (7, 13, 19)]
    same = take_widths(model, [np.arange(29)] * 3, [np.arange(5)] * 3)

    rebuild_in_sequence(model, same, batches)

    np.testing.assert_allclose(logits_of(same, batches[1]), logits_of(model, batches[1]), atol=1e-4)
