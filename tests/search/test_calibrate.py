"""The search without training: damages by hand, the allocation against brute force, the whole on a small model."""

import dataclasses
import itertools

import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_hugging_face_checkpoint

from benchmarks.common.models import SHAPES
from powerbert_tf import load_classifier
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.metrics import divergence
from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import CLS_ALONE
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.models.classifier import with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.search import allocation
from powerbert_tf.search.allocation import Profile, Widths, allocate
from powerbert_tf.search.calibrate import Calibration, bisect_speedup
from powerbert_tf.search.rebuilding import RebuiltWidths

N = 23
ENCODERS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = tiny_config()
    write_hugging_face_checkpoint(folder, config, random_weights(config, 7))
    return load_classifier(folder, 7, N)


@pytest.fixture(scope="module")
def costs():
    return Costs(
        count_costs(EncoderSize(ENCODERS, 35, 29, num_heads=5), N, batch_size=5), np.array([7, 13, 19, 23]), ENCODERS
    )


@pytest.fixture
def batches():
    return [random_inputs(tiny_config(), batch=5, length=length, seed=length) for length in (11, 19)]


def test_the_allocation_is_the_best_of_all_configurations(costs, monkeypatch):
    fractions = np.array([0.1, 0.3, 0.5, 0.8, 1.0])
    monkeypatch.setattr(allocation, "FRACTIONS", fractions)
    damages = np.sort(np.random.default_rng(3).random((ENCODERS, 5)), axis=1)[:, ::-1] * np.array([[5], [2], [1]])
    damages[:, -1] = 0.0
    profile = Profile(fractions, damages)
    costs = Costs(costs.table, costs.lengths, ENCODERS + 1)  # and the last one, which has nothing to choose

    def predicted(configuration):
        columns = [np.flatnonzero(np.isclose(fractions, kept))[0] for kept in configuration[:ENCODERS]]
        before = [4, *columns[:-1]]
        return sum(
            damages[j, column] - damages[j, came] for j, (column, came) in enumerate(zip(columns, before, strict=True))
        )

    def best(speedup):
        kept = itertools.combinations_with_replacement(fractions[::-1].tolist(), ENCODERS)
        return min(predicted(c) for c in kept if costs.speedup((*c, CLS_ALONE)) >= speedup)

    for target in (1.3, 1.7, 2.1, 2.9):
        found = allocate(profile, costs, target).rows
        assert costs.speedup(found) >= target
        assert found[ENCODERS:] == (CLS_ALONE,)
        # Costs are rounded up, by less than a bin of 400 for each encoder.
        assert best(target) - 1e-9 <= predicted(found) <= best(target * (1 + 1.5 * (ENCODERS + 1) / 400)) + 1e-9


def test_where_rounded_costs_leave_no_room_only_cls_stays(costs):
    alone = (CLS_ALONE,) * ENCODERS
    profile = Profile(np.array([0.1, 1.0]), np.array([[1.0, 0.0]] * (ENCODERS - 1)))
    assert allocate(profile, costs, costs.speedup(alone)) == Reduction(alone)


def test_damages_are_those_of_models_that_extract(model, batches):
    configuration = (0.8, 0.5, 0.2)
    full, reduced = (
        np.concatenate([ops.convert_to_numpy(one(batch)) for batch in batches])
        for one in (model, with_retention(model, configuration))
    )
    found = Calibration(model, batches, CLASSES).damage(Reduction(configuration))
    assert found == pytest.approx(divergence(full, reduced, CLASSES), rel=1e-4)
    assert Calibration(model, batches, CLASSES).damage(Reduction((1.0, 1.0, 1.0))) == pytest.approx(0, abs=1e-9)


def test_the_profile_falls_to_zero(model, batches):
    profile = Calibration(model, batches, CLASSES).profile()
    assert profile.damages.shape == (ENCODERS - 1, len(profile.fractions))
    assert np.all(np.diff(profile.damages, axis=1) <= 0)
    assert not profile.damages[:, -1].any()
    assert profile.damages[0, 0] > 0
    np.testing.assert_allclose(profile.at(np.array([0.7]))[0], profile.damages[0, 5:7].mean(), rtol=1e-6)


