import dataclasses
import json

import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import EncoderSize, multiply_adds
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import CLS_ALONE, geometric_schedule, validate_configuration
from powerbert_tf.latency.costs import (
    Costs,
    CostTable,
    count_costs,
    fit_to_budget,
    grouped_lengths,
    require_reachable,
    speedup_for_latency,
)

SIZE = EncoderSize(num_encoders=3, hidden_size=35, intermediate_size=29, num_heads=5)
N = 23
LENGTHS = np.array([5, 11, 19, 23])
CONFIGURATIONS = (
    None,
    (13, 7, 2),
    (23, 23, 1),
    (1, 1, 1),
    (0.8, 0.45, 0.13),
    (1.0, 0.5, 0.5),
    (0.0001, 0.0001, 0.0001),
)

# By hand: at 1, 3 and 7 rows.
TABLE = CostTable(
    unit="ms",
    device="some device",
    batch_size=5,
    rows=np.array([1, 3, 7]),
    attention=np.array([2.0, 6.0, 22.0]),
    extracting_attention=np.array([3.0, 8.0, 25.0]),
    update=np.array([1.0, 3.0, 11.0]),
    last=np.array([1.0, 2.0, 4.0]),
    outside=np.array([0.5, 0.7, 1.1]),
    widths={"neurons": np.array([8, 16, 32]), "heads": np.array([2, 5])},
    ratios={
        "neurons": {
            "update": np.array([[0.6, 0.5, 0.4], [0.8, 0.75, 0.7], [1.0, 1.0, 1.0]]),
            "last": np.array([[0.9, 0.8, 0.8], [0.95, 0.9, 0.9], [1.0, 1.0, 1.0]]),
        },
        "heads": {
            "attention": np.array([[0.7, 0.4, 0.4], [1.0, 1.0, 1.0]]),
            "extracting_attention": np.array([[0.7, 0.4, 0.4], [1.0, 1.0, 1.0]]),
            "update": np.array([[0.7, 0.7, 0.7], [1.0, 1.0, 1.0]]),
            "last": np.array([[0.4, 0.4, 0.4], [1.0, 1.0, 1.0]]),
        },
    },
)
HAND = Costs(TABLE, np.array([3, 7]), num_encoders=3)


def between(table, name, rows):
    """A slow np.interp."""
    known, costs = table.rows, getattr(table, name)
    for low in range(len(known) - 1):
        if known[low] <= rows <= known[low + 1]:
            share = (rows - known[low]) / (known[low + 1] - known[low])
            return costs[low] + share * (costs[low + 1] - costs[low])
    raise AssertionError(rows)


