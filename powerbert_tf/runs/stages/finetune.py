"""The finetune stage: the dense model, trained on the task."""

from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.runs.run import Run
from powerbert_tf.training.train import Recipe, train


def finetune(run: Run, folder: Path) -> dict[str, Any]:
    """Trains the checkpoint, with a new head unless it has one for these classes.

    Returns:
        The content of `result.json`.
    """
    task = run.task
    model = load_classifier(
        run.checkpoint,
        task.num_outputs,
        run.settings.inputs.max_seq_length,
        choices=task.choices,
        classes=() if task.choices > 1 else task.classes,
        kind=task.kind,
    )
    setup = run.training_setup()
    result = setup.result(train(model, setup, folder, Recipe(title="finetune")))
    return {**result, **run.fitted(model)}
