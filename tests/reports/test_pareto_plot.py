import numpy as np
import pytest
from made_up_points import BASELINES, a_point, several

from powerbert_tf.reports import pareto_plot
from powerbert_tf.reports.pareto import pareto_table


def test_the_plot_shows_what_was_measured():
    table = pareto_table(several(), "f1", BASELINES)
    axes = pareto_plot.draw_pareto(table, BASELINES, "MRPC", "f1", 0.01).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["calibrate"], [(5.9 / 3, 0.82), (2.9, 0.79)])
    np.testing.assert_allclose(lines["random"], [(1.8, 0.61)])
    np.testing.assert_allclose(lines["dense, padded to N"], [(0.331, 0.83)])
    assert axes.get_xlim()[0] < 0.331
    assert axes.get_ylim()[0] < 0.61
    # 2 ** (log2 of the limits) holds 0.5x to 3x.
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.3x", "0.5x", "0.75x", "1x", "1.5x", "2x", "3x"]


def test_strategies_look_the_same_in_every_plot_and_differ_within_one():
    def looks(names):
        table = pareto_table([a_point(name) for name in names])
        lines = pareto_plot.draw_pareto(table, BASELINES, "MRPC", "metric", 0.01).axes[0].lines
        return {
            line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle())
            for line in lines
            if line.get_label() in names
        }

    every = looks([*pareto_plot._STRATEGIES, *"abcdefghijk"])
    assert looks(["random", "calibrate"]) == {name: every[name] for name in ("random", "calibrate")}
    assert len(set(every.values())) == 18


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.3), (0.76, 1.99), (0.3, 4.2), (0.06, 61.0), (0.9, 2.9)])
def test_ticks_are_few_and_inside(low, high):
    ticks = pareto_plot._speedup_ticks(low, high)
    assert 1 in ticks
    assert 3 <= len(ticks) <= 19
    assert ticks == sorted(ticks)
    assert low <= ticks[0]
    assert ticks[-1] <= high
