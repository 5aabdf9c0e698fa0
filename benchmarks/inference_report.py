"""The results of `benchmarks.inference` as Markdown and as a plot."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.inference_engines import ENGINES
from benchmarks.tables import heading, medians, spread_and_memory, table
from powerbert_tf.common.files import replacing

_DENSE, _REDUCED = "ours, dense", "ours, reduced"


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """Ratios of medians, one row a cell.

    Returns:
        Columns `batch`, `length`, and where the engines are there: `fastest peer`, `dense / peer` (how many times
        faster ours is), `frozen / peer` (the same of a graph of one shape, its weights in it), `plain / XLA` (ours),
        `speed-up` (reduced against ours dense), `multiply-adds` (fewer by), `realised` (their ratio),
        `reduced / peer`, `share of peak` (ours, dense).
    """
    results = pd.DataFrame(report["results"])
    counted = {row["length"]: row for row in report["multiply_adds"]}
    rows = []
    for (batch, length), cell in results.groupby(["batch", "length"]):
        median = dict(zip(cell["engine"], cell["p50_ms"], strict=True))
        peers = {name: ms for name, ms in median.items() if ENGINES[name].peer}
        row: dict[str, Any] = {"batch": batch, "length": length}
        dense, reduced = median.get(_DENSE), median.get(_REDUCED)
        if peers:
            row["fastest peer"] = min(peers, key=lambda name: peers[name])
        if peers and dense:
            row["dense / peer"] = min(peers.values()) / dense
        if peers and f"{_DENSE}, frozen" in median:
            row["frozen / peer"] = min(peers.values()) / median[f"{_DENSE}, frozen"]
        if dense and f"{_DENSE}, XLA" in median:
            row["plain / XLA"] = median[f"{_DENSE}, XLA"] / dense
        if dense and reduced:
            fewer = counted[length]["dense"] / counted[length]["reduced"]
            row |= {"speed-up": dense / reduced, "multiply-adds": fewer, "realised": dense / reduced / fewer}
        if peers and reduced:
            row["reduced / peer"] = min(peers.values()) / reduced
        if dense:
            row["share of peak"] = batch * counted[length]["dense"] / (dense / 1000) / report["matrix_product_peak"]
        rows.append(row)
    return pd.DataFrame(rows)


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes `<output>.md` and `<output>.png`."""
    with replacing(output.with_suffix(".md")) as path:
        path.write_text(_markdown(report), encoding="utf-8")
    figure = _plot(report)
    with replacing(output.with_suffix(".png")) as path:
        figure.savefig(path, format="png", dpi=120)


def _markdown(report: dict[str, Any]) -> str:
    results = pd.DataFrame(report["results"])
    comparison = compare(report)
    sections = [
        *heading(report, "Inference"),
        "## Milliseconds of a batch, median",
        table(medians(results)),
        "## Ratios of medians: above 1, ours is faster",
        table(comparison),
    ]
    if "dense / peer" in comparison:
        mean = comparison["dense / peer"].prod() ** (1 / len(comparison))
        sections.append(f"Dense against the fastest peer: geometric mean {mean:.2f}, least {_least(comparison)}.")
    sections += ["## Spread and memory", table(spread_and_memory(results))]
    return "\n\n".join(sections) + "\n"


def _least(comparison: pd.DataFrame) -> str:
    row = comparison.loc[comparison["dense / peer"].idxmin()]
    return f"{row['dense / peer']:.2f} at batch {row['batch']} x {row['length']} ({row['fastest peer']})"


def _plot(report: dict[str, Any]) -> Figure:
    results = pd.DataFrame(report["results"])
    batches = sorted(results["batch"].unique())
    figure = Figure(figsize=(5 * len(batches) + 2.5, 4.5), layout="constrained")
    for axes, batch in zip(figure.subplots(1, len(batches), squeeze=False, sharey=True)[0], batches, strict=True):
        for name, rows in results[results["batch"] == batch].groupby("engine", sort=False):
            style = "-" if not ENGINES[name].peer else "--"
            rows = rows.sort_values("length")
            axes.plot(rows["length"], rows["p50_ms"] / batch, style, marker="o", markersize=4, label=name)
        axes.set(xscale="log", yscale="log", title=f"batch {batch}", xlabel="length")
        axes.set_xticks(sorted(results["length"].unique()), labels=sorted(results["length"].unique()), minor=False)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("milliseconds an example, median")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure
