"""The evaluate stage: metrics, speed and operations of the dense and the reduced model, side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import NUMBER
from powerbert_tf.data.metrics import (
    agreement,
    compute_metrics,
    format_metrics,
    loss_interval,
    per_class,
    predictions_from_logits,
    same_answers,
    with_thresholds,
)
from powerbert_tf.data.reliability import calibration_error
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.operations import summarize_cost
from powerbert_tf.models.precision import computing_in
from powerbert_tf.reports.acceleration_report import best_constant
from powerbert_tf.reports.verdict import commonest_share
from powerbert_tf.runs.run import Run
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.evaluation import evaluate_model, predict_logits


def evaluate(run: Run, folder: Path | None) -> dict[str, Any]:
    """Runs both models on the dev split and measures them; returns the content of `result.json`."""
    models = {"dense": run.dense_model(), "reduced": run.reduced_model()}
    dev, settings = run.split("dev"), run.settings
    task, tasks = run.task, {"dense": run.task_of("finetune"), "reduced": run.task_of("retrain")}
    logits = {name: predict_logits(model, dev, settings.inference) for name, model in models.items()}
    labels = cast(np.ndarray, dev.labels)
    metrics = {name: compute_metrics(tasks[name], labels, values) for name, values in logits.items()}
    reduction = run.reduction()
    speedup = by_chief(lambda: run.speed_test.compare(models["dense"], models["reduced"]))
    further = {
        split: {
            name: evaluate_model(model, tasks[name], run.split(split), settings.inference)
            for name, model in models.items()
        }
        for split in run.dataset.splits
        if split.startswith("dev_")
    }
    for split, of_models in further.items():
        for name, values in of_models.items():
            say(f"  {name}: {format_metrics(values, split)}")
    result = {
        "metric": task.metrics[0],
        "metrics": metrics["reduced"],
        "dense": {"metrics": metrics["dense"]},
        "reduced": {"metrics": metrics["reduced"]},
        **_certainty(tasks, labels, logits),
        **_calibration(tasks, labels, logits),
        "agreement": agreement(tasks["dense"], logits["dense"], logits["reduced"], tasks["reduced"]),
        **({"further": further} if further else {}),
        "classes": list(task.classes),
        "per_class": per_class(tasks["reduced"], labels, logits["reduced"]),
        **reduction.to_json(),
        "weights": {name: int(model.count_params()) for name, model in models.items()},
        "speedup": {**speedup, "predicted": run.costs.speedup(reduction)},
        "multiply_adds": summarize_cost(
            models["dense"].config.encoder_size,
            reduction.rows,
            dev.lengths,
            settings.inputs.max_seq_length,
            models["reduced"].config.encoder_size if reduction.is_narrowed else None,
        ),
        "examples": len(dev),
    }
    if settings.inference.precision != "float32":
        with computing_in("float32"):
            exact = {
                name: predict_logits(load(), dev, settings.inference)
                for name, load in (("dense", run.dense_model), ("reduced", run.reduced_model))
            }
        result["rounding"] = {
            **{name: describe_rounding(tasks[name], labels, logits[name], exact[name]) for name in models},
            "precision": settings.inference.precision,
            "examples": len(dev),
        }
    return result


def _certainty(tasks: Mapping[str, Task], labels: np.ndarray, logits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a verdict needs beside the metrics, see `verdict.judge`.

    Returns:
        `interval`: of the main metric's difference, reduced minus dense; `commonest`: share of each model's most
        frequent answer; `constant`: the best value of the metric that one answer to everything reaches; 0
        of a correlation.
    """
    answers = {name: predictions_from_logits(tasks[name], values) for name, values in logits.items()}
    pair = tasks["dense"], tasks["reduced"]
    low, high = loss_interval(pair, labels, logits["dense"], logits["reduced"])
    return {
        "interval": [-high, -low],
        "commonest": {name: commonest_share(values) for name, values in answers.items()},
        "constant": 0.0 if pair[0].kind is NUMBER else float(best_constant(pair[0].metrics[0], labels, pair[0])),
    }


def _calibration(tasks: Mapping[str, Task], labels: np.ndarray, logits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`calibration` of each model: its temperature, and the expected calibration error without and with it.

    Regressions have none, and neither have models that are compared with answers of one of them.
    """
    if tasks["dense"].kind is NUMBER or tasks["dense"].is_unlabelled:
        return {}
    found = {}
    for name, task in tasks.items():
        before, after = (calibration_error(logits[name] / by, labels, task.kind) for by in (1.0, task.temperature))
        found[name] = {"temperature": task.temperature, "before": before, "after": after}
        if task.temperature != 1:
            say(f"  {name}: calibration error {before:.4f}, {after:.4f} at temperature {task.temperature:.3g}")
    return {"calibration": found}


def describe_rounding(task: Task, labels: np.ndarray, logits: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Measures how far logits are from those in float32.

    Args:
        task: Task with the metrics.
        labels: `[n]`, or `[n, C]` of a multi-label task.
        logits: In half precision, `[n, C]`.
        exact: In float32, `[n, C]`.

    Returns:
        `float32`: the metrics of `exact`; `difference`: the metrics of `logits` minus those; `predictions`: how many
        differ, None for a regression; `largest`: the largest difference of a logit.
    """
    task = with_thresholds(task, labels, exact)
    metrics, exact_metrics = (compute_metrics(task, labels, values) for values in (logits, exact))
    ours, theirs = (predictions_from_logits(task, values) for values in (logits, exact))
    return {
        "float32": exact_metrics,
        "difference": {name: value - exact_metrics[name] for name, value in metrics.items()},
        "predictions": None if task.is_regression else int(np.sum(~same_answers(ours, theirs))),
        "largest": float(np.max(np.abs(logits - exact))),
    }
