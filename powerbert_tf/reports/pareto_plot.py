"""The plot of metric against speed-up."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from powerbert_tf.latency.speed import GROUPED
from powerbert_tf.reports.pareto import Baseline, dense_metric

# Looks are given in this order, so that a strategy looks the same in the plots of all tasks.
_STRATEGIES = ("calibrate", "calibrate, re-trained", "elastic", "uniform", "geometric", "head", "random")
# Told apart with any colour vision (Okabe and Ito, without the yellow that is lost on white), and without colour by
# marker and line. The three lengths differ, so that looks repeat late.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_LINES = ("-", "--", "-.", ":")
_BASELINE_MARKERS = {GROUPED: "*", "padded to the batch": "<", "padded to N": "h"}
_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def draw_pareto(table: pd.DataFrame, baselines: Sequence[Baseline], task: str, metric: str, max_loss: float) -> Figure:
    """Metric against measured speed-up; a figure of its own, which pyplot and its windows know nothing of.

    Args:
        table: From `pareto_table`.
        baselines: Dense models, "grouped by length" among them.
        task: Its name.
        metric: Its main metric, a column of the table.
        max_loss: A loss of the metric that is thought acceptable, absolute; shown as a band.

    Raises:
        ValueError: No baseline "grouped by length".
    """
    figure = Figure(figsize=(10.5, 6.5), layout="constrained")
    axes = figure.add_subplot()
    dense = dense_metric(baselines)
    axes.axhline(dense, color="0.35", linewidth=1, zorder=1)
    label = f"at most {max_loss:g} below dense"
    axes.axhspan(dense - max_loss, dense, color="0.88", linewidth=0, zorder=0, label=label)
    axes.axvline(1, color="0.75", linewidth=1, zorder=0)
    for baseline in baselines:
        _draw_baseline(axes, baseline)
    names = list(dict.fromkeys(table["strategy"]))
    looks = [*_STRATEGIES, *(name for name in names if name not in _STRATEGIES)]
    for name in names:
        _draw_strategy(axes, table[table["strategy"] == name], name, metric, looks.index(name))
    _label_axes(axes, task, metric)
    handles, _ = axes.get_legend_handles_labels()
    if not table["efficient"].all():
        handles.append(_explain_hollow())
    figure.legend(handles=handles, loc="outside right upper", fontsize=10.5, frameon=False, handlelength=3.2)
    return figure


def _draw_baseline(axes: Axes, baseline: Baseline) -> None:
    marker = _BASELINE_MARKERS.get(baseline.name, "8")
    axes.plot(
        baseline.speedup,
        baseline.metric,
        color="black",
        marker=marker,
        markersize=14 if baseline.name == GROUPED else 9,
        linestyle="none",
        label=f"dense, {baseline.name}",
        zorder=4,
    )


def _draw_strategy(axes: Axes, rows: pd.DataFrame, name: str, metric: str, look: int) -> None:
    rows = rows.sort_values("speed-up")
    color, marker = _COLORS[look % len(_COLORS)], _MARKERS[look % len(_MARKERS)]
    spread = rows[rows["seeds"] > 1]
    if len(spread):
        axes.errorbar(
            spread["speed-up"],
            spread[metric],
            xerr=spread["speed-up std"],
            yerr=spread[f"{metric} std"],
            fmt="none",
            ecolor=color,
            elinewidth=1,
            capsize=3,
            alpha=0.7,
            zorder=2,
        )
    line: dict[str, Any] = {"color": color, "marker": marker, "markersize": 7.5, "markeredgewidth": 1.5}
    linestyle = _LINES[look % len(_LINES)]
    axes.plot(rows["speed-up"], rows[metric], **line, linestyle=linestyle, linewidth=1.8, label=name, zorder=3)
    inefficient = rows[~rows["efficient"]]
    axes.plot(inefficient["speed-up"], inefficient[metric], **line, linestyle="none", markerfacecolor="white", zorder=3)


def _explain_hollow() -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        color="0.35",
        markerfacecolor="white",
        markersize=7.5,
        label="hollow: another is as fast\nand as good, or better",
    )


def _label_axes(axes: Axes, task: str, metric: str) -> None:
    _label_speedups(axes)
    axes.set_title(f"{task}: dev {metric} against speed-up", fontsize=14)
    axes.set_xlabel("measured speed-up over the dense model on the same batches, grouped by length", fontsize=11.5)
    axes.set_ylabel(f"dev {metric}", fontsize=11.5)
    axes.tick_params(labelsize=11)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label_speedups(axes: Axes) -> None:
    """A logarithmic axis, on which twice as fast is the same distance everywhere, with plain numbers."""
    axes.set_xscale("log", base=2)
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    low, high = min(low, 0.9), max(high, 1.3)  # so that noise about 1x is not blown up
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_speedup_ticks(low, high)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())


def _speedup_ticks(low: float, high: float) -> list[float]:
    """Round speed-ups from low to high; tenths where those would be too few."""
    ticks: list[float] = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) >= 3:
        return ticks
    return [tenth / 10 for tenth in range(math.ceil(low * 10), math.floor(high * 10) + 1)]
