"""Metric lost against measured speed-up: rows and widths under one budget, beside each alone.

python -m benchmarks.accuracy --targets=MRPC=3,SST-2=2.5,STS-B=2,CoLA=1.8 --seeds=3 --retrain

Fine-tunes each task once for each seed, then searches for the same target over rows, neurons and heads, over rows
alone and over widths alone, without training; `--retrain` re-trains each of them, too, and as a control the dense model
for as many epochs at the same rate, on the labels. All go through the stages of `run_glue.py`: held-out training rows
choose, and dev is for the report. The models of a task, seed and target are measured in turns on the dev set, in
batches grouped by length and one by one.

It takes hours, and resumes: a task, seed and target whose rows are in the output is not run again, and an interrupted
one continues from its folder below `--output_dir`.
"""

import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags

from benchmarks.common.command import FLAGS, check_names, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table

# Name -> `--search_over`. The first one is what a search does unless told otherwise.
DIMENSIONS = {"rows and widths": "rows,neurons,heads", "rows alone": "rows", "widths alone": "neurons,heads"}
TRAINED = {"": "fine-tuned", "search": "nothing", "retrain": "re-trained"}  # by the last stage
# Settings of a task, beside a rate and batch size for all: what a fine-tuning of minutes on two cores can do.
RECIPES: Mapping[str, dict[str, Any]] = {"SST-2": {"train_examples": 8000, "epochs": 2}, "MRPC": {"epochs": 5}}
_RECIPE = {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3}
BATCHES = (32, 1)
_CELL = ("task", "seed", "target")


def settings_of(task: str, seed: int, folder: Path, **given: Any) -> Any:
    """The settings of a run in a folder, with the recipe of its task."""
    from powerbert_tf.runs.settings import resolve_settings

    recipe = {**_RECIPE, **RECIPES.get(task, {}), "max_seq_length": FLAGS.max_seq_length or None}
    places = {"checkpoint": FLAGS.checkpoint, "data_dir": FLAGS.data_dir, "output_dir": str(folder)}
    return resolve_settings(task, seed=seed, **recipe, **places, **given)


def run_of(task: str, target: float, seed: int, dimensions: str, root: Path, stage: str) -> Any:
    """The run of one search, with its fine-tuning done: shared by all searches of a task and seed."""
    from powerbert_tf.runs import pipeline
    from powerbert_tf.runs.preparation import prepare

    def settings(folder: Path) -> Any:
        given = {"search_over": dimensions, "target_speedup": target, "cost_model": FLAGS.cost_model}
        return settings_of(task, seed, folder, **given)

    shared, folder = root / "finetuned", root / f"{dimensions.replace(',', '-')}-{target:g}x"
    pipeline.run(settings(shared), "finetune")
    _share_finetuning(shared / task, folder / task)
    pipeline.run(settings(folder), stage)
    return prepare(settings(folder), folder / task)


def control_of(task: str, seed: int, root: Path) -> Any:
    """The run that trains the dense model on: the epochs and rate of re-training, but labels, as it is the teacher."""
    from powerbert_tf.runs import pipeline
    from powerbert_tf.runs.preparation import prepare

    recipe = settings_of(task, seed, root).training
    shared, folder = root / "finetuned", root / "dense"
    encoders = prepare(settings_of(task, seed, shared), shared / task).checkpoint.config.num_hidden_layers
    settings = settings_of(
        task,
        seed,
        folder,
        retention_configuration=",".join(["1.0"] * encoders),
        distillation="none",
        epochs_retrain=recipe.epochs_retrain,
        learning_rate_retrain=recipe.learning_rate_retrain,
    )
    _share_finetuning(shared / task, folder / task)
    pipeline.run(settings, "retrain")
    return prepare(settings, folder / task)


def _share_finetuning(shared: Path, folder: Path) -> None:
    if not (folder / "finetune").exists():
        shutil.copytree(shared / "finetune", folder / "finetune")


def measure(runs: Mapping[str, Any], stages: Sequence[str], control: Any = None) -> list[dict[str, Any]]:
    """A row for the dense model, and for each of the runs by name after each stage: metrics, and speeds in turns.

    `control` is the run of the dense model that was trained on, if there is one.
    """
    from powerbert_tf.data.metrics import agreement, compute_metrics, loss_interval
    from powerbert_tf.latency.speed import SpeedTest
    from powerbert_tf.latency.timing import device_name
    from powerbert_tf.training.evaluation import predict_logits

    run = next(iter(runs.values()))
    task, dev, inference = run.task, run.split("dev"), run.settings.inference
    main = task.metrics[0]
    dense = run.dense_model()
    models = {"dense": dense, **{name: one.searched_model() for name, one in runs.items()}}  # as fast once re-trained
    times = {size: SpeedTest(dev, size, inference).milliseconds(models) for size in BATCHES}
    expected = predict_logits(dense, dev, inference)
    value = compute_metrics(task, dev.labels, expected)[main]
    rows = []
    again = [] if control is None else [("dense", "retrain")]
    runs = runs if control is None else {**runs, "dense": control}
    reduced = [(name, stage) for name in runs if name != "dense" for stage in stages]
    for name, trained in [("dense", ""), *again, *reduced]:
        seconds: dict[str, float] = {}
        logits = expected
        if trained:
            folder = runs[name].folder
            done = ["retrain"] if name == "dense" else stages[: stages.index(trained) + 1]
            seconds = {f"{stage} seconds": folder.finished(stage)["seconds"] for stage in done}
            model = models[name] if trained == "search" else runs[name].reduced_model()
            logits = predict_logits(model, dev, inference.in_plain_graph())
        found = compute_metrics(task, dev.labels, logits)[main]
        low, high = loss_interval((task, task), dev.labels, expected, logits) if trained else (0.0, 0.0)
        rows.append(
            {
                "model": name,
                "trained": TRAINED[trained],
                "metric": main,
                "value": found,
                "lost": value - found,
                "lost, 95 %": [low, high],
                "agreement": agreement(task, expected, logits),
                **{f"speedup at {size}": times[size]["dense"] / times[size][name] for size in BATCHES},
                "weights": int(models[name].count_params()),
                **seconds,
                "keeps": str(models[name].reduction),
                "device": device_name(),
                "date": datetime.date.today().isoformat(),
            }
        )
    return rows