@pytest.mark.parametrize("target", [pytest.param(1.5, marks=pytest.mark.slow), 2.5])
def test_the_search_meets_its_target_and_refining_lowers_the_damage(model, batches, costs, target):
    search = Calibration(model, batches, CLASSES)
    start = search.search(costs, target, refinements=0)
    found = search.search(costs, target, refinements=20)
    assert search.damage(found) <= search.damage(start)
    for configuration in (start, found):
        assert costs.speedup(configuration) == pytest.approx(target, rel=0.1)  # rows are whole: 7 of 23 or 8
        assert costs.speedup(configuration) >= target * (1 - 1e-9)
    assert found == Calibration(model, batches, CLASSES).search(costs, target, refinements=20)
    geometric = Reduction(fit_to_budget((0.5, 0.25, 0.125), costs, target))
    assert search.damage(found) <= search.damage(geometric) * 1.05


WIDTHS = Widths((7, 13, 29), (2, 5))


def test_the_allocation_of_rows_and_widths_is_the_best_of_all(costs, monkeypatch):
    fractions = np.array([0.2, 0.6, 1.0])
    monkeypatch.setattr(allocation, "FRACTIONS", fractions)
    random = np.random.default_rng(5)

    def falling(encoders, number):
        return np.c_[np.sort(random.random((encoders, number - 1)), axis=1)[:, ::-1], np.zeros(encoders)]

    known = {"neurons": np.array(WIDTHS.neurons), "heads": np.array(WIDTHS.heads)}
    harms = {"neurons": falling(ENCODERS, 3), "heads": 0.3 * falling(ENCODERS, 2)}
    profile = Profile(fractions, 2 * falling(ENCODERS - 1, 3), known, harms)

    def predicted(reduction):
        total, before = 0.0, 2
        for encoder in range(ENCODERS):
            for name, full in (("neurons", 29), ("heads", 5)):
                width = (getattr(reduction, name) or (full,) * ENCODERS)[encoder]
                total += harms[name][encoder, list(known[name]).index(width)]
            if encoder < ENCODERS - 1:
                column = int(np.flatnonzero(np.isclose(fractions, reduction.rows[encoder]))[0])
                total += profile.damages[encoder, column] - profile.damages[encoder, before]
                before = column
        return total

    def best(speedup):
        rows = itertools.combinations_with_replacement(fractions[::-1].tolist(), ENCODERS - 1)
        neurons, heads = (itertools.product(own, repeat=ENCODERS) for own in (WIDTHS.neurons, WIDTHS.heads))
        every = (
            WIDTHS.reduction((*kept, CLS_ALONE), *widths)
            for kept, *widths in itertools.product(list(rows), list(neurons), list(heads))
        )
        return min(predicted(one) for one in every if costs.speedup(one) >= speedup)

    for target in (1.4, 2.2, 3.1):
        found = allocate(profile, costs, target, WIDTHS)
        assert costs.speedup(found) >= target
        assert best(target) - 1e-9 <= predicted(found) <= best(target * (1 + 1.5 * ENCODERS / 400)) + 1e-9


def test_encoders_that_share_weights_get_one_width(costs):
    profile = Profile(np.array([0.1, 1.0]), np.array([[5.0, 0.0]] * (ENCODERS - 1)))
    found = allocate(profile, costs, 1.7, Widths(WIDTHS.neurons, WIDTHS.heads, are_shared=True))
    assert len(set(found.neurons)) == len(set(found.heads or (5,))) == 1


def test_without_rows_only_widths_are_reduced(costs):
    profile = Profile(np.array([0.1, 1.0]), np.zeros((ENCODERS - 1, 2)))
    found = allocate(profile, costs, 1.5, WIDTHS, eliminates=False)
    assert found.rows[:-1] == (1.0,) * (ENCODERS - 1)
    assert found.is_narrowed


def test_widths_are_sixteenths_and_whole_heads():
    config = SHAPES["bert_base"]
    widths = Widths.of(config, ("rows", "neurons", "heads"))
    assert widths.neurons == (384, 576, 768, 960, 1152, 1536, 1920, 2304, 2688, 3072)
    assert widths.heads == tuple(range(3, 13))
    assert Widths.of(config, ("rows",)) == Widths((None,), (None,))
    assert Widths.of(BertConfig(**tiny_config()), ("heads",)) == Widths((None,), (1, 2, 3, 4, 5))


@pytest.fixture
def rebuilt(model, batches):
    return RebuiltWidths(model, batches)


