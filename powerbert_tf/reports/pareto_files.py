"""Metric against speed-up as files: CSV, Markdown and the plot."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from powerbert_tf.common.files import replacing
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.reports.pareto import Baseline, Point, average_seeds, dense_metric, fastest_within, pareto_table
from powerbert_tf.reports.pareto_plot import draw_pareto


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
    figure = draw_pareto(table, baselines, task, metric, max_loss)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "pareto.csv") as path:
        _point_rows(points).to_csv(path, index=False, lineterminator="\n")
    with replacing(folder / "pareto.md") as path:
        path.write_text(text, encoding="utf-8")
    with replacing(folder / "pareto.png") as path:
        figure.savefig(path, format="png", dpi=150)
    # Neither the date nor random names, so that the same points give the same file.
    with replacing(folder / "pareto.svg") as path, mpl.rc_context({"svg.hashsalt": "pareto"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _point_rows(points: Sequence[Point]) -> pd.DataFrame:
    rows = pd.DataFrame([dataclasses.asdict(point) for point in points])
    rows["configuration"] = [format_configuration(point.configuration) for point in points]
    return rows


def _format_markdown(
    table: pd.DataFrame,
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    task: str,
    metric: str,
    measured_on: str,
    max_loss: float,
) -> str:
    dense = dense_metric(baselines)
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
        _table_rows(table, metric, dense),
        _table_note(table),
        _format_choice(points, dense, metric, max_loss),
    ]
    return "\n\n".join(sections) + "\n"


def _baseline_rows(baselines: Sequence[Baseline], metric: str) -> str:
    rows = [
        (baseline.name, f"{baseline.milliseconds:.1f}", f"{baseline.speedup:.2f}x", f"{baseline.metric:.4f}")
        for baseline in baselines
    ]
    return _format_rows(("batches", "ms a batch, median", "speed-up", f"dev {metric}"), rows)


def _table_rows(table: pd.DataFrame, metric: str, dense: float) -> str:
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
            f"{row[metric] - dense:+.4f}",
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


def _format_choice(points: Sequence[Point], dense: float, metric: str, max_loss: float) -> str:
    best = fastest_within(average_seeds(points), dense, max_loss)
    if best is None or best.speedup <= 1:
        return (
            f"**No gain here.** Nothing is faster than the dense model on the same batches and within {max_loss:g} of "
            f"its {metric}, {dense:.4f}."
        )
    return (
        f"**Fastest within {max_loss:g} of the dense {metric}, {dense:.4f}:** {best.strategy}, target "
        f"{best.target_speedup:g}x: **{best.speedup:.2f}x** at {best.metric:.4f}. It was chosen on the split it was "
        "measured on, which flatters it a little."
    )


def _format_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
