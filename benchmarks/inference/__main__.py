"""Inference of a dense and a reduced BERT on every engine that is installed: `python -m benchmarks.inference --help`.

Each engine has a process of its own, and they are measured in turns, so that drift and noise meet all of them alike.
Outputs are compared before anything is timed; the first calls of a shape, which compile, are not timed.
"""

import functools
from collections.abc import Sequence
from typing import Any

import pandas as pd
from absl import app, flags
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.common import grid
from benchmarks.common.command import FLAGS, output_path, publish
from benchmarks.common.engine import check_agreement
from benchmarks.common.markdown import table
from benchmarks.common.models import retention_of
from benchmarks.inference.engines import ENGINES

_DENSE, _REDUCED = "ours, dense", "ours, reduced"


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """Ratios of medians, one row per cell.

    Returns:
        Columns `batch`, `length`, and where the engines are there: `fastest peer`, `dense / peer` (how many times
        faster ours is), `frozen / peer` (the same of a graph of one shape, its weights in it), `plain / XLA` (ours),
        `speed-up` (reduced against ours dense), `multiply-adds` (fewer by), `realised` (their ratio),
        `reduced / peer`, `share of peak` (ours, dense).
    """
    rows = []
    for batch, length, median, counted in grid.medians_of_cells(report):
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
            fewer = counted["dense"] / counted["reduced"]
            row |= {"speed-up": dense / reduced, "multiply-adds": fewer, "realised": dense / reduced / fewer}
        if peers and reduced:
            row["reduced / peer"] = min(peers.values()) / reduced
        if dense:
            row["share of peak"] = batch * counted["dense"] / (dense / 1000) / report["matrix_product_peak"]
        rows.append(row)
    return pd.DataFrame(rows)


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    comparison = compare(report)
    sections = [table(comparison)]
    if "dense / peer" in comparison:
        ratios = comparison["dense / peer"]
        least = comparison.loc[ratios.idxmin()]
        sections.append(
            f"Dense against the fastest peer: geometric mean {ratios.prod() ** (1 / len(ratios)):.2f}, least "
            f"{ratios.min():.2f} at batch {least['batch']} x {least['length']} ({least['fastest peer']})."
        )
    return grid.to_markdown(report, "Inference", "batch", "above 1, ours is faster", *sections)


def plot(report: dict[str, Any]) -> Figure:
    """Milliseconds per example by length, one plot per batch size."""
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


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON, Markdown and a plot."""
    lengths, batches = [int(value) for value in FLAGS.lengths], [int(value) for value in FLAGS.batches]
    retention = retention_of(FLAGS.shape, FLAGS.retention, max(lengths))
    output = output_path(f"inference-{FLAGS.shape}")
    cells = [(batch, length) for batch in batches for length in lengths]
    report = grid.measure("inference", cells, retention, functools.partial(check_agreement, "inference"), output)
    publish(report, output, to_markdown(report), plot(report))


def define_flags() -> None:
    """Flags of the command."""
    grid.define_grid_flags(rounds=5, calls=2)
    flags.DEFINE_list("batches", ["1", "8", "32"], "Batch sizes.")
    flags.DEFINE_list("lengths", ["32", "64", "128", "256"], "Lengths; rows are full.")
    flags.DEFINE_string("retention", "", "Fractions that the reduced engines keep; empty for those of the shape.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
