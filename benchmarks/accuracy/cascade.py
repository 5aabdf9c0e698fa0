"""Whether a cascade is ahead of a single model: the dense model is asked again where the reduced one is unsure.

python -m benchmarks.accuracy.cascade --targets=MRPC=2,MRPC=3,SST-2=2,SST-2=3

Takes the re-trained models over rows and widths of `python -m benchmarks.accuracy`, or trains them. A text is unsure
if the probabilities of its two best classes are nearer than a threshold: the quantile of the held-out rows for the
share to ask again. On dev, each cascade is compared with single models of the same speed, whose agreement with the
dense model is interpolated between those of the targets.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags
from scipy.special import softmax

from benchmarks.accuracy.__main__ import DIMENSIONS, define_recipe_flags, read_targets, run_of
from benchmarks.common.command import FLAGS, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
_BATCH = 32
_ONE_BY_ONE = 150  # texts whose latency is measured
_JOINT = "rows and widths"


def margins(logits: np.ndarray) -> np.ndarray:
    """How sure answers are: the probability of the best class less that of the second, `[n]`, from logits `[n, C]`."""
    second, first = np.sort(softmax(logits, axis=-1), axis=-1)[:, -2:].T
    return first - second


def answer_again(reduced: np.ndarray, dense: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a cascade `[n, C]`, and which texts the dense model answers, `[n]` bool."""
    again = margins(reduced) < threshold
    return np.where(again[:, None], dense, reduced), again


def with_gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adds how much more often each cascade agrees with the dense model than a single model of its speed."""
    singles = sorted((row["speedup"], row["agreement"]) for row in rows if row["asked again"] == 0)
    speeds, agreements = zip((1.0, 1.0), *singles, strict=True)
    return [
        {**row, "ahead by": row["agreement"] - float(np.interp(row["speedup"], speeds, agreements))} for row in rows
    ]


def measure(task: str, targets: Sequence[float]) -> list[dict[str, Any]]:
    """The rows of a task: each reduced model alone, and in cascades."""
    from powerbert_tf.data.metrics import agreement, compute_metrics
    from powerbert_tf.latency.speed import SpeedTest
    from powerbert_tf.latency.timing import measure_latency
    from powerbert_tf.training.evaluation import predict_logits

    root = Path(FLAGS.output_dir) / f"{task}-seed-0"
    runs = {target: run_of(task, target, 0, DIMENSIONS[_JOINT], root, "retrain") for target in targets}
    run = runs[targets[0]]
    held_out, dev, inference = run.split("held_out"), run.split("dev"), run.settings.inference
    models = {"dense": run.dense_model(), **{target: one.reduced_model() for target, one in runs.items()}}
    logits = {name: predict_logits(model, dev, inference) for name, model in models.items()}
    sure = {target: margins(predict_logits(models[target], held_out, inference)) for target in targets}
    batch = SpeedTest(dev, _BATCH, inference).milliseconds({str(name): model for name, model in models.items()})
    shown = np.random.default_rng(0).permutation(len(dev))[:_ONE_BY_ONE]
    one_by_one = measure_latency(
        {str(name): model for name, model in models.items()},
        [dev.pad(shown[at : at + 1], int(dev.lengths[shown[at]])) for at in range(len(shown))],
    )
    rows = []
    for target, share in itertools.product(targets, (0.0, *SHARES)):
        threshold = float(np.quantile(sure[target], share)) if share else 0.0
        answers, again = answer_again(logits[target], logits["dense"], threshold)
        milliseconds = len(dev) / _BATCH * batch[str(target)]
        if again.any():  # in batches of their own
            asked = dev.take(np.flatnonzero(again))
            size = min(_BATCH, len(asked))
            time = SpeedTest(asked, size, inference).milliseconds({"dense": models["dense"]})["dense"]
            milliseconds += len(asked) / size * time
        latency = one_by_one[str(target)] + again[shown] * one_by_one["dense"]
        rows.append(
            {
                "task": task,
                "target": target,
                "asked again": share,
                "asked again on dev": float(again.mean()),
                "speedup": len(dev) / _BATCH * batch["dense"] / milliseconds,
                "agreement": agreement(run.task, logits["dense"], answers),
                "metric": run.task.metrics[0],
                "value": compute_metrics(run.task, dev.labels, answers)[run.task.metrics[0]],
                **{f"p{rank}": float(np.percentile(latency, rank)) for rank in (50, 99)},
                **{f"dense p{rank}": float(np.percentile(one_by_one["dense"], rank)) for rank in (50, 99)},
            }
        )
    return with_gains(rows)


def describe(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        {
            "task, metric": f"{row['task']}, {row['metric']}",
            "model": f"{row['target']:g}x" + (f", {row['asked again']:.0%} asked again" if row["asked again"] else ""),
            "asked again on dev": f"{row['asked again on dev']:.1%}",
            "times faster, batch 32": f"{row['speedup']:.2f}x",
            "agrees": f"{row['agreement']:.3f}",
            "ahead by": f"{100 * row['ahead by']:+.1f}" if row["asked again"] else "",
            "value": f"{row['value']:.4f}",
            **{f"{name}, ms": f"{row[name]:.1f}" for name in ("p50", "p99", "dense p50", "dense p99")},
        }
        for row in report["rows"]
    ]
    note = (
        "Ahead by: points of agreement with the dense model beyond that of a single model of the same speed, which is "
        "interpolated between those of this table and the dense model itself. p50 and p99: one text at a time."
    )
    return page("# A cascade beside single models", measured_on(report), note, table(rows))


def main(_: list[str]) -> None:
    """Measures, and writes the report."""
    from powerbert_tf.latency.timing import device_name

    targets = pd.DataFrame(read_targets(FLAGS.targets), columns=["task", "target"])
    rows = [row for task, of_task in targets.groupby("task", sort=False) for row in measure(task, list(of_task.target))]
    report = {**surroundings("benchmarks.accuracy.cascade"), "device": device_name(), "rows": rows}
    publish(report, output_path("cascade"), describe(report))


if __name__ == "__main__":
    flags.DEFINE_list("targets", ["MRPC=2", "MRPC=3", "SST-2=2", "SST-2=3"], "Tasks and speed-ups of their models.")
    flags.DEFINE_string("cost_model", "measured", "What targets refer to, as for run_glue.py.")
    define_recipe_flags()
    app.run(main)
