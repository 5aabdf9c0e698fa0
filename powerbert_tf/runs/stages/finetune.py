"""The finetune stage: the dense model, trained on the task, or a trained classifier as it is."""

from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.runs.run import Run
from powerbert_tf.training.train import Recipe, train


def finetune(run: Run, folder: Path | None) -> dict[str, Any]:
    """Trains the checkpoint, with a new head unless it has one for these classes.

    Returns:
        The content of `result.json`.
    """
    if run.adopts:
        return _adopt(run)
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
    run.results.keep("finetune", model, is_saved=True)
    return {**result, **run.fitted(model)}


def _adopt(run: Run) -> dict[str, Any]:
    """The checkpoint's own classifier, with its dev metrics; without labels, of its answers with themselves."""
    model = run.original
    metrics = run.evaluate(model)
    fitted = run.fitted(model)
    del vars(run)["original"]  # the results have it now
    run.results.keep("finetune", model)
    say(f"  the classifier's own weights take the place of fine-tuned ones: {format_metrics(metrics)}")
    return {
        "metric": run.task.metrics[0],
        "metrics": metrics,
        "epoch": 0,
        "examples": len(run.split("dev")),
        "adopted": True,
        **fitted,
    }
