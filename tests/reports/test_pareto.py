import math
import statistics

import numpy as np
import pytest
from made_up_points import BASELINES, a_point, several

from powerbert_tf.reports.pareto import average_seeds, fastest_within, is_efficient, pareto_table


def test_efficient_points_by_hand():
    speedups = [1.0, 2.0, 3.0, 2.0, 3.0, 1.5]
    metrics = [0.9, 0.8, 0.7, 0.7, 0.7, 0.9]
    # The first loses to the last (as good, faster), the fourth to the second (as fast, better); twins both stay.
    assert is_efficient(speedups, metrics).tolist() == [False, True, True, False, True, True]


def test_efficient_points_are_those_that_a_sweep_from_the_fastest_finds():
    random = np.random.default_rng(3)
    speedups, metrics = random.permutation(47).astype(float), random.permutation(47).astype(float)
    found, best = set(), -math.inf
    for index in sorted(range(47), key=lambda i: -speedups[i]):
        if metrics[index] > best:
            found.add(index)
            best = metrics[index]
    assert 1 < len(found) < 47
    assert set(np.flatnonzero(is_efficient(speedups, metrics))) == found


def test_of_no_points_none_is_efficient():
    assert is_efficient([], []).shape == (0,)


@pytest.mark.parametrize(
    ("max_loss", "speedup"),
    [(0.0, 1.3), (0.01, 1.7), (0.009, 1.3), (0.05, 2.9), (-0.5, None)],  # the loss itself still counts as within
)
def test_the_fastest_point_within_a_loss(max_loss, speedup):
    points = [a_point(speedup=1.3, metric=0.87), a_point(speedup=2.9, metric=0.83), a_point(speedup=1.7, metric=0.86)]
    point = fastest_within(points, 0.87, max_loss)
    assert (point and point.speedup) == speedup


def test_the_loss_is_not_missed_by_rounding():
    """0.34 - 0.1 is 0.24000000000000002."""
    assert fastest_within([a_point(metric=0.24)], 0.34, 0.1) is not None


def test_seeds_are_averaged_by_strategy_and_target():
    first, second, third = average_seeds(several())
    assert (first.strategy, first.target_speedup) == ("calibrate", 2.0)
    assert first.speedup == pytest.approx((1.9 + 2.3 + 1.7) / 3)
    assert first.speedup_padded == pytest.approx(3.1 * (1.9 + 2.3 + 1.7) / 3)
    assert first.metric == pytest.approx(0.82)
    assert (second, third) == (several()[0], several()[4])


def test_the_table_tells_the_spread_over_seeds():
    table = pareto_table(several(), "f1")
    assert list(table["strategy"]) == ["calibrate", "calibrate", "random"]
    assert list(table["target speed-up"]) == [2.0, 3.0, 2.0]
    assert list(table["seeds"]) == [3, 1, 1]
    assert table["speed-up std"][0] == pytest.approx(statistics.stdev([1.9, 2.3, 1.7]))
    assert table["f1 std"][0] == pytest.approx(statistics.stdev([0.81, 0.83, 0.82]))
    assert table["f1 std"][1:].isna().all()
    assert table["configuration"][0] == "seed 5: 0.7,0.5,0.3; seed 7: 0.7,0.5,0.2; seed 11: 0.7,0.5,0.3"
    assert table["configuration"][1] == "0.7,0.5,0.3"


def test_one_seed_has_no_spread_columns():
    assert list(pareto_table([a_point()], "f1")) == [
        "strategy",
        "target speed-up",
        "seeds",
        "predicted speed-up",
        "speed-up",
        "speed-up over padded to N",
        "f1",
        "efficient",
        "configuration",
    ]


def test_a_dense_model_may_be_the_better_choice():
    slow, fast = a_point(speedup=0.97, metric=0.82), a_point(target=3.0, speedup=2.9, metric=0.7)
    assert pareto_table([slow, fast])["efficient"].tolist() == [True, True]
    assert pareto_table([slow, fast], baselines=BASELINES)["efficient"].tolist() == [False, True]


def test_a_point_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"'calibrate' with the target 2 and seed 7 twice"):
        pareto_table([a_point(seed=7), a_point(seed=5), a_point(seed=7, metric=0.5)])