def test_the_profile_of_a_width_is_the_damage_of_a_model_with_one_narrow_encoder(model, batches, rebuilt):
    search = Calibration(model, batches, CLASSES, rebuilt=rebuilt)
    profile = search.profile()

    for name, reduction in (
        ("neurons", Reduction((1.0,) * 3, neurons=(29, 14, 29))),
        ("heads", Reduction((1.0,) * 3, heads=(5, 4, 5))),
    ):
        column = profile.widths[name].tolist().index(getattr(reduction, name)[1])
        narrowed = rebuilt.narrowed(reduction.neurons, reduction.heads)

        def moved(of, narrowed=narrowed):
            outputs = (np.concatenate([ops.convert_to_numpy(one(batch)) for batch in of]) for one in (model, narrowed))
            return divergence(*outputs, CLASSES)

        assert search.damage(reduction) == pytest.approx(moved(batches), rel=1e-3)
        expected = moved(batches[::2])
        assert profile.width_damages[name][1, column] == pytest.approx(expected, rel=1e-3)
        assert not profile.width_damages[name][:, -1].any()


@pytest.mark.parametrize("dimensions", [("rows", "neurons", "heads"), ("neurons", "heads"), ("rows", "heads")])
def test_a_search_over_some_dimensions_meets_its_target(model, batches, costs, rebuilt, dimensions):
    search = Calibration(model, batches, CLASSES, rebuilt=rebuilt, dimensions=dimensions)

    found = search.search(costs, 1.6, refinements=5)

    assert costs.speedup(found) >= 1.6 * (1 - 1e-9)
    assert costs.speedup(found) == pytest.approx(1.6, rel=0.15)
    assert set(found.widths) <= set(dimensions)
    if "rows" not in dimensions:
        assert found.rows[:-1] == (1.0, 1.0)
    reduced = search.narrowed(found, batches)
    assert reduced.reduction == found


def test_a_reduction_of_rows_alone_keeps_the_weights(model, batches, rebuilt):
    search = Calibration(model, batches, CLASSES, rebuilt=rebuilt)
    reduced = search.narrowed(Reduction((0.8, 0.5, 0.2)), batches)
    assert reduced.encoders[0].intermediate is search.model.encoders[0].intermediate
    found = np.concatenate([ops.convert_to_numpy(reduced(batch)) for batch in batches])
    expected = [ops.convert_to_numpy(with_retention(model, (0.8, 0.5, 0.2))(batch)) for batch in batches]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)


def test_an_encoder_that_no_row_leaves_eliminates_nothing(model, batches, costs, rebuilt):
    search = Calibration(model, batches, CLASSES, rebuilt=rebuilt)
    # On a device on which scores and gathering cost something.
    table = dataclasses.replace(costs.table, extracting_attention=1.2 * costs.table.attention)
    costs = dataclasses.replace(costs, table=table)
    # Widths alone reach the target nearly: in 23 rows, a fraction above 22 / 23 keeps all.
    narrow = Reduction((0.9999, 0.9998, CLS_ALONE), (7, 7, 7), (2, 2, 2))
    fitted = search.fit(costs, narrow, costs.speedup(narrow) * 0.99)
    assert all(kept == 1.0 or kept <= 22 / 23 for kept in fitted.rows[:-1])
    assert costs.speedup(fitted) >= costs.speedup(narrow) * 0.99 * (1 - 1e-9)


def test_rows_and_widths_together_do_no_more_damage_than_rows_alone(model, batches, costs, rebuilt):
    alone = Calibration(model, batches, CLASSES)
    joint = Calibration(model, batches, CLASSES, rebuilt=rebuilt)
    rows, both = (search.search(costs, 2.0, refinements=0) for search in (alone, joint))
    assert joint.damage(both) <= alone.damage(rows) * (1 + 1e-6)


def test_the_fastest_within_a_loss_is_found_by_bisection():
    def search(target):
        return (round(1 / target, 4),)

    found = bisect_speedup(search, lambda kept: kept[0], lowest=0.4, largest_speedup=16.0, steps=12)
    assert 0.4 <= found[0] < 0.402
    assert bisect_speedup(search, lambda kept: 0.0, lowest=0.4, largest_speedup=16.0) is None
    tried = []
    bisect_speedup(tried.append, lambda _: 0.0, lowest=0.4, largest_speedup=8.0, smallest_speedup=2.0, steps=2)
    assert tried == pytest.approx([4.0, 8**0.5])  # geometric means of 2 and 8, of 2 and 4