def kept_of(kept, length):
    """Counts in whole numbers, fractions in ten-thousandths."""
    if isinstance(kept, int):
        return min(kept, length)
    parts = int(f"{kept:.4f}".replace(".", ""))
    return max(1, -(-parts * length // 10_000))


def slow_cost(costs, configuration):
    total = 0.0
    for length in costs.lengths.tolist():
        total += between(costs.table, "outside", length)
        rows = length
        for j in range(costs.num_encoders - 1):
            leaving = rows if configuration is None else min(rows, kept_of(configuration[j], length))
            before = (N if isinstance(configuration[0], int) else 1.0, *configuration)[j] if configuration else None
            extracts = configuration is not None and configuration[j] < before
            total += between(costs.table, "extracting_attention" if extracts else "attention", rows)
            total += between(costs.table, "update", leaving)
            rows = leaving
        total += between(costs.table, "last", rows)
    return total / len(costs.lengths)


def random_table():
    rng = np.random.default_rng(5)
    rows = np.array([1, 2, 5, 11, 17, 23])
    curves = {name: np.cumsum(rng.random(len(rows))) for name in ("attention", "update", "last", "outside")}
    return CostTable(
        unit="ms",
        device="some device",
        batch_size=5,
        rows=rows,
        extracting_attention=curves["attention"] + rng.random(len(rows)),
        **curves,
    )


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("table", [random_table(), count_costs(SIZE, N, 5)], ids=["measured", "counted"])
def test_costs_equal_a_slow_loop(table, configuration):
    costs = Costs(table, LENGTHS, SIZE.num_encoders)
    assert costs.of(configuration) == pytest.approx(slow_cost(costs, configuration), rel=1e-12)


def test_costs_by_hand():
    # 3 rows: 0.7 + 2 * (6 + 3) + 2 = 20.7; 7 rows: 1.1 + 2 * (22 + 11) + 4 = 71.1.
    assert HAND.dense == pytest.approx((20.7 + 71.1) / 2)
    # 3 rows are ranked, but stay: 0.7 + 8 + 3 + 6 + 3 + 2. 7 rows, 5 stay: 25 + 7, midway between 3 and 11; 14 + 7; 3.
    assert HAND.of((5, 5, 1)) == pytest.approx((22.7 + 1.1 + 25 + 7 + 14 + 7 + 3) / 2)
    # ceil(3 / 2) = 2: 0.7 + 8 + 2, 4 + 2 and 1.5; ceil(7 / 2) = 4: 1.1 + 25 + 5, 10 + 5 and 2.5.
    for last in (0.5, 0.0001):  # what the last encoder keeps changes nothing
        assert HAND.of((0.5, 0.5, last)) == pytest.approx((18.2 + 48.6) / 2)
        assert HAND.speedup((0.5, 0.5, last)) == pytest.approx(91.8 / 66.8)
    # [CLS] alone: 0.7 + 8 + 1 + 2 + 1 + 1 and 1.1 + 25 + 1 + 2 + 1 + 1.
    assert HAND.largest_speedup == pytest.approx(91.8 / 44.8)


def test_costs_of_narrower_encoders_by_hand():
    # At 3 rows, half of the neurons: update 3 * 0.75. Two heads of five: attention 6 * 0.4, update 3 * 0.7.
    assert TABLE.encoder(3, 3, False, neurons=16) == pytest.approx(6 + 2.25)
    assert TABLE.encoder(3, 3, False, heads=2) == pytest.approx(2.4 + 2.1)
    assert TABLE.encoder(3, 3, True, heads=2) == pytest.approx(8 * 0.4 + 2.1)
    # What both save adds up: 1 - 0.25 - 0.3.
    assert TABLE.encoder(3, 3, False, neurons=16, heads=2) == pytest.approx(2.4 + 3 * 0.45)
    assert TABLE.last_encoder(3, neurons=16, heads=2) == pytest.approx(2 * 0.3)
    # Between known widths, 24 and 12 neurons, and 3 heads, a third of the way from 2 to 5; below, 4 neurons and 1 head.
    assert TABLE.encoder(3, 3, False, neurons=24) == pytest.approx(6 + 3 * 0.875)
    assert TABLE.encoder(3, 3, False, neurons=12) == pytest.approx(6 + 3 * 0.625)
    assert TABLE.encoder(3, 3, False, heads=3) == pytest.approx(6 * 0.6 + 3 * 0.8)
    assert TABLE.encoder(3, 3, False, neurons=4) == pytest.approx(6 + 3 * 0.375)
    assert TABLE.encoder(3, 3, False, heads=1) == pytest.approx(6 * 0.2 + 3 * 0.6)
    # 5 rows leave, midway between 3 and 7: 7 * 0.725.
    assert TABLE.encoder(7, 5, True, neurons=16) == pytest.approx(25 + 7 * 0.725)
    # Nothing is free: one neuron and one head would save more than the last encoder costs.
    assert TABLE.last_encoder(3, neurons=1, heads=1) == pytest.approx(2 * 0.02)


def test_costs_of_a_reduction_by_hand():
    narrow = Reduction((0.5, 0.5, 0.5), neurons=(16, 32, 8), heads=(5, 2, 5))
    # As `test_costs_by_hand`, batch by batch: 2 of 3 rows stay, and 4 of 7; at 2 rows ratios are midway from 1 to 3.
    short = 0.7 + 8 + 2 * 0.775 + 4 * 0.55 + 2 * 0.7 + 1.5 * 0.85
    long = 1.1 + 25 + 5 * 0.7375 + 10 * 0.4 + 5 * 0.7 + 2.5 * 0.8
    assert HAND.of(narrow) == pytest.approx((short + long) / 2)
    assert HAND.speedup(narrow) == pytest.approx(91.8 / (short + long))


@pytest.mark.parametrize("rows", [(1.0, 1.0, 1.0), (5, 3, 1), (0.8, 0.45, 0.13)])
def test_full_width_changes_no_bit(rows):
    assert HAND.of(Reduction(rows)) == HAND.of(rows)
    assert HAND.of(Reduction(rows, (32,) * 3, (5,) * 3)) == HAND.of(rows)
    assert HAND.speedup(Reduction((1.0,) * 3, (32,) * 3, (5,) * 3)) == 1.0


def test_rows_and_widths_are_broadcast():
    rows, neurons, heads = np.array([1, 2, 5, 7])[:, None, None], np.array([3, 8, 31])[:, None], np.array([1, 5])
    found = TABLE.encoder(rows, rows, True, neurons=neurons, heads=heads)
    last = TABLE.last_encoder(rows, neurons=neurons, heads=heads)
    assert found.shape == last.shape == (4, 3, 2)
    for index in np.ndindex(found.shape):
        row, widths = rows[index[0], 0, 0], {"neurons": neurons[index[1], 0], "heads": heads[index[2]]}
        assert found[index] == TABLE.encoder(row, row, True, **widths)
        assert last[index] == TABLE.last_encoder(row, **widths)


def test_an_entry_of_each_encoder_is_needed():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        HAND.of(Reduction((1.0,) * 3, neurons=(16, 16), heads=(2, 2, 2)))


def test_costs_come_back_from_json():
    costs = Costs(TABLE, HAND.lengths, 3, fewest_neurons=8)
    stored = json.dumps(dataclasses.asdict(costs), default=lambda array: array.tolist())
    again = Costs.from_json(json.loads(stored))
    narrow = Reduction((5, 3, 1), (13, 29, 7), (2, 5, 3))
    assert again.of(narrow) == costs.of(narrow)
    assert (again.fewest_neurons, again.fewest_heads) == (8, None)
    assert CostTable.from_json(TABLE.to_json()).to_json() == TABLE.to_json()
    assert again.table.to_json() == TABLE.to_json()


@pytest.mark.parametrize("kept", [None, (23, 23, 23), (1.0, 1.0, 1.0)])
def test_keeping_all_is_no_faster(kept):
    assert Costs(random_table(), LENGTHS, SIZE.num_encoders).speedup(kept) == 1.0


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_counted_costs_are_multiply_adds(configuration):
    costs = Costs(count_costs(SIZE, N, batch_size=5), LENGTHS, SIZE.num_encoders)
    expected = [multiply_adds(SIZE, int(length), configuration) for length in LENGTHS]
    dense = [multiply_adds(SIZE, int(length)) for length in LENGTHS]
    # A table by rows cannot know both rows and columns of the probabilities that weigh values: half stay, it says.
    rel = 1e-12 if configuration is None else 0.06
    assert costs.of(configuration) == pytest.approx(5 * np.mean(expected), rel=rel)
    assert costs.speedup(configuration) == pytest.approx(sum(dense) / sum(expected), rel=rel)
    assert costs.table.unit == "multiply-adds"


@pytest.mark.parametrize("rows", [(1.0, 1.0, 1.0), (13, 7, 2), (0.8, 0.45, 0.13)])
@pytest.mark.parametrize("heads", [None, (5, 2, 1), (1, 3, 4)])
@pytest.mark.parametrize("neurons", [None, (29, 13, 1), (7, 11, 23)])
def test_counted_costs_are_multiply_adds_of_narrower_encoders(rows, neurons, heads):
    columns = heads and tuple(7 * number for number in heads)  # heads of 7 columns
    narrowed = dataclasses.replace(SIZE, neurons=neurons, attention_sizes=columns)
    expected = [multiply_adds(narrowed, int(length), rows) for length in LENGTHS]
    costs = Costs(count_costs(SIZE, N, batch_size=5), LENGTHS, SIZE.num_encoders)
    # See above: exact where no encoder extracts.
    rel = 1e-12 if rows == (1.0, 1.0, 1.0) else 0.06
    assert costs.of(Reduction(rows, neurons, heads)) == pytest.approx(5 * np.mean(expected), rel=rel)


def test_encoders_of_one_neuron_and_one_head_are_counted():
    table = count_costs(EncoderSize(3, 35, 1), N, batch_size=5)
    assert table.encoder(7, 3, True, neurons=1, heads=1) == table.encoder(7, 3, True)


def test_no_configuration_is_faster_than_cls_alone():
    costs = Costs(count_costs(SIZE, N, 5), LENGTHS, SIZE.num_encoders)
    assert costs.largest_speedup == costs.speedup((1, 1, 1))
    assert all(costs.speedup(configuration) <= costs.largest_speedup for configuration in CONFIGURATIONS)


@pytest.mark.parametrize("number", [1, 2, 3, 6, 7, 13, 14, 29])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 31])
def test_grouped_lengths_equal_a_slow_loop(number, batch_size):
    lengths = np.random.default_rng(number).integers(2, N + 1, number)
    ordered = sorted(lengths.tolist())
    batches = [ordered[start : start + batch_size] for start in range(0, number, batch_size)]
    np.testing.assert_array_equal(grouped_lengths(lengths, batch_size), [max(batch) for batch in batches])


