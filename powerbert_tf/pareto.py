"""Metric against speed-up: which points are worth having, as a table, as Markdown and as a plot. Presentation only."""

import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from powerbert_tf.retention import Configuration, format_configuration

# The baseline that all speed-ups are meant against.
GROUPED = "grouped by length"

# Looks are given in this order, so that a strategy looks the same in the plots of all tasks.
_STRATEGIES = ("calibrate", "calibrate, re-trained", "elastic", "uniform", "geometric", "head", "random")
# Told apart with any colour vision (Okabe and Ito, without the yellow that is lost on white), and without colour by
# marker and line. The three lengths differ, so that looks repeat late.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_LINES = ("-", "--", "-.", ":")
_BASELINE_MARKERS = {GROUPED: "*", "padded to the batch": "<", "padded to N": "h"}
_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

_TOLERANCE = 1e-9  # 0.34 - 0.1 is above 0.24 in floating point

_MEASURED = ("predicted_speedup", "speedup", "speedup_padded", "metric")


@dataclasses.dataclass(frozen=True)
class Point:
    """One reduced model, measured.

    Attributes:
        strategy: How its retention configuration and weights were come by, such as "calibrate, re-trained".
        target_speedup: The speed-up that was asked for.
        configuration: Retention configuration.
        predicted_speedup: What the cost table says, against the dense model on the same length-grouped batches.
        speedup: Measured, against the same.
        speedup_padded: Measured, against the dense model padded to N.
        metric: On the dev split.
        seed: Of the run.
    """

    strategy: str
    target_speedup: float
    configuration: Configuration
    predicted_speedup: float
    speedup: float
    speedup_padded: float
    metric: float
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The dense model with one way of padding; over several seeds, the mean.

    Attributes:
        name: "padded to N", "padded to the batch" or "grouped by length".
        milliseconds: Median time of a batch.
        speedup: Against "grouped by length", so that slower ones are below 1.
        metric: On the dev split.
    """

    name: str
    milliseconds: float
    speedup: float
    metric: float


def is_efficient(speedups: Sequence[float] | np.ndarray, metrics: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which points no other point beats in one of speed-up and metric without losing in the other; twins both stay.

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


def fastest_within(points: Sequence[Point], dense_metric: float, max_loss: float) -> Point | None:
    """The fastest point that loses little.

    Args:
        points: To choose from; the seeds are not averaged here, see `average_seeds`.
        dense_metric: Of the dense model.
        max_loss: In units of the metric, absolute: 0.01 is one point.

    Returns:
        A point, not necessarily faster than the dense model; None where all lose more than `max_loss`.
    """
    close = [point for point in points if point.metric >= dense_metric - max_loss - _TOLERANCE]
    return max(close, key=lambda point: point.speedup, default=None)


def average_seeds(points: Sequence[Point]) -> list[Point]:
    """One point for each strategy and target: what was measured is the mean over the seeds, the rest the first one's.

    Returns:
        In the order in which the strategies come up, by target within a strategy.

    Raises:
        ValueError: A strategy, target and seed come up twice.
    """
    averages = []
    for group in _by_seed(points):
        means: dict[str, Any] = {name: float(np.mean(_values(group, name))) for name in _MEASURED}
        averages.append(dataclasses.replace(group[0], **means))
    return averages


def pareto_table(points: Sequence[Point], metric: str = "metric", baselines: Sequence[Baseline] = ()) -> pd.DataFrame:
    """The points for people: one row for each strategy and target, averaged over the seeds.

    Args:
        points: Of one task.
        metric: Name of the metric, for the columns.
        baselines: Dense models, which also may be the better choice.

    Returns:
        Columns `strategy`, `target speed-up`, `seeds` (how many), `predicted speed-up`, `speed-up`,
        `speed-up over padded to N`, the metric, `efficient` (see `is_efficient`; against the rows and the baselines)
        and `configuration` (those of all seeds where they differ). Where a row has several seeds, each measured column
        is followed by one with ` std` after its name: the sample standard deviation, NaN for a single seed.

    Raises:
        ValueError: A strategy, target and seed come up twice.
    """
    groups, means = _by_seed(points), average_seeds(points)
    columns: dict[str, object] = {
        "strategy": [point.strategy for point in means],
        "target speed-up": [point.target_speedup for point in means],
        "seeds": [len(group) for group in groups],
    }
    labels = ("predicted speed-up", "speed-up", "speed-up over padded to N", metric)
    for name, label in zip(_MEASURED, labels, strict=True):
        columns[label] = _values(means, name)
        if any(len(group) > 1 for group in groups):
            columns[f"{label} std"] = [_deviation(_values(group, name)) for group in groups]
    every: list[Point | Baseline] = [*means, *baselines]
    efficient = is_efficient([choice.speedup for choice in every], [choice.metric for choice in every])
    columns["efficient"] = efficient[: len(means)]
    columns["configuration"] = [_configurations(group) for group in groups]
    return pd.DataFrame(columns)


def write_pareto(
    folder: Path,
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    task: str,
    metric: str,
    measured_on: str,
    max_loss: float = 0.01,
) -> None:
    """Writes `pareto.csv` (a row a point), `pareto.md`, `pareto.png` and `pareto.svg`, each whole or not at all.

    Args:
        folder: Where to; made where it is missing.
        points: Of one task.
        baselines: Dense models, "grouped by length" among them.
        task: Its name.
        metric: Its main metric.
        measured_on: A line on device and date.
        max_loss: A loss of the metric that is thought acceptable, absolute.

    Raises:
        ValueError: No points, a point twice, or no baseline "grouped by length".
    """
    if not points:
        raise ValueError("points: none; expected at least one.")
    table = pareto_table(points, metric, baselines)
    text = _format_markdown(table, points, baselines, task, metric, measured_on, max_loss)
    figure = _draw(table, baselines, task, metric, max_loss)
    folder.mkdir(parents=True, exist_ok=True)
    with _replacing(folder / "pareto.csv") as path:
        _point_rows(points).to_csv(path, index=False, lineterminator="\n")
    with _replacing(folder / "pareto.md") as path:
        path.write_text(text, encoding="utf-8")
    with _replacing(folder / "pareto.png") as path:
        figure.savefig(path, format="png", dpi=150)
    # Neither the date nor random names, so that the same points give the same file.
    with _replacing(folder / "pareto.svg") as path, mpl.rc_context({"svg.hashsalt": "pareto"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _by_seed(points: Sequence[Point]) -> list[list[Point]]:
    """The points that differ in the seed alone, together."""
    groups: dict[str, dict[float, list[Point]]] = {}
    for point in points:
        group = groups.setdefault(point.strategy, {}).setdefault(point.target_speedup, [])
        if point.seed in (other.seed for other in group):
            raise ValueError(
                f"points: {point.strategy!r} with the target {point.target_speedup:g} and seed {point.seed} twice; "
                "expected once."
            )
        group.append(point)
    return [targets[target] for targets in groups.values() for target in sorted(targets)]


def _values(points: Sequence[Point], name: str) -> list[float]:
    return [getattr(point, name) for point in points]


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _configurations(group: Sequence[Point]) -> str:
    texts = [format_configuration(point.configuration) for point in group]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"seed {point.seed}: {text}" for point, text in zip(group, texts, strict=True))


def _point_rows(points: Sequence[Point]) -> pd.DataFrame:
    rows = pd.DataFrame([dataclasses.asdict(point) for point in points])
    rows["configuration"] = [format_configuration(point.configuration) for point in points]
    return rows


def _dense_metric(baselines: Sequence[Baseline]) -> float:
    for baseline in baselines:
        if baseline.name == GROUPED:
            return baseline.metric
    raise ValueError(f"baselines: {[baseline.name for baseline in baselines]}; expected {GROUPED!r} among them.")


# --- Markdown -----------------------------------------------------------------


def _format_markdown(
    table: pd.DataFrame,
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    task: str,
    metric: str,
    measured_on: str,
    max_loss: float,
) -> str:
    dense_metric = _dense_metric(baselines)
    sections = [
        f"# {task}: dev {metric} against speed-up",
        measured_on,
        "A speed-up is measured, against the dense model (nothing eliminated) on the same batches, grouped by length: "
        "what grouping saves by itself is no part of it. The column over padded to N is against the dense model with "
        "all examples padded to N, and counts that in.",
        f"![dev {metric} against speed-up](pareto.png)",
        "## Dense",
        _baseline_rows(baselines, metric),
        "## With elimination",
        _table_rows(table, metric, dense_metric),
        _table_note(table),
        _format_choice(points, dense_metric, metric, max_loss),
    ]
    return "\n\n".join(sections) + "\n"


def _baseline_rows(baselines: Sequence[Baseline], metric: str) -> str:
    rows = [
        (baseline.name, f"{baseline.milliseconds:.1f}", f"{baseline.speedup:.2f}x", f"{baseline.metric:.4f}")
        for baseline in baselines
    ]
    return _format_rows(("batches", "ms a batch, median", "speed-up", f"dev {metric}"), rows)


def _table_rows(table: pd.DataFrame, metric: str, dense_metric: float) -> str:
    header = (
        "strategy",
        "target",
        "predicted",
        "speed-up",
        "over padded to N",
        f"dev {metric}",
        "against dense",
        "efficient",
        "configuration",
    )
    rows = [
        (
            str(row["strategy"]),
            f"{row['target speed-up']:g}x",
            f"{row['predicted speed-up']:.2f}x",
            _mean_and_std(row, "speed-up", "x", 2),
            _mean_and_std(row, "speed-up over padded to N", "x", 2),
            _mean_and_std(row, metric, "", 4),
            f"{row[metric] - dense_metric:+.4f}",
            "yes" if row["efficient"] else "",
            str(row["configuration"]).replace("; ", "<br>"),
        )
        for _, row in table.iterrows()
    ]
    return _format_rows(header, rows)


def _mean_and_std(row: pd.Series, label: str, unit: str, digits: int) -> str:
    mean, deviation = row[label], row.get(f"{label} std", math.nan)
    return f"{mean:.{digits}f}{unit}" + ("" if math.isnan(deviation) else f" ± {deviation:.{digits}f}")


def _table_note(table: pd.DataFrame) -> str:
    note = "Efficient: no other row and no dense model is as fast and as good, and better in one of them."
    most = int(table["seeds"].max())
    if most == 1:
        return f"{note} One seed: no spread is known."
    return f"{note} Mean ± sample standard deviation over up to {most} seeds."


def _format_choice(points: Sequence[Point], dense_metric: float, metric: str, max_loss: float) -> str:
    best = fastest_within(average_seeds(points), dense_metric, max_loss)
    if best is None or best.speedup <= 1:
        return (
            f"**No gain here.** Nothing is faster than the dense model on the same batches and within {max_loss:g} of "
            f"its {metric}, {dense_metric:.4f}."
        )
    return (
        f"**Fastest within {max_loss:g} of the dense {metric}, {dense_metric:.4f}:** {best.strategy}, target "
        f"{best.target_speedup:g}x: **{best.speedup:.2f}x** at {best.metric:.4f}. It was chosen on the split it was "
        "measured on, which flatters it a little."
    )


def _format_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


# --- Plot ---------------------------------------------------------------------


def _draw(table: pd.DataFrame, baselines: Sequence[Baseline], task: str, metric: str, max_loss: float) -> Figure:
    """The plot; a figure of its own, which pyplot and its windows know nothing of."""
    figure = Figure(figsize=(10.5, 6.5), layout="constrained")
    axes = figure.add_subplot()
    dense_metric = _dense_metric(baselines)
    axes.axhline(dense_metric, color="0.35", linewidth=1, zorder=1)
    label = f"at most {max_loss:g} below dense"
    axes.axhspan(dense_metric - max_loss, dense_metric, color="0.88", linewidth=0, zorder=0, label=label)
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
