"""The finetune stage: the dense model, trained on the task."""

from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.runs.run import Run
from powerbert_tf.training.loop import Recipe, task_loss, train


def finetune(run: Run, folder: Path) -> dict[str, Any]:
    """Trains the checkpoint with a new head; returns what `result.json` says."""
    task = run.task
    model = load_classifier(run.checkpoint, task.num_outputs, run.settings.inputs.max_seq_length, choices=task.choices)
    recipe = Recipe(
        title="finetune",
        rate=run.settings.training.learning_rate,
        epochs=run.settings.training.epochs,
        loss=task_loss(run.task),
    )
    train_split, dev_split = run.split("train"), run.split("dev")
    outcome = train(
        model, run.task, train_split, dev_split, run.settings.training, run.settings.inference, folder, recipe
    )
    return {
        "metric": run.task.metrics[0],
        "metrics": outcome.metrics,
        "epoch": outcome.epoch,
        "examples": len(dev_split),
        "train_examples": len(train_split),
    }