def test_targets_are_reachable_from_1_to_the_largest_speedup():
    def is_refused(target):
        try:
            require_reachable(HAND, "target_speedup", target)
        except InputError:
            return True
        return False

    largest = HAND.largest_speedup
    targets = [1 - 1e-9, 1.0, (1 + largest) / 2, largest, largest * (1 + 1e-9)]
    assert [is_refused(target) for target in targets] == [True, False, False, False, True]


@pytest.mark.parametrize("target", [0.5, 2.06, 11.0, float("nan")])
def test_targets_out_of_reach(target):
    message = (
        rf"^--target_speedup={target:g}: out of reach; expected a speed-up from 1 to 2\.05, which keeping \[CLS\] "
        r"only from the first encoder on would give\.$"
    )
    with pytest.raises(InputError, match=message):
        require_reachable(HAND, "target_speedup", target)


@pytest.mark.parametrize(
    ("fewest", "words"),
    [
        ({"fewest_neurons": 8}, "8 neurons"),
        ({"fewest_heads": 2}, "2 heads"),
        ({"fewest_neurons": 8, "fewest_heads": 2}, "8 neurons and 2 heads"),
    ],
)
def test_what_is_in_reach_where_widths_are_searched_too(fewest, words):
    costs = dataclasses.replace(HAND, **fewest)
    widths = [None if name not in fewest else (fewest[name],) * 3 for name in ("fewest_neurons", "fewest_heads")]
    assert costs.largest_speedup == costs.speedup(Reduction((1, 1, 1), *widths)) > HAND.largest_speedup
    require_reachable(costs, "target_speedup", costs.largest_speedup)
    message = rf"to {costs.largest_speedup:.2f}, which keeping \[CLS\] only from the first encoder on, in encoders of "
    with pytest.raises(InputError, match=rf"{message}{words} would give\.$"):
        require_reachable(costs, "target_speedup", 100.0)
    assert speedup_for_latency(costs, costs.dense / costs.largest_speedup) == pytest.approx(costs.largest_speedup)
    with pytest.raises(InputError, match=rf"the first encoder on, in encoders of {words}\) to 45\.9 ms"):
        speedup_for_latency(costs, 1.0)


