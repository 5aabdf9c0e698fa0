"""One training step of BERT on every engine that is installed: `python -m benchmarks.training --help`.

Ours three times: fine-tuning, the search with soft-extract or with gates, and re-training with a configuration of
three times fewer multiply-adds. Each engine has a process of its own, and they are measured in turns. Before
anything is timed the losses before the first step, without dropout, are compared, and it is checked that steps lower
them.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from absl import app, flags

from benchmarks.common import grid
from benchmarks.common.command import FLAGS, output_path, publish
from benchmarks.common.markdown import kept, table
from benchmarks.common.models import RETENTION, SHAPES, with_fewer_multiply_adds
from benchmarks.training.engines import ENGINES, check_training

_TIMES_FEWER = 3.0  # multiply-adds of the encoders, re-training
_DENSE = "ours, fine-tuning"
_RATIOS = {  # to a step of fine-tuning
    "search (paper)": "ours, search (paper)",
    "search (soft)": "ours, search (soft)",
    "re-training": "ours, re-training",
    "XLA": "ours, fine-tuning, XLA",
}


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """Ratios of medians, one row per cell.

    Returns:
        Columns `batch`, `length`, and where the engines are there: `fastest peer`, `peer / ours` (how many times faster
        a step of our fine-tuning is), `search (paper)`, `search (soft)`, `re-training` and `XLA` (time of such a step,
        that of fine-tuning being 1), `multiply-adds` (of re-training, times fewer).
    """
    rows = []
    for batch, length, median, counted in grid.medians_of_cells(report):
        peers = {name: ms for name, ms in median.items() if ENGINES[name].peer}
        row: dict[str, Any] = {"batch": batch, "length": length}
        if peers and _DENSE in median:
            row["fastest peer"] = min(peers, key=lambda name: peers[name])
            row["peer / ours"] = min(peers.values()) / median[_DENSE]
        if _DENSE in median:
            row |= {title: median[name] / median[_DENSE] for title, name in _RATIOS.items() if name in median}
        row["multiply-adds"] = counted["dense"] / counted["reduced"]
        rows.append(row)
    return pd.DataFrame(rows)


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    note = "`peer / ours` above 1 where ours is faster; the others are shares of a fine-tuning step"
    about = "A step is forward with dropout, backward and Adam. Re-training "
    about += f"keeps {kept(report['retention'])} of each input."
    return grid.to_markdown(report, "A training step", "step", note, table(compare(report)), about)


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    try:
        cells = [(int(batch), int(length)) for batch, length in (cell.split("x") for cell in FLAGS.cells)]
    except ValueError:
        raise app.UsageError(f"--cells={','.join(FLAGS.cells)}: expected such as 32x64,8x128.") from None
    size, lengths = SHAPES[FLAGS.shape].encoder_size, [length for _, length in cells]
    retention = with_fewer_multiply_adds(RETENTION[FLAGS.shape], size, lengths, _TIMES_FEWER)
    output = output_path(f"training-{FLAGS.shape}")
    report = grid.measure("training", cells, retention, check_training, output)
    publish(report, output, to_markdown(report))


def define_flags() -> None:
    """Flags of the command."""
    grid.define_grid_flags(rounds=3, calls=2, at_once=3)  # BERT-base takes up to 5 GB per engine
    flags.DEFINE_list("cells", ["32x64", "8x128"], "Batch x length; rows are full.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
