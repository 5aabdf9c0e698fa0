"""A trained classifier as the start of a run: its head, its classes, and the labels of its data."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, cast

from powerbert_tf.checkpoints import Checkpoint, find_checkpoint, load_classifier
from powerbert_tf.checkpoints.names import HEAD
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER
from powerbert_tf.data.label_lists import NO_SEPARATOR, read_list
from powerbert_tf.data.labelled_tables import LabelledTables
from powerbert_tf.data.labels import NO_LABEL
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.own_data import OwnData, label_spellings, load_own_data, load_texts
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import OwnTask
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stage_runner import write_stage

_SHOWN_LABELS = 5


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A checkpoint with a head.

    Attributes:
        checkpoint: The checkpoint.
        num_outputs: C; 1 for a regression.
        classes: Names of the classes, in the order of the logits; empty if they have none.
    """

    checkpoint: Checkpoint
    num_outputs: int
    classes: tuple[str, ...]


def find_trained_classifier(model: Any, classes: Sequence[str] = ()) -> TrainedClassifier:
    """Finds a classifier that has been trained.

    Args:
        model: As for `checkpoints.find_checkpoint`.
        classes: Names of its classes, in the order of its logits; empty for those that the model has.

    Raises:
        InputError: There is no model, it has no head, or it has another number of outputs than `classes`.
    """
    if model is None or (isinstance(model, str) and not model):
        raise InputError("model: none given; expected a KerasHub classifier, or a folder with a trained one.")
    checkpoint = find_checkpoint(model)
    head = checkpoint.read_weights().get(HEAD[1])
    if head is None:
        raise InputError(
            f"checkpoint {checkpoint.name}: has no head, so it is not a trained classifier; fine-tune it first, such "
            "as with run_glue.py, or give the classifier instead of its backbone."
        )
    if checkpoint.problem:
        raise InputError(
            f"checkpoint {checkpoint.name}: its head answers {checkpoint.problem}; expected one class of several, any "
            "number of several labels, or one number."
        )
    num_outputs = len(head)
    names = tuple(map(str, classes)) or checkpoint.classes
    if (names and num_outputs > 1 and len(names) != num_outputs) or len(set(names)) < len(names):
        raise InputError(
            f"classes: {', '.join(names)}; expected {num_outputs} different names, one for each output of "
            f"{checkpoint.name}, in the order of its outputs."
        )
    return TrainedClassifier(checkpoint, num_outputs, names if num_outputs > 1 else ())


def load_labeled(
    trained: TrainedClassifier, settings: DataSettings, name: str = "", tables: LabelledTables | None = None
) -> OwnData:
    """Reads a user's data, whose labels are names of the classifier's classes, or their numbers from 0.

    Raises:
        InputError: See `own_data.load_own_data`; or the labels are neither names nor numbers.
    """
    if trained.num_outputs == 1:
        return load_own_data(dataclasses.replace(settings, regression=True), name, tables=tables)
    numbers = tuple(map(str, range(trained.num_outputs)))
    if trained.checkpoint.is_multi_label:
        settings = dataclasses.replace(settings, multi_label=True)
    else:
        settings = dataclasses.replace(settings, label_separator=settings.label_separator or NO_SEPARATOR)
    found, names = label_spellings(settings, tables)
    _require_kind(trained, any(read_list(one) is not None for one in found))
    # Numbers are taken only if all labels are: a rating from 1 to 5 is no number of a class from 0. Of names, some are
    # enough, as the rows of the others are then named.
    if found & set(trained.classes):
        spelled = trained.classes
    elif found.difference(NO_LABEL) <= set(numbers) and not _name_other_numbers(trained.classes):
        spelled = numbers
    elif not trained.classes and len(names) == trained.num_outputs:
        spelled = tuple(names)  # of the numbers, which a file of `datasets` has
    else:
        shown = sorted(found)[:_SHOWN_LABELS]
        labels = ", ".join(shown) + (", ..." if len(found) > len(shown) else "")
        known = f"{', '.join(trained.classes)} or " if trained.classes else ""
        raise InputError(
            f"labels: {labels}; expected {known}numbers from 0 to {trained.num_outputs - 1}, the classes of "
            f"{trained.checkpoint.name}; classes= names them, in the order of its outputs."
        )
    own = load_own_data(settings, name, spelled, tables)
    _require_kind(trained, own.task.is_multi_label)
    named = trained.classes or spelled  # whichever of them the data has
    task = dataclasses.replace(own.task, classes=named)
    return dataclasses.replace(own, task=task, dataset=dataclasses.replace(own.dataset, classes=named))


def load_unlabelled(
    trained: TrainedClassifier, settings: DataSettings, name: str = "", tables: LabelledTables | None = None
) -> OwnData:
    """Reads texts for which the classifier's own answers are the labels.

    Raises:
        InputError: See `own_data.load_texts`.
    """
    several = LABELS if trained.checkpoint.is_multi_label else CLASSES
    kind = several if trained.num_outputs > 1 else NUMBER
    numbers = tuple(map(str, range(trained.num_outputs)))
    return load_texts(settings, kind, () if kind is NUMBER else trained.classes or numbers, name, tables)


def _require_kind(trained: TrainedClassifier, has_lists: bool) -> None:
    """Refuses rows with any number of labels for a model that answers one class."""
    if has_lists and not trained.checkpoint.is_multi_label:
        raise InputError(
            f"labels: several per row; {trained.checkpoint.name} answers one class of {trained.num_outputs}. Expected "
            "one label per row, or a model whose config.json has the problem_type multi_label_classification."
        )


def _name_other_numbers(classes: Sequence[str]) -> bool:
    """Whether classes are named by numbers, such as `1 star`, that are not those from 0 in their order."""
    found = [re.findall(r"\d+", name) for name in classes]
    named = [int(numbers[0]) for numbers in found if len(numbers) == 1]
    return bool(classes) and len(set(named)) == len(classes) and named != list(range(len(classes)))


def adopt_weights(run: Run) -> Run:
    """Writes the trained weights and their dev metrics as if `finetune` had run.

    Returns:
        The run; of unlabelled texts, with the answers of these weights as labels.

    Raises:
        InputError: The checkpoint is damaged.
    """
    length = run.settings.inputs.max_seq_length
    model = load_classifier(run.checkpoint, run.task.num_outputs, length, kind=run.task.kind)
    if cast(OwnTask, run.task).is_unlabelled:
        run = run.answered(model)
    metrics = run.evaluate(model)
    say(f"  original: {format_metrics(metrics)}")
    write_stage(run, "finetune", {**_untrained(run, metrics), **run.fitted(model)}, model)
    return run


def keep_weights(run: Run) -> None:
    """Writes the weights as if `retrain` had run, for a model that is not re-trained."""
    searched = run.folder.finished("search")
    metrics = searched["metrics"]
    model = run.searched_model()
    result = {
        **_untrained(run, metrics),
        "metrics_before": metrics,
        **run.fitted(model),
        **run.reduction().to_json(),
    }
    write_stage(run, "retrain", result, model)


def keep_everything(run: Run) -> None:
    """Writes a configuration that eliminates nothing as if `search` had found it."""
    result = {
        **_untrained(run, run.evaluate(run.dense_model())),
        "search_method": run.settings.search.search_method,
        "retention_configuration": [1.0] * run.checkpoint.config.num_hidden_layers,
    }
    write_stage(run, "search", result)


def _untrained(run: Run, metrics: dict[str, float]) -> dict[str, Any]:
    return {"metric": run.task.metrics[0], "metrics": metrics, "epoch": 0, "examples": len(run.split("dev"))}