def test_speedup_for_a_latency():
    assert speedup_for_latency(HAND, 30.0) == pytest.approx(45.9 / 30)
    assert speedup_for_latency(HAND, HAND.dense) == 1.0


@pytest.mark.parametrize("target", [22.0, 46.0, 0.0])
def test_latencies_out_of_reach(target):
    message = (
        rf"^--target_latency_ms={target:g}: out of reach; expected 22\.4 \(keeping \[CLS\] only from the first "
        r"encoder on\) to 45\.9 ms \(eliminating nothing\) for a batch of 5, the mean over the dev split\.$"
    )
    with pytest.raises(InputError, match=message):
        speedup_for_latency(HAND, target)


def test_a_latency_needs_measured_times():
    costs = Costs(count_costs(SIZE, N, 5), LENGTHS, SIZE.num_encoders)
    message = r"^--target_latency_ms=7: needs measured times; expected --cost_model=measured\.$"
    with pytest.raises(InputError, match=message):
        speedup_for_latency(costs, 7.0)


LONGEST = 31
STARTS = {
    "untouched": (1.0,) * 5,
    "collapsed": (1e-4,) * 5,
    "dead": (0.0,) * 5,
    "found": (0.91, 0.7, 0.45, 0.44, 0.11),
    "whole, then little": (1.0, 1.0, 1.0, 1.0, 0.07),
    "tied": (0.6, 0.6, 0.6, 0.3, 0.3),
    "out of order": (0.5, 0.9, 0.2, 0.7, 0.1),
}


