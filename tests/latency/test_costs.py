import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import EncoderSize, multiply_adds
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

SIZE = EncoderSize(num_encoders=3, hidden_size=35, intermediate_size=29)
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
    return Costs(count_costs(EncoderSize(5, 35, 29), LONGEST, 7), lengths, 5)


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
