"""Metric lost against measured speed-up: rows and widths under one budget, beside each alone.

python -m benchmarks.accuracy --targets=MRPC=3,SST-2=2.5,STS-B=2,CoLA=1.8

Fine-tunes each task once for each seed, then searches for the same target over rows, neurons and heads, over rows
alone and over widths alone, without training; `--retrain` re-trains each of them. All go through the stages of
`run_glue.py`, in folders below `--output_dir`, and what is there is reused: an interrupted command resumes. In the end
the models of a task are measured in turns on the dev set, in batches grouped by length and one by one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags

from benchmarks.common.command import FLAGS, check_names, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table

# Name -> `--search_over`. The first one is what a search does unless told otherwise.
DIMENSIONS = {"rows and widths": "rows,neurons,heads", "rows alone": "rows", "widths alone": "neurons,heads"}
# Settings of a task, beside a rate and batch size for all: what a fine-tuning of minutes on two cores can do.
RECIPES: Mapping[str, dict[str, Any]] = {"SST-2": {"train_examples": 8000, "epochs": 2}, "MRPC": {"epochs": 5}}
_RECIPE = {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3}
BATCHES = (32, 1)


def settings_of(task: str, seed: int, folder: Path, **given: Any) -> Any:
    """The settings of a run in a folder, with the recipe of its task."""
    from powerbert_tf.runs.settings import resolve_settings

    recipe = {**_RECIPE, **RECIPES.get(task, {}), "max_seq_length": FLAGS.max_seq_length or None}
    places = {"checkpoint": FLAGS.checkpoint, "data_dir": FLAGS.data_dir, "output_dir": str(folder)}
    return resolve_settings(task, seed=seed, **recipe, **places, **given)


def run_of(task: str, target: float, seed: int, dimensions: str, root: Path) -> Any:
    """The run of one search, with its fine-tuning done: shared by all searches of a task and seed."""
    from powerbert_tf.runs import pipeline
    from powerbert_tf.runs.preparation import prepare

    def settings(folder: Path) -> Any:
        given = {"search_over": dimensions, "target_speedup": target, "cost_model": FLAGS.cost_model}
        return settings_of(task, seed, folder, **given)

    shared, folder = root / "finetuned", root / f"{dimensions.replace(',', '-')}-{target:g}x"
    pipeline.run(settings(shared), "finetune")
    if not (folder / task / "finetune").exists():
        shutil.copytree(shared / task / "finetune", folder / task / "finetune")
    pipeline.run(settings(folder), "retrain" if FLAGS.retrain else "search")
    return prepare(settings(folder), folder / task)


def measure(run: Any, names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the dense model and each of the runs by name: metrics, what is kept, and speeds in turns."""
    from powerbert_tf.latency.speed import SpeedTest

    dense = run.dense_model()
    models = {name: one.reduced_model() if FLAGS.retrain else one.searched_model() for name, one in names.items()}
    metrics = {"dense": run.evaluate_once(dense)} | {
        name: one.folder.finished("retrain" if FLAGS.retrain else "search")["metrics"] for name, one in names.items()
    }
    times = {
        size: SpeedTest(run.split("dev"), size, run.settings.inference).milliseconds({"dense": dense, **models})
        for size in BATCHES
    }
    rows = []
    for name, model in {"dense": dense, **models}.items():
        main = run.task.metrics[0]
        seconds = 0.0 if name == "dense" else names[name].folder.finished("search")["seconds"]
        rows.append(
            {
                "task": run.task.name,
                "seed": run.settings.training.seed,
                "model": name,
                "metric": main,
                "value": metrics[name][main],
                "lost": metrics["dense"][main] - metrics[name][main],
                **{f"speedup at {size}": times[size]["dense"] / times[size][name] for size in BATCHES},
                "weights": int(model.count_params()),
                "search seconds": seconds,
                "keeps": str(model.reduction),
            }
        )
    return rows


def describe(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    frame = pd.DataFrame(report["rows"])
    numbers = ["value", "lost", *(f"speedup at {size}" for size in BATCHES), "search seconds"]
    means = frame.groupby(["task", "metric", "model"], sort=False)[numbers].agg(["mean", "count"])
    shown = []
    for (task, metric, model), row in means.iterrows():
        shown.append(
            {
                "task, metric": f"{task}, {metric}",
                "model": model,
                "seeds": int(row["value"]["count"]),
                "value": f"{row['value']['mean']:.4f}",
                "points lost": f"{100 * row['lost']['mean']:.1f}",
                "times faster, batch 32": f"{row['speedup at 32']['mean']:.2f}x",
                "one by one": f"{row['speedup at 1']['mean']:.2f}x",
                "search, s": f"{row['search seconds']['mean']:.0f}",
            }
        )
    kept = [
        {"task": row["task"], "seed": row["seed"], "model": row["model"], "keeps": row["keeps"]}
        for row in report["rows"]
        if row["model"] != "dense"
    ]
    title = "re-trained" if report["retrained"] else "nothing trained"
    return page(f"# Metric lost at a measured speed-up, {title}", measured_on(report), table(shown), table(kept))


def main(_: list[str]) -> None:
    """Runs, measures and writes the report."""
    from powerbert_tf.latency.timing import device_name

    targets = {}
    for entry in FLAGS.targets:
        task, _, target = entry.partition("=")
        if not target.replace(".", "", 1).isdecimal() or float(target) < 1:
            raise app.UsageError(f"--targets={entry}: expected a task and its speed-up, such as MRPC=3.")
        targets[task] = float(target)
    check_names("dimensions", FLAGS.dimensions, list(DIMENSIONS))
    rows = []
    for task, target in targets.items():
        for seed in range(FLAGS.seeds):
            root = Path(FLAGS.output_dir) / f"{task}-seed-{seed}"
            runs = {name: run_of(task, target, seed, DIMENSIONS[name], root) for name in FLAGS.dimensions}
            rows += measure(next(iter(runs.values())), runs)
    report = {
        **surroundings("benchmarks.accuracy"),
        "device": device_name(),
        "retrained": FLAGS.retrain,
        "targets": targets,
        "rows": rows,
    }
    name = "accuracy-retrained" if FLAGS.retrain else "accuracy"
    publish(report, output_path(name), describe(report))


def define_recipe_flags() -> None:
    """Defines the flags of a fine-tuning that several measurements share."""
    flags.DEFINE_string("checkpoint", "", "A checkpoint, as for run_glue.py; empty for MiniLM.")
    flags.DEFINE_integer("max_seq_length", 0, "N; 0 for the task's.", lower_bound=0)
    flags.DEFINE_string("data_dir", "glue_data", "Folder with <TASK>/train.tsv and dev.tsv.")
    flags.DEFINE_string("output_dir", "runs/accuracy", "Folder of the runs.")
    define_output_flag()


if __name__ == "__main__":
    flags.DEFINE_list("targets", ["MRPC=3", "SST-2=2.5", "STS-B=2", "CoLA=1.8"], "Tasks and their speed-ups.")
    flags.DEFINE_list("dimensions", list(DIMENSIONS), "What to search over: some of these.")
    flags.DEFINE_integer("seeds", 1, "How many seeds, from 0.", lower_bound=1)
    flags.DEFINE_bool("retrain", False, "Re-train each reduced model.")
    flags.DEFINE_string("cost_model", "measured", "What targets refer to, as for run_glue.py.")
    define_recipe_flags()
    app.run(main)