def five_encoders():
    lengths = np.random.default_rng(1).integers(11, LONGEST + 1, size=101)
    return Costs(count_costs(EncoderSize(5, 35, 29, num_heads=7), LONGEST, 7), lengths, 5)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_any_start_comes_to_any_target(start):
    costs = five_encoders()
    # Rows are whole, and those of several lengths may leave at the same fraction: 13 of 15 and 26 of 30.
    for target in (1.0, 1.13, 1.7, 2.3, 3.1, 5.3, 0.999 * costs.largest_speedup):
        configuration = fit_to_budget(start, costs, target)
        assert configuration == validate_configuration(configuration, 5, LONGEST)
        assert target * (1 - 1e-9) <= costs.speedup(configuration) <= target * (1.01 + 0.005 * target)


def test_the_limits_of_fitting():
    costs = five_encoders()
    for start in STARTS.values():
        assert fit_to_budget(start, costs, 1.0) == (1.0, 1.0, 1.0, 1.0, CLS_ALONE)
        for beyond in (1, 2):
            fastest = fit_to_budget(start, costs, beyond * costs.largest_speedup)
            assert costs.speedup(fastest) == pytest.approx(costs.largest_speedup, rel=1e-12)


def test_what_is_on_target_stays():
    costs = five_encoders()
    for configuration in (STARTS["found"], (0.95, 0.93, 0.5, 0.5, 0.5)):
        fitted = fit_to_budget(configuration, costs, costs.speedup(configuration))
        np.testing.assert_allclose(fitted[:-1], configuration[:-1], atol=0.02)  # less than a row of the longest
        assert costs.speedup(fitted) == pytest.approx(costs.speedup(configuration), rel=0.002)


def test_fitting_scales_by_a_power():
    costs = five_encoders()
    start = np.array(STARTS["found"])
    fitted = np.array(fit_to_budget(STARTS["found"], costs, costs.speedup(tuple(start**1.7))))
    np.testing.assert_allclose((np.log(fitted) / np.log(start))[:-1], 1.7, atol=0.1)
    # Nothing to scale gives the geometric schedule.
    fitted = fit_to_budget((1.0,) * 5, costs, 2.0)
    np.testing.assert_allclose(fitted[:-1], geometric_schedule(fitted[-2], 4), atol=2e-4)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_rows_are_fitted_to_given_widths(start):
    costs, widths = five_encoders(), {"neurons": (29, 17, 11, 7, 5), "heads": (7, 5, 3, 2, 2)}
    alone = costs.speedup(Reduction((1.0,) * 5, **widths))
    assert alone > 1.3
    for target in (1.0, 1.3, alone):  # widths alone are fast enough
        assert fit_to_budget(start, costs, target, **widths) == (1.0, 1.0, 1.0, 1.0, CLS_ALONE)
    for target in (1.1 * alone, 2 * alone):
        rows = fit_to_budget(start, costs, target, **widths)
        found = costs.speedup(Reduction(validate_configuration(rows, 5, LONGEST), **widths))
        assert target * (1 - 1e-9) <= found <= target * (1.01 + 0.005 * target)
