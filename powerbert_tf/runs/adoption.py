"""A classifier that works already, as the start of a run: its head, its classes, its data's labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from powerbert_tf.checkpoints import Checkpoint, find_checkpoint, load_classifier
from powerbert_tf.checkpoints.names import HEAD
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.data.labelled_tables import LabelledTables
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.own_data import OwnData, label_spellings, load_own_data
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.folder import RESULT_FILE
from powerbert_tf.runs.run import Run
from powerbert_tf.training.evaluation import evaluate_model
from powerbert_tf.training.state import WEIGHTS_FILE

_SHOWN_LABELS = 5


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A checkpoint with a head.

    Attributes:
        checkpoint: Where it is.
        num_outputs: C; 1 for a regression.
        classes: Their names, in the order of the logits; empty where nobody named them.
    """

    checkpoint: Checkpoint
    num_outputs: int
    classes: tuple[str, ...]


def find_trained(model: Any, classes: Sequence[str] = ()) -> TrainedClassifier:
    """Finds a classifier that has been trained.

    Args:
        model: As for `checkpoints.find_checkpoint`.
        classes: Names of its classes, in the order of its logits; empty for its own.

    Raises:
        InputError: There is none, it has no head, or `classes` are not as many as its outputs.
    """
    if model is None or (isinstance(model, str) and not model):
        raise InputError("model: none given; expected a classifier of KerasHub, or a folder with a trained one.")
    checkpoint = find_checkpoint(model)
    head = checkpoint.read_weights().get(HEAD[1])
    if head is None:
        raise InputError(
            f"checkpoint {checkpoint.name}: has no head, so it is no trained classifier; fine-tune it first, as "
            "run_glue.py does, or give the classifier instead of its backbone."
        )
    num_outputs = len(head)
    names = tuple(map(str, classes)) or checkpoint.classes
    if (names and num_outputs > 1 and len(names) != num_outputs) or len(set(names)) < len(names):
        raise InputError(
            f"classes: {', '.join(names)}; expected {num_outputs} different names, one for each output of "
            f"{checkpoint.name}, in their order."
        )
    return TrainedClassifier(checkpoint, num_outputs, names if num_outputs > 1 else ())


def load_labeled(
    trained: TrainedClassifier, settings: DataSettings, name: str = "", tables: LabelledTables | None = None
) -> OwnData:
    """Reads a user's data with labels that are the classifier's: names of its classes, or their numbers from 0.

    Raises:
        InputError: As of `own_data.load_own_data`; or the labels are neither.
    """
    if trained.num_outputs == 1:
        return load_own_data(dataclasses.replace(settings, regression=True), name, tables=tables)
    numbers = tuple(map(str, range(trained.num_outputs)))
    found = label_spellings(settings, tables)
    spelled = next((names for names in (trained.classes, numbers) if found & set(names)), None)
    if spelled is None:
        shown = sorted(found)[:_SHOWN_LABELS]
        labels = ", ".join(shown) + (", ..." if len(found) > len(shown) else "")
        known = f"{', '.join(trained.classes)} or " if trained.classes else ""
        raise InputError(
            f"labels: {labels}; expected {known}numbers from 0 to {trained.num_outputs - 1}, the classes of "
            f"{trained.checkpoint.name}; classes= names them, in the order of its outputs."
        )
    own = load_own_data(settings, name, spelled, tables)
    named = trained.classes or numbers  # whichever the data has
    task = dataclasses.replace(own.task, classes=named)
    return dataclasses.replace(own, task=task, dataset=dataclasses.replace(own.dataset, classes=named))


def put_result(run: Run, stage: str, result: dict[str, Any], model: BertClassifier | None = None) -> None:
    """Writes what a stage would leave, its weights, too, of a stage that need not run."""
    settings = run.settings_of(stage)
    with run.folder.writing(stage, settings) as folder:
        if model is not None:
            model.save_weights(folder / WEIGHTS_FILE)
        common = {"task": run.task.name, "data": run.dataset.source, "settings": settings}
        write_json(folder / RESULT_FILE, {**common, **result})


def adopt(run: Run) -> None:
    """Puts the trained weights in the place of the fine-tuned ones, with their dev metrics.

    Raises:
        InputError: The checkpoint is damaged.
    """
    model = load_classifier(run.checkpoint, run.task.num_outputs, run.settings.inputs.max_seq_length)
    metrics = evaluate_model(model, run.task, run.split("dev"), run.settings.inference)
    say(f"  as it is: {format_metrics(metrics)}")
    result = {"metric": run.task.metrics[0], "metrics": metrics, "epoch": 0, "examples": len(run.split("dev"))}
    put_result(run, "finetune", result, model)


def keep_weights(run: Run) -> None:
    """Puts the trained weights in the place of re-trained ones, for a model that is only reduced."""
    searched = run.folder.result("search") or {}
    result = {
        "metric": run.task.metrics[0],
        "metrics": searched["metrics"],
        "metrics_before": searched["metrics"],
        "epoch": 0,
        "examples": len(run.split("dev")),
        "retention_configuration": searched["retention_configuration"],
    }
    put_result(run, "retrain", result, run.dense_model())
