"""The stages of a run: each takes what the ones before left and writes its own files."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.compilation import recorded_compilations
from powerbert_tf.curves import trace_pareto, train_elastic
from powerbert_tf.explain_stage import explain_run
from powerbert_tf.files import write_json
from powerbert_tf.memory_hint import explained_memory
from powerbert_tf.metrics import agreement, compute_metrics, format_metrics, per_class
from powerbert_tf.predictions import predict_glue, predict_own
from powerbert_tf.processes import by_chief, is_chief
from powerbert_tf.publish import export_run
from powerbert_tf.report import summarize_cost
from powerbert_tf.report_stage import report_run
from powerbert_tf.retraining import retrain
from powerbert_tf.rounding import compare_with_float32
from powerbert_tf.run import Run
from powerbert_tf.run_folder import RESULT_FILE
from powerbert_tf.search_methods import SEARCHES
from powerbert_tf.settings import STAGES
from powerbert_tf.speed import compare_speed
from powerbert_tf.tasks import GlueTask
from powerbert_tf.training import Recipe, evaluate_model, predict_logits, task_loss, train


def run_stage(run: Run, stage: str, before_publishing: Callable[[], None] = lambda: None) -> None:
    """Runs one stage; its folder appears when all of it is written.

    Args:
        run: What the stages share.
        stage: Its name.
        before_publishing: What to do right before that.

    Raises:
        InputError: Something that the user can put right.
    """
    settings = run.settings_of(stage)
    goes_on = run.folder.begun(stage) == settings
    # Each stage draws its own random numbers, whichever stages ran before it in this process.
    keras.utils.set_random_seed(run.settings.seed + STAGES.index(stage))
    began = time.perf_counter()
    with (
        run.folder.writing(stage, settings, before_publishing) as folder,
        explained_memory(stage, run.settings, run.checkpoint.config),
        recorded_compilations() as compilations,
    ):
        result = {
            "task": run.task.name,
            "data": run.dataset.source,
            **_STAGES[stage](run, folder),
            "seconds": round(time.perf_counter() - began, 1),
            "compilations": compilations.count,
            "compile_seconds": round(compilations.seconds, 1),
            "settings": settings,
            **({"resumed": True} if goes_on else {}),  # so that the seconds are not those of all of it
        }
        if is_chief():
            write_json(folder / RESULT_FILE, result)
    if run.settings.jit_compile and compilations.count:
        print(
            f"  XLA compiled {compilations.count} times, {compilations.seconds:.0f} s of {result['seconds']:.0f}",
            flush=True,
        )


def _finetune(run: Run, folder: Path) -> dict[str, Any]:
    task = run.task
    model = load_classifier(run.checkpoint, task.num_outputs, run.settings.max_seq_length, choices=task.choices)
    recipe = Recipe(
        title="finetune", rate=run.settings.learning_rate, epochs=run.settings.epochs, loss=task_loss(run.task)
    )
    train_split, dev_split = run.split("train"), run.split("dev")
    outcome = train(model, run.task, train_split, dev_split, run.settings, folder, recipe)
    return {
        "metric": run.task.metrics[0],
        "metrics": outcome.metrics,
        "epoch": outcome.epoch,
        "examples": len(dev_split),
        "train_examples": len(train_split),
    }


def _search(run: Run, folder: Path) -> dict[str, Any]:
    return {"search_method": run.settings.search_method, **SEARCHES[run.settings.search_method](run, folder)}


def _retrain(run: Run, folder: Path) -> dict[str, Any]:
    configuration = run.configuration()
    model = run.searched_model().with_slots(retention_configuration=configuration)
    result = retrain(run, model, run.dense_model(), folder, "retrain")
    return {**result, "retention_configuration": list(configuration)}


def _evaluate(run: Run, folder: Path) -> dict[str, Any]:
    models = {"dense": run.dense_model(), "reduced": run.reduced_model()}
    task, dev, settings = run.task, run.split("dev"), run.settings
    logits = {name: predict_logits(model, dev, settings) for name, model in models.items()}
    labels = cast(np.ndarray, dev.labels)
    metrics = {name: compute_metrics(task, labels, values) for name, values in logits.items()}
    configuration = run.configuration()
    speedup = by_chief(lambda: compare_speed(models["dense"], models["reduced"], dev, settings))
    further = {
        split: {name: evaluate_model(model, task, run.split(split), settings) for name, model in models.items()}
        for split in run.dataset.splits
        if split.startswith("dev_")
    }
    for split, of_models in further.items():
        for name, values in of_models.items():
            print(f"  {name}: {format_metrics(values, split)}", flush=True)
    result = {
        "metric": task.metrics[0],
        "metrics": metrics["reduced"],
        "dense": {"metrics": metrics["dense"]},
        "reduced": {"metrics": metrics["reduced"]},
        "agreement": agreement(task, logits["dense"], logits["reduced"]),
        **({"further": further} if further else {}),
        "classes": list(task.classes),
        "per_class": per_class(task, labels, logits["reduced"]),
        "retention_configuration": list(configuration),
        "speedup": {**speedup, "predicted": run.costs.speedup(configuration)},
        "multiply_adds": summarize_cost(
            run.checkpoint.config.encoder_size, configuration, dev.lengths, settings.max_seq_length
        ),
        "examples": len(dev),
    }
    if settings.precision != "float32":
        loads = {"dense": run.dense_model, "reduced": run.reduced_model}
        result["rounding"] = {name: compare_with_float32(run, load, logits[name]) for name, load in loads.items()} | {
            "precision": settings.precision,
            "examples": len(dev),
        }
    return result


def _predict(run: Run, folder: Path) -> dict[str, Any]:
    model = run.reduced_model()
    if isinstance(run.task, GlueTask):
        return predict_glue(run, run.task, model, folder)
    return predict_own(run, model, folder)


_STAGES: dict[str, Callable[[Run, Path], dict[str, Any]]] = {
    "finetune": _finetune,
    "search": _search,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": export_run,
    "elastic": train_elastic,
    "pareto": trace_pareto,
    "explain": explain_run,
    "report": report_run,
}