def describe(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    frame = pd.DataFrame(report["rows"])
    shown = []
    for (task, target, model, trained), rows in frame.groupby(["task", "target", "model", "trained"], sort=False):
        lost, bounds = 100 * rows["lost"], 100 * pd.DataFrame(rows["lost, 95 %"].tolist())
        spread = (
            f"{bounds[0].iloc[0]:.1f} to {bounds[1].iloc[0]:.1f}" if len(rows) == 1 else f"seeds ± {lost.std():.1f}"
        )
        shown.append(
            {
                "task": f"{task}, {rows['metric'].iloc[0]}",
                "asked": f"{target:g}x",
                "model": model,
                "trained": trained,
                "seeds": len(rows),
                "value": f"{rows['value'].mean():.4f}",
                "points lost": "" if trained == TRAINED[""] else f"{lost.mean():.1f} ({spread})",
                "agrees": f"{rows['agreement'].mean():.3f}",
                "times faster, batch 32": f"{rows['speedup at 32'].mean():.2f}x",
                "one by one": f"{rows['speedup at 1'].mean():.2f}x",
            }
        )
    kept = [
        {
            "task": row["task"],
            "seed": row["seed"],
            "asked": f"{row['target']:g}x",
            "model": row["model"],
            "keeps": row["keeps"],
        }
        for row in report["rows"]
        if row["trained"] == TRAINED["search"]
    ]
    note = (
        "Points lost: against the dense model of the same seed, with the 95 % interval of a paired bootstrap over the "
        "dev examples, or the standard deviation over seeds. Agreement: the share of answers that equal the dense "
        "model's, or the correlation with them."
    )
    return page("# Metric lost at a measured speed-up", measured_on(report), note, table(shown), table(kept))


def read_targets(given: Sequence[str]) -> list[tuple[str, float]]:
    """Returns tasks and speed-ups of `--targets`."""
    targets = []
    for entry in given:
        task, _, target = entry.partition("=")
        if not target.replace(".", "", 1).isdecimal() or float(target) < 1:
            raise app.UsageError(f"--targets={entry}: expected a task and its speed-up, such as MRPC=3.")
        targets.append((task, float(target)))
    return targets


def main(_: list[str]) -> None:
    """Runs, measures and writes the report, anew after each task, seed and target."""
    targets = read_targets(FLAGS.targets)
    check_names("dimensions", FLAGS.dimensions, list(DIMENSIONS))
    stages = ["search", "retrain"] if FLAGS.retrain else ["search"]
    output = output_path("accuracy")
    path = output.with_suffix(".json")
    there = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() and not FLAGS.fresh else []
    rows = [row for row in there if "trained" in row]  # those of earlier versions were chosen on dev
    for seed in range(FLAGS.seeds):
        for task, target in targets:
            cell = dict(zip(_CELL, (task, seed, target), strict=True))
            found = [row for row in rows if {name: row[name] for name in _CELL} == cell]
            wanted = {(name, TRAINED[stage]) for name in FLAGS.dimensions for stage in stages}
            wanted |= {("dense", TRAINED["retrain"])} if FLAGS.retrain else set()
            if wanted <= {(row["model"], row["trained"]) for row in found}:
                continue
            root = Path(FLAGS.output_dir) / f"{task}-seed-{seed}"
            runs = {name: run_of(task, target, seed, DIMENSIONS[name], root, stages[-1]) for name in FLAGS.dimensions}
            control = control_of(task, seed, root) if FLAGS.retrain else None
            measured = measure(runs, stages, control)
            rows = [row for row in rows if row not in found] + [{**cell, **row} for row in measured]
            report = {**surroundings("benchmarks.accuracy"), "rows": rows}
            publish(report, output, describe(report))


def define_recipe_flags() -> None:
    """Defines the flags of a fine-tuning that several measurements share."""
    flags.DEFINE_string("checkpoint", "", "A checkpoint, as for run_glue.py; empty for MiniLM.")
    flags.DEFINE_integer("max_seq_length", 0, "N; 0 for the task's.", lower_bound=0)
    flags.DEFINE_string("data_dir", "glue_data", "Folder with <TASK>/train.tsv and dev.tsv.")
    flags.DEFINE_string("output_dir", "runs/accuracy", "Folder of the runs.")
    define_output_flag()


if __name__ == "__main__":
    flags.DEFINE_list(
        "targets", ["MRPC=3", "SST-2=2.5", "STS-B=2", "CoLA=1.8"], "Tasks and speed-ups; a task may recur."
    )
    flags.DEFINE_list("dimensions", list(DIMENSIONS), "What to search over: some of these.")
    flags.DEFINE_integer("seeds", 1, "How many seeds, from 0.", lower_bound=1)
    flags.DEFINE_bool("retrain", False, "Re-train each reduced model, too.")
    flags.DEFINE_bool("fresh", False, "Run everything again, instead of keeping the rows that are in the output.")
    flags.DEFINE_string("cost_model", "measured", "What targets refer to, as for run_glue.py.")
    define_recipe_flags()
    app.run(main)
