"""The results of `benchmarks.training` as Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables import heading, medians, spread_and_memory, table
from benchmarks.training_engines import ENGINES
from powerbert_tf.common.files import replacing

_DENSE = "ours, fine-tuning"
_RATIOS = {  # to a step of fine-tuning
    "search (paper)": "ours, search (paper)",
    "search (soft)": "ours, search (soft)",
    "re-training": "ours, re-training",
    "XLA": "ours, fine-tuning, XLA",
}


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """Ratios of medians, one row a cell.

    Returns:
        Columns `batch`, `length`, and where the engines are there: `fastest peer`, `peer / ours` (how many times faster
        a step of our fine-tuning is), `search (paper)`, `search (soft)`, `re-training` and `XLA` (time of such a step,
        that of fine-tuning being 1), `multiply-adds` (of re-training, times fewer).
    """
    counted = {row["length"]: row for row in report["multiply_adds"]}
    rows = []
    for (batch, length), cell in pd.DataFrame(report["results"]).groupby(["batch", "length"], sort=False):
        median = dict(zip(cell["engine"], cell["p50_ms"], strict=True))
        peers = {name: ms for name, ms in median.items() if ENGINES[name].peer}
        row: dict[str, Any] = {"batch": batch, "length": length}
        if peers and _DENSE in median:
            row["fastest peer"] = min(peers, key=lambda name: peers[name])
            row["peer / ours"] = min(peers.values()) / median[_DENSE]
        if _DENSE in median:
            row |= {title: median[name] / median[_DENSE] for title, name in _RATIOS.items() if name in median}
        row["multiply-adds"] = counted[length]["dense"] / counted[length]["reduced"]
        rows.append(row)
    return pd.DataFrame(rows)


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes `<output>.md`."""
    results = pd.DataFrame(report["results"])
    kept = ", ".join(f"{fraction:g}" for fraction in report["retention"])
    sections = [
        *heading(report, "A training step"),
        f"Forward with dropout, backward and Adam. Re-training keeps {kept} of each input.",
        "## Milliseconds of a step, median",
        table(medians(results)),
        "## Ratios of medians: `peer / ours` above 1 where ours is faster; the others are shares of a fine-tuning step",
        table(compare(report)),
        "## Spread and memory",
        table(spread_and_memory(results)),
    ]
    with replacing(output.with_suffix(".md")) as path:
        path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
