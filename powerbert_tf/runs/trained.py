"""A model that an earlier run trained, with its task and tokenizer; the data that it was trained on is not needed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.checkpoints.load import DEFAULT_PACKAGE
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.tasks import PUBLISHED, TASK_FILE, OwnTask, Task
from powerbert_tf.elimination.retention import validate_configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.folder import RESULT_FILE, RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import FIELDS, resolve_settings
from powerbert_tf.runs.task_file import read_task_file, typed_value
from powerbert_tf.tokenizers.files import load_tokenizer

_STAGE = "retrain"
# What may be other than in training: where things are, and how a model is run.
_FREE = ("task", "checkpoint", "output_dir", "padding", "precision")


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """What a run left.

    Attributes:
        run: Its settings, task, checkpoint, tokenizer and folder; without data.
        retention_configuration: What the encoders keep.
    """

    run: Run
    retention_configuration: tuple

    def model(self) -> BertClassifier:
        """The reduced model."""
        return self.run.load_model(_STAGE, retention_configuration=self.retention_configuration)

    @property
    def weights(self) -> Path:
        """File of its weights."""
        return self.run.folder.weights(_STAGE)


def find_run(task: str, output_dir: str) -> Path:
    """The folder of the run that `--task` names: by itself, by its `task.json`, or `<output_dir>/<task>`.

    Raises:
        InputError: None of them is one.
    """
    if not task:
        raise InputError("--task: missing; expected the name of a task that was trained, or the folder of its run.")
    places = [Path(task).parent if task.endswith(".json") else Path(task), Path(output_dir, task)]
    if task.endswith(".json"):
        places[1] = Path(output_dir, read_task_file(task).name)
    for place in places:
        if RunFolder(place).result(_STAGE) is not None:
            return place
    raise InputError(
        f"--task={task}: no trained model in {' or '.join(map(str, dict.fromkeys(places)))} ({_STAGE}/result.json); "
        "expected the folder of a finished run, or its name with --output_dir; train first."
    )


def load_trained(folder: Path, given: Mapping[str, Any]) -> Trained:
    """Reads what a run left; its weights are read later.

    Args:
        folder: Of the run.
        given: Fields of `Settings` that flags name. Those that the model was trained with cannot be changed.

    Raises:
        InputError: Something is missing or damaged, or a flag differs.
    """
    result = RunFolder(folder).result(_STAGE)
    if result is None or "retention_configuration" not in result:
        raise InputError(f"{folder}: no trained model; expected {_STAGE}/result.json of a finished run.")
    recorded = dict(result["settings"])
    where = str(folder / _STAGE / RESULT_FILE)
    for field in FIELDS.values():
        if (flag := flag_name(field.name)) in recorded:
            recorded[flag] = typed_value(where, flag, recorded[flag], field.type)
    if missing := {"task", "checkpoint", "max_seq_length"} - recorded.keys():
        raise InputError(f"{where}: its settings lack {', '.join(sorted(missing))}; train again.")
    fields = {flag_name(field.name): field.name for field in FIELDS.values()}
    for flag, name in fields.items():
        if name not in _FREE and name in given and flag in recorded and recorded[flag] != given[name]:
            raise InputError(
                f"--{flag}={given[name]}: {folder} was trained with {recorded[flag]}; leave the flag out, or train a "
                "model of its own with another --output_dir."
            )
    task = _task(folder, recorded["task"])
    checkpoint = find_checkpoint(given.get("checkpoint", _checkpoint(recorded["checkpoint"])))
    kept = {fields[flag]: value for flag, value in recorded.items() if flag in fields}
    values = {**kept, **given, "checkpoint": checkpoint.name}
    values.pop("task", None)
    settings = resolve_settings(task, **values)
    tokenizer = load_tokenizer(checkpoint, settings.inputs.case, settings.inputs.truncation)
    nothing = Dataset(str(recorded.get("data", "")), str(folder), {})
    run = Run(settings, task, checkpoint, tokenizer, tokenizer.lower_case, nothing, RunFolder(folder))
    configuration = validate_configuration(
        result["retention_configuration"], checkpoint.config.num_hidden_layers, settings.inputs.max_seq_length
    )
    return Trained(run, configuration)


def _checkpoint(recorded: str) -> str:
    """What `--checkpoint` was."""
    return "" if recorded.startswith(f"{DEFAULT_PACKAGE}==") else recorded


def _task(folder: Path, name: str) -> Task:
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = folder / TASK_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; it names the classes and columns of {name}; restore it.")
    file = read_task_file(path)
    missing = [key for key in ("text_column", "label_column") if not file.data.get(key)]
    if missing or not (file.classes or file.data.get("regression")):
        raise InputError(f"{path}: lacks {', '.join(missing) or 'classes'}; expected the file that a run leaves.")
    pair = file.data.get("text_pair_column")
    return OwnTask(
        name=name,
        classes=file.classes,
        metrics=tuple(str(file.settings.get("metric", "")).split(",")),
        text_columns=(file.data["text_column"], *([pair] if pair else [])),
        label_column=file.data["label_column"],
        epochs=int(file.settings.get("epochs", 1)),
    )
