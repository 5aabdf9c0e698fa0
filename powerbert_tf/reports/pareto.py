"""Metric against speed-up: which models are worth having, over one seed or several; as CSV, Markdown and a plot."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from powerbert_tf.common.files import replacing
from powerbert_tf.common.markdown import markdown_table
from powerbert_tf.elimination.reduction import WIDTHS, Reduction
from powerbert_tf.elimination.retention import Configuration
from powerbert_tf.latency.costs import GROUPED
from powerbert_tf.reports.figures import DASHES, MARKERS

MAX_LOSS = 0.01  # of the metric, absolute, where --max_loss is not given
_TOLERANCE = 1e-9  # 0.34 - 0.1 is above 0.24 in floating point
_MEASURED = ("predicted_speedup", "speedup", "speedup_padded", "metric")


@dataclasses.dataclass(frozen=True)
class Point:
    """A reduced model, measured.

    Attributes:
        strategy: How its retention configuration and weights were found, such as "calibrate, re-trained".
        target_speedup: The speed-up that was asked for.
        configuration: Retention configuration.
        predicted_speedup: By the cost table, against the dense model on the same length-grouped batches.
        speedup: The same, measured.
        speedup_padded: Measured against the dense model padded to N.
        metric: On the dev split.
        seed: Of the run.
        neurons: Neurons of each encoder's feed-forward network; None for all.
        heads: Attention heads of each encoder; None for all.
    """

    strategy: str
    target_speedup: float
    configuration: Configuration
    predicted_speedup: float
    speedup: float
    speedup_padded: float
    metric: float
    seed: int = 0
    neurons: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The dense model with one way of padding; over several seeds, the mean.

    Attributes:
        name: "padded to N", "padded to the batch" or "grouped by length".
        milliseconds: Median time of a batch.
        speedup: Against "grouped by length", so below 1 for a slower way.
        metric: On the dev split.
    """

    name: str
    milliseconds: float
    speedup: float
    metric: float


def is_efficient(speedups: Sequence[float] | np.ndarray, metrics: Sequence[float] | np.ndarray) -> np.ndarray:
    """Whether no other point is at least as fast and as good, and better at one of the two. Twins are both efficient.

    Args:
        speedups: `[n]`.
        metrics: `[n]`, higher is better.

    Returns:
        Boolean, `[n]`.
    """
    # [i, j]: i against j.
    speed, quality = np.asarray(speedups, "float64"), np.asarray(metrics, "float64")
    no_worse = (speed[:, None] >= speed) & (quality[:, None] >= quality)
    better = (speed[:, None] > speed) | (quality[:, None] > quality)
    return ~np.any(no_worse & better, axis=0)


def pareto_table(points: Sequence[Point], metric: str = "metric", baselines: Sequence[Baseline] = ()) -> pd.DataFrame:
    """A row for each strategy and target, averaged over the seeds.

    Args:
        points: Of one task.
        metric: Name of the metric, for the columns.
        baselines: Dense models, which may be the better choice.

    Returns:
        Columns `strategy`, `target speed-up`, `seeds` (how many), `predicted speed-up`, `speed-up`,
        `speed-up over padded to N`, the metric, `efficient` (see `is_efficient`; compared with the other rows and the
        baselines) and `configuration` (one per seed where they differ). If any row has several seeds, each measured
        column is followed by its sample standard deviation, named with ` std`; NaN for a single seed. Strategies are
        in the order of the points, each by increasing target.

    Raises:
        ValueError: A strategy, target and seed appear twice.
    """
    rows = _point_rows(points)
    for twice in rows[rows.duplicated(["strategy", "target_speedup", "seed"])].itertuples():
        raise ValueError(
            f"points: {twice.strategy!r} with the target {twice.target_speedup:g} and seed {twice.seed} twice; "
            "expected once."
        )
    order = rows["strategy"].map({name: number for number, name in enumerate(rows["strategy"].unique())})
    groups = rows.assign(order=order).groupby(["order", "target_speedup"])
    columns: dict[str, Any] = {
        "strategy": groups["strategy"].first(),
        "target speed-up": groups["target_speedup"].first(),
        "seeds": groups.size(),
    }
    labels = ("predicted speed-up", "speed-up", "speed-up over padded to N", metric)
    for name, label in zip(_MEASURED, labels, strict=True):
        columns[label] = groups[name].mean()
        if any(columns["seeds"] > 1):
            columns[f"{label} std"] = groups[name].std()
    speedups = [*columns["speed-up"], *(one.speedup for one in baselines)]
    efficient = is_efficient(speedups, [*columns[metric], *(one.metric for one in baselines)])
    table = pd.DataFrame(columns).reset_index(drop=True)
    table["efficient"] = efficient[: len(table)]
    table["configuration"] = [_configurations(group) for _, group in groups]
    return table


def _point_rows(points: Sequence[Point]) -> pd.DataFrame:
    rows = pd.DataFrame(map(dataclasses.asdict, points), columns=[field.name for field in dataclasses.fields(Point)])
    # One column for all three dimensions.
    rows["configuration"] = [str(Reduction(point.configuration, point.neurons, point.heads)) for point in points]
    return rows.drop(columns=list(WIDTHS)).astype(dict.fromkeys(_MEASURED, "float64"))


