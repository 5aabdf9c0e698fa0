"""The retrain stage: the reduced model, trained towards the answers of the dense one."""

from pathlib import Path
from typing import Any

from powerbert_tf.common.reporting import say
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stages.search import restore_searched_weights
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.train import retrain_model


def retrain(run: Run, folder: Path | None) -> dict[str, Any]:
    """Trains the model of the search, or of `--retention_configuration` and its like; returns `result.json`.

    With 0 epochs, the model stays as it is.
    """
    trains = run.settings.training.epochs_retrain > 0
    by_chief(lambda: restore_searched_weights(run))
    model = run.searched_model(own=trains)
    if trains:
        result = retrain_model(model, run.dense_model(), run.training_setup(), folder, "retrain")
    else:
        result = _untrained(run, model)
    run.results.keep("retrain", model, is_saved=trains)
    return {**result, **run.fitted(model), **run.reduction().to_json(), **_promised(run, result)}


def _untrained(run: Run, model: BertClassifier) -> dict[str, Any]:
    """What `result.json` says of a model that is not trained."""
    metrics = run.results.finished("search")["metrics"] if run.settings.search.searches else run.evaluate_once(model)
    return {
        "metric": run.task.metrics[0],
        "metrics": metrics,
        "metrics_before": metrics,
        "epoch": 0,
        "examples": len(run.split("dev")),
    }


def _promised(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """What `--max_loss` asked for and what came out, on the rows that chose."""
    search, main = run.settings.search, run.task.metrics[0]
    if not (search.searches and search.max_loss and run.settings.training.epochs_retrain):
        return {}
    rows = "metrics" if run.choosing == "dev" else f"{run.choosing}_metrics"
    before = run.evaluate_once(run.dense_model(), run.choosing)[main]
    lost = before - result[rows][main]
    label = run.choosing.replace("_", "-")
    missed = "" if lost <= search.max_loss else "; missed: a larger --max_loss, or more --epochs_retrain"
    say(f"  asked: at most {search.max_loss:g} {main} lost; got {lost:.4f} on the {label} rows{missed}")
    return {"asked_loss": search.max_loss, "got_loss": lost}
