"""A trained classifier as the start of a run: its head, its classes, and the labels of its data."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from powerbert_tf.checkpoints import Checkpoint, find_checkpoint
from powerbert_tf.checkpoints.names import HEAD
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER
from powerbert_tf.data.label_lists import NO_SEPARATOR, read_list
from powerbert_tf.data.labelled_tables import LabelledTables
from powerbert_tf.data.labels import NO_LABEL
from powerbert_tf.data.own_data import OwnData, label_spellings, load_own_data, load_texts
from powerbert_tf.data.settings import DataSettings

_SHOWN_LABELS = 5


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A checkpoint with a head.

    Attributes:
        checkpoint: The checkpoint.
        num_outputs: C; 1 for a regression.
        classes: Names of the classes, in the order of the logits; empty if they have none.
        is_multi_label: Whether any number of the classes can be right at once.
    """

    checkpoint: Checkpoint
    num_outputs: int
    classes: tuple[str, ...]
    is_multi_label: bool = False


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
    weights = checkpoint.read_weights()
    head = weights.get(HEAD[1])
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
    held, read = [weights], checkpoint.read_weights
    checkpoint = dataclasses.replace(checkpoint, read_weights=lambda: held.pop() if held else read())  # once, usually
    return TrainedClassifier(checkpoint, num_outputs, names if num_outputs > 1 else (), checkpoint.is_multi_label)


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
    if trained.is_multi_label:
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
    several = LABELS if trained.is_multi_label else CLASSES
    kind = several if trained.num_outputs > 1 else NUMBER
    numbers = tuple(map(str, range(trained.num_outputs)))
    return load_texts(settings, kind, () if kind is NUMBER else trained.classes or numbers, name, tables)


def require_disagreement(trained: TrainedClassifier, has_labels: bool, has_max_loss: bool) -> None:
    """Checks that a share of answers that may change can be the target.

    Raises:
        InputError: The data has labels, the model answers other than one class, or another loss is given.
    """
    if has_labels:
        raise InputError("max_disagreement: the data has labels; expected max_loss, or texts without labels.")
    if trained.num_outputs == 1 or trained.is_multi_label:
        raise InputError("max_disagreement: is for a model of one class of several; expected max_loss.")
    if has_max_loss:
        raise InputError("max_disagreement and max_loss are given; expected one of them.")


def _require_kind(trained: TrainedClassifier, has_lists: bool) -> None:
    """Refuses rows with any number of labels for a model that answers one class."""
    if has_lists and not trained.is_multi_label:
        raise InputError(
            f"labels: several per row; {trained.checkpoint.name} answers one class of {trained.num_outputs}. Expected "
            "one label per row, or a model whose config.json has the problem_type multi_label_classification."
        )


def _name_other_numbers(classes: Sequence[str]) -> bool:
    """Whether classes are named by numbers, such as `1 star`, that are not those from 0 in their order."""
    found = [re.findall(r"\d+", name) for name in classes]
    named = [int(numbers[0]) for numbers in found if len(numbers) == 1]
    return bool(classes) and len(set(named)) == len(classes) and named != list(range(len(classes)))