def _configurations(group: pd.DataFrame) -> str:
    texts = group["configuration"]
    if texts.nunique() == 1:
        return str(texts.iloc[0])
    return "; ".join(f"seed {seed}: {text}" for seed, text in zip(group["seed"], texts, strict=True))


def fastest_within(table: pd.DataFrame, metric: str, dense_metric: float, max_loss: float) -> pd.Series | None:
    """The fastest row whose metric is close enough to the dense model's.

    Args:
        table: From `pareto_table`.
        metric: Name of the metric.
        dense_metric: Of the dense model.
        max_loss: In units of the metric, absolute: 0.01 is one point.

    Returns:
        A row, not necessarily faster than the dense model; None if all lose more than `max_loss`.
    """
    close = table[table[metric] >= dense_metric - max_loss - _TOLERANCE]
    return close.iloc[int(close["speed-up"].argmax())] if len(close) else None


def baseline_metric(baselines: Sequence[Baseline]) -> float:
    """The metric of the model that speed-ups are measured against."""
    for baseline in baselines:
        if baseline.name == GROUPED:
            return baseline.metric
    raise ValueError(f"baselines: {[baseline.name for baseline in baselines]}; expected {GROUPED!r} among them.")


def write_pareto(
    folder: Path,
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    task: str,
    metric: str,
    measured_on: str,
    max_loss: float = MAX_LOSS,
) -> None:
    """Writes `pareto.csv` (one row per point), `pareto.md`, `pareto.png` and `pareto.svg`, each whole or not at all.

    Args:
        folder: To write into; made if it is missing.
        points: Of one task.
        baselines: Dense models, "grouped by length" among them.
        task: Its name.
        metric: Its main metric.
        measured_on: A line on device and date.
        max_loss: The largest acceptable loss of the metric, absolute.

    Raises:
        ValueError: No points, a point twice, or no baseline "grouped by length".
    """
    if not points:
        raise ValueError("points: none; expected at least one.")
    table = pareto_table(points, metric, baselines)
    text = _markdown(table, baselines, task, metric, measured_on, max_loss)
    figure = draw_pareto(table, baselines, task, metric, max_loss)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "pareto.csv") as path:
        _point_rows(points).to_csv(path, index=False, lineterminator="\n")
    with replacing(folder / "pareto.md") as path:
        path.write_text(text, encoding="utf-8")
    with replacing(folder / "pareto.png") as path:
        figure.savefig(path, format="png", dpi=150)
    # No date and no random names, so that the same points give the same file.
    with replacing(folder / "pareto.svg") as path, mpl.rc_context({"svg.hashsalt": "pareto"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _markdown(
    table: pd.DataFrame, baselines: Sequence[Baseline], task: str, metric: str, measured_on: str, max_loss: float
) -> str:
    dense = baseline_metric(baselines)
    ways = [(one.name, f"{one.milliseconds:.1f}", f"{one.speedup:.2f}x", f"{one.metric:.4f}") for one in baselines]
    most = int(table["seeds"].max())
    spread = f"Mean ± sample standard deviation over up to {most} seeds." if most > 1 else "One seed: spread unknown."
    sections = [
        f"# {task}: dev {metric} against speed-up",
        measured_on,
        "Speed-ups are measured against the dense model, which eliminates nothing, on the same batches grouped by "
        "length, so what grouping saves by itself does not count. The column over padded to N compares with the dense "
        "model on examples padded to N, so there it does.",
        f"![dev {metric} against speed-up](pareto.png)",
        "## Dense",
        markdown_table(("batches", "milliseconds per batch, median", "speed-up", f"dev {metric}"), ways),
        "## With elimination",
        markdown_table(*table_texts(table, metric, dense)),
        f"Efficient: no other row and no dense model is at least as fast and as good, and better at one. {spread}",
        _fastest(table, dense, metric, max_loss),
    ]
    return "\n\n".join(sections) + "\n"


def table_texts(table: pd.DataFrame, metric: str, dense_metric: float) -> tuple[list[str], list[list[str]]]:
    """Header and rows of `pareto_table` as text."""
    header = ["strategy", "target", "predicted", "speed-up", "over padded to N", f"dev {metric}", "against dense"]
    rows = [
        [
            str(row["strategy"]),
            f"{row['target speed-up']:g}x",
            f"{row['predicted speed-up']:.2f}x",
            _mean_and_std(row, "speed-up", "x", 2),
            _mean_and_std(row, "speed-up over padded to N", "x", 2),
            _mean_and_std(row, metric, "", 4),
            f"{row[metric] - dense_metric:+.4f}",
            "yes" if row["efficient"] else "",
            str(row["configuration"]).replace("; ", "<br>"),
        ]
        for _, row in table.iterrows()
    ]
    return [*header, "efficient", "configuration"], rows


def _mean_and_std(row: pd.Series, label: str, unit: str, digits: int) -> str:
    mean, deviation = row[label], row.get(f"{label} std", math.nan)
    return f"{mean:.{digits}f}{unit}" + ("" if math.isnan(deviation) else f" ± {deviation:.{digits}f}")


def _fastest(table: pd.DataFrame, dense: float, metric: str, max_loss: float) -> str:
    best = fastest_within(table, metric, dense, max_loss)
    if best is None or best["speed-up"] <= 1:
        return (
            f"**No gain here.** Nothing is faster than the dense model on the same batches and within {max_loss:g} of "
            f"its {metric}, {dense:.4f}."
        )
    return (
        f"**Fastest within {max_loss:g} of the dense {metric}, {dense:.4f}:** {best['strategy']}, target "
        f"{best['target speed-up']:g}x: **{best['speed-up']:.2f}x** at {best[metric]:.4f}. It was chosen on the split "
        "it was measured on, which flatters it a little."
    )


# Looks are given in this order, so that a strategy looks the same in the plots of all tasks.
_STRATEGIES = ("calibrate", "calibrate, re-trained", "elastic", "uniform", "geometric", "head", "random")
# Told apart with any colour vision (Okabe and Ito, without the yellow that is lost on white), and without colour by
# marker and line. The three lengths differ, so that looks repeat late.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_BASELINE_MARKERS = {GROUPED: "*", "padded to the batch": "<", "padded to N": "h"}
_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def draw_pareto(table: pd.DataFrame, baselines: Sequence[Baseline], task: str, metric: str, max_loss: float) -> Figure:
    """Metric against measured speed-up of a `pareto_table`, as a figure that pyplot does not know.

    Arguments are those of `write_pareto`; the largest acceptable loss is shown as a band.

    Raises:
        ValueError: No baseline "grouped by length".
    """
    figure = Figure(figsize=(10.5, 6.5), layout="constrained")
    axes = figure.add_subplot()
    dense = baseline_metric(baselines)
    axes.axhline(dense, color="0.35", linewidth=1, zorder=1)
    label = f"at most {max_loss:g} below dense"
    axes.axhspan(dense - max_loss, dense, color="0.88", linewidth=0, zorder=0, label=label)
    axes.axvline(1, color="0.75", linewidth=1, zorder=0)
    for one in baselines:
        marker, size = _BASELINE_MARKERS.get(one.name, "8"), 14 if one.name == GROUPED else 9
        look: dict[str, Any] = {"color": "black", "marker": marker, "markersize": size, "linestyle": "none"}
        axes.plot(one.speedup, one.metric, **look, label=f"dense, {one.name}", zorder=4)
    names = list(dict.fromkeys(table["strategy"]))
    looks = [*_STRATEGIES, *(name for name in names if name not in _STRATEGIES)]
    for name in names:
        _draw_strategy(axes, table[table["strategy"] == name], name, metric, looks.index(name))
    _speedup_axis(axes)
    axes.set_title(f"{task}: dev {metric} against speed-up", fontsize=14)
    axes.set_xlabel("measured speed-up over the dense model on the same batches, grouped by length", fontsize=11.5)
    axes.set_ylabel(f"dev {metric}", fontsize=11.5)
    axes.tick_params(labelsize=11)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, _ = axes.get_legend_handles_labels()
    if not table["efficient"].all():
        look = {"linestyle": "none", "marker": "o", "color": "0.35", "markerfacecolor": "white", "markersize": 7.5}
        handles.append(Line2D([], [], **look, label="hollow: another is at least\nas fast and as good"))
    figure.legend(handles=handles, loc="outside right upper", fontsize=10.5, frameon=False, handlelength=3.2)
    return figure


def _draw_strategy(axes: Axes, rows: pd.DataFrame, name: str, metric: str, look: int) -> None:
    rows = rows.sort_values("speed-up")
    color = _COLORS[look % len(_COLORS)]
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
    marker = MARKERS[look % len(MARKERS)]
    line: dict[str, Any] = {"color": color, "marker": marker, "markersize": 7.5, "markeredgewidth": 1.5, "zorder": 3}
    axes.plot(rows["speed-up"], rows[metric], **line, linestyle=DASHES[look % len(DASHES)], linewidth=1.8, label=name)
    hollow = rows[~rows["efficient"]]
    axes.plot(hollow["speed-up"], hollow[metric], **line, linestyle="none", markerfacecolor="white")


def _speedup_axis(axes: Axes) -> None:
    """Makes the axis logarithmic, so that twice as fast is the same distance everywhere, with plain numbers."""
    axes.set_xscale("log", base=2)
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    low, high = min(low, 0.9), max(high, 1.3)  # so that noise about 1x is not blown up
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_speedup_ticks(low, high)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())


def _speedup_ticks(low: float, high: float) -> list[float]:
    """Round speed-ups from low to high, or tenths if there are too few."""
    ticks: list[float] = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) >= 3:
        return ticks
    return [tenth / 10 for tenth in range(math.ceil(low * 10), math.floor(high * 10) + 1)]
