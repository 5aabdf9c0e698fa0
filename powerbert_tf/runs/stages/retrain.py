"""The retrain stage: the reduced model, trained towards the answers of the dense one."""

from pathlib import Path
from typing import Any

from powerbert_tf.runs.run import Run
from powerbert_tf.training.train import retrain_model


def retrain(run: Run, folder: Path) -> dict[str, Any]:
    """Trains the model of the search, or of `--retention_configuration` and its like; returns `result.json`."""
    model = run.searched_model()
    result = retrain_model(model, run.dense_model(), run.training_setup(), folder, "retrain")
    return {**result, **run.thresholds(model), **run.reduction().to_json()}
