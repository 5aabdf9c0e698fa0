"""The figure of the field: metric lost against measured speed-up, our models beside published ones.

python -m benchmarks.accuracy.figure

Reads the rows of `benchmarks.accuracy` and writes `docs/accuracy.svg`. Published speed-ups are brought to terms without
padding, where the source counts or measures padding; their kind and their model stand beside them, as operations are
not time, and twelve encoders have more to give than six.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.command import FLAGS, REPOSITORY, output_path
from powerbert_tf.reports.figures import MARKERS, SERIES, svg_text

TRAININGS = {"nothing": "--", "re-trained": "-"}  # line styles


@dataclasses.dataclass(frozen=True)
class Published:
    """A published system on one task.

    Attributes:
        name: Its name.
        task: A task of GLUE; empty for those of the paper together.
        speedup: Times faster without padding.
        lost: Points of the metric lost, at most.
        kind: What the speed-up counts: `operations`, or the device it was measured on.
        encoders: Of its model.
        source: Where it is published.
    """

    name: str
    task: str
    speedup: float
    lost: float
    kind: str
    encoders: int
    source: str


_TOP = "Token pruning by ranking distillation (ToP), arXiv 2306.14393, code, at each example's own length"
PUBLISHED = (
    Published("ToP", "CoLA", 1.8, 1.0, "operations", 12, _TOP),
    Published("ToP", "SST-2", 1.75, 1.0, "operations", 12, _TOP),
    Published("ToP", "MRPC", 3.1, 1.0, "operations", 12, _TOP),
    Published("ToP", "STS-B", 3.4, 1.0, "operations", 12, _TOP),
    Published("LTP", "", 2.1, 1.0, "operations", 12, "Learned token pruning, arXiv 2107.00910"),
    Published("Kwon et al.", "", 1.56, 1.0, "GPU", 12, "Post-training pruning, arXiv 2204.09656, nothing trained"),
    Published("PoWER-BERT", "", 1.0, 1.0, "GPU", 12, "arXiv 2001.08950: 2.0x to 4.5x padded, about 1x without padding"),
)


def draw(rows: Sequence[Mapping[str, Any]], published: Sequence[Published] = PUBLISHED) -> Figure:
    """A panel a task: the points that `rows` and dimensions together, or one of them alone, lose at which speed."""
    frame = pd.DataFrame(rows)
    frame = frame[frame["model"] != "dense"]  # and its control, which are not faster
    tasks = list(dict.fromkeys(frame["task"]))
    figure = Figure(figsize=(3.4 * len(tasks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for task, axes in zip(tasks, panels, strict=True):
        _draw_task(axes, frame[frame["task"] == task], [one for one in published if one.task in (task, "")])
        axes.set_title(f"{task}, {frame[frame['task'] == task]['metric'].iloc[0]}")
        axes.set_xlabel("times faster, without padding")
    panels[0].set_ylabel("points lost")
    shown = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _draw_task(axes: Axes, rows: pd.DataFrame, published: Sequence[Published]) -> None:
    axes.axhline(0, color="0.5", linewidth=0.8)
    for number, (model, of_model) in enumerate(rows.groupby("model", sort=False)):
        for trained, of_both in of_model.groupby("trained", sort=False):
            means = of_both.groupby("target").agg({"speedup at 32": "mean", "lost": "mean"})
            bounds = pd.DataFrame(of_both["lost, 95 %"].tolist(), of_both["target"]).groupby(level=0).mean()
            low, high = (abs(means["lost"] - bounds[side]) for side in (0, 1))
            axes.errorbar(
                means["speedup at 32"],
                100 * means["lost"],
                yerr=[100 * low, 100 * high],
                color=SERIES[number],
                marker=MARKERS[number],
                linestyle=TRAININGS[trained],
                fillstyle="full" if trained == "re-trained" else "none",
                label=f"{model}, {'nothing trained' if trained == 'nothing' else trained}",
                capsize=2,
            )
    for number, one in enumerate(published):
        label = f"{one.name} ({one.kind}, {one.encoders} encoders)"
        axes.plot(one.speedup, one.lost, MARKERS[number + 3], color="0.5", fillstyle="none", label=label)


def main(_: list[str]) -> None:
    """Draws the figure."""
    rows = json.loads(output_path("accuracy").with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    path = Path(FLAGS.figure)
    path.write_text(svg_text(draw(rows), path.stem), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    flags.DEFINE_string(
        "output", "", "Rows of benchmarks.accuracy, without suffix; empty for benchmarks/results/accuracy."
    )
    flags.DEFINE_string("figure", str(REPOSITORY / "docs" / "accuracy.svg"), "File to write.")
    app.run(main)
