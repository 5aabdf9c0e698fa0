"""Re-training a reduced model, towards the answers of the model that it came from."""

import dataclasses
from pathlib import Path
from typing import Any

from powerbert_tf.batches.batching import EncodedSplit
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.training.loop import Recipe, evaluate_model, predict_logits, task_loss, train
from powerbert_tf.training.losses import distillation_loss
from powerbert_tf.training.settings import TrainingSettings


def retrain_model(
    model: BertClassifier,
    dense: BertClassifier,
    task: Task,
    train_split: EncodedSplit,
    dev_split: EncodedSplit,
    settings: TrainingSettings,
    inference: InferenceSettings,
    folder: Path,
    title: str,
) -> dict[str, Any]:
    """Trains a reduced model and keeps its best epoch; the one before training where none is better.

    Args:
        model: The reduced model; afterwards it holds the kept weights.
        dense: The fine-tuned model, the teacher. Its weights must not be the model's own.
        task: Loss and metrics.
        train_split: With labels, which `settings.distillation` replaces by the teacher's logits.
        dev_split: With labels.
        settings: Rate, epochs, distillation and so on.
        inference: How models are evaluated.
        folder: Of `model.weights.h5` and `log.jsonl`.
        title: Of the progress bar.

    Returns:
        For `result.json`.
    """
    before = evaluate_model(model, task, dev_split, inference)
    say(f"  before re-training: {format_metrics(before)}")
    distills = settings.distillation != "none"
    recipe = Recipe(
        title=title,
        rate=settings.learning_rate_retrain,
        epochs=settings.epochs_retrain,
        loss=distillation_loss(settings.distillation) if distills else task_loss(task),
        start=before,
    )
    if distills:  # computed once, as the teacher does not change
        train_split = dataclasses.replace(train_split, labels=predict_logits(dense, train_split, inference))
    outcome = train(model, task, train_split, dev_split, settings, inference, folder, recipe)
    if outcome.epoch == 0:
        say("  not better than without re-training: kept as it was")
    return {
        "metric": task.metrics[0],
        "metrics": outcome.metrics,
        "metrics_before": before,
        "epoch": outcome.epoch,
        "examples": len(dev_split),
        "train_examples": len(train_split),
    }
