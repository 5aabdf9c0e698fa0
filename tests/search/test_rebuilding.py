"""Narrowed models, rebuilt from calibration text."""

import numpy as np
import pytest

from powerbert_tf.models.classifier import with_retention
from powerbert_tf.models.narrow import prefix, take_widths
from powerbert_tf.search.rebuilding import RebuiltWidths, rebuild_in_sequence
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
    before = [np.abs(logits_of(reduced, batch) - logits_of(model, batch)).mean() for batch in batches]

    rebuild_in_sequence(model, reduced, batches)

    after = [np.abs(logits_of(reduced, batch) - logits_of(model, batch)).mean() for batch in batches]
    assert np.mean(after) < 0.9 * np.mean(before)


def test_rebuilding_the_model_itself_in_sequence_changes_nothing():
    model = classifier()
    batches = [inputs_of(length, examples=29, seed=length) for length in (7, 13, 19)]
    same = take_widths(model, [np.arange(29)] * 3, [np.arange(5)] * 3)

    rebuild_in_sequence(model, same, batches)

    np.testing.assert_allclose(logits_of(same, batches[1]), logits_of(model, batches[1]), atol=1e-4)
