"""A run that has trained its reduced model; the data that it was trained on is not needed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.tasks import PUBLISHED, TASK_FILE, Task
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.result_schema import RESULT_FILE
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.task_file import RUN_FLAGS, checkpoint_flag, described_task, read_task_file, typed_settings
from powerbert_tf.tokenizers.files import load_tokenizer

_STAGE = "retrain"
# Settings that may differ from those in training: where things are, and how a model is run.
_FREE = ("task", "checkpoint", "output_dir", "padding", "precision")


class FinishedRun(Run):
    """A run without data, whose retention configuration is the one that its reduced model was trained with."""

    def reduction(self) -> Reduction:
        return Reduction.from_json(
            self.results.finished(_STAGE),
            self.checkpoint.config.num_hidden_layers,
            self.settings.inputs.max_seq_length,
        )

    @property
    def weights(self) -> Path:
        """The file with the weights of the reduced model."""
        return self.folder.weights(_STAGE)


def find_run(task: str, output_dir: str) -> Path:
    """Finds the folder of a run.

    Args:
        task: The folder, the `task.json` in it, or the name of a task, for `<output_dir>/<task>`.
        output_dir: Folder of runs.

    Raises:
        InputError: There is no run with a trained model.
    """
    if not task:
        raise InputError("--task: missing; expected the name of a task that was trained, or the folder of its run.")
    is_file = task.endswith(".json")
    places = [
        Path(task).parent if is_file else Path(task),
        Path(output_dir, read_task_file(task).name if is_file else task),
    ]
    for place in places:
        if RunFolder(place).result(_STAGE) is not None:
            return place
    raise InputError(
        f"--task={task}: no trained model in {' or '.join(map(str, dict.fromkeys(places)))} ({_STAGE}/result.json); "
        "expected the folder of a finished run, or its name with --output_dir; train first."
    )


def load_finished_run(folder: Path, given: Mapping[str, Any]) -> FinishedRun:
    """Reads the settings, task and tokenizer of a run; its weights are read later.

    `given` holds flags by the names of their fields in `Settings`. Those that the model was trained with cannot change.

    Raises:
        InputError: A file is missing or damaged, or a flag differs.
    """
    result = RunFolder(folder).result(_STAGE)
    if result is None or "retention_configuration" not in result:
        raise InputError(f"{folder}: no trained model; expected {_STAGE}/result.json of a finished run.")
    where = str(folder / _STAGE / RESULT_FILE)
    recorded = typed_settings(
        where, {flag: value for flag, value in result["settings"].items() if flag in RUN_FLAGS}, RUN_FLAGS
    )
    if missing := {"task", "checkpoint", "max_seq_length"} - recorded.keys():
        raise InputError(f"{where}: its settings lack {', '.join(sorted(missing))}; train again.")
    for name, value in recorded.items():
        if name not in _FREE and name in given and value != given[name]:
            raise InputError(
                f"--{flag_name(name)}={given[name]}: {folder} was trained with {value}; leave the flag out, or train a "
                "model of its own with another --output_dir."
            )
    task = _task(folder, recorded.pop("task"))
    checkpoint = find_checkpoint(given.get("checkpoint", checkpoint_flag(recorded["checkpoint"])))
    values = {**recorded, **given, "checkpoint": checkpoint.name}
    values.pop("task", None)
    settings = resolve_settings(task, **values)
    tokenizer = load_tokenizer(checkpoint, settings.inputs.case, settings.inputs.truncation)
    no_data = Dataset(str(result["settings"].get("data", "")), str(folder), {})
    run = FinishedRun(settings, task, checkpoint, tokenizer, no_data, RunFolder(folder))
    run.reduction()  # raises if it does not fit the checkpoint
    return run


def _task(folder: Path, name: str) -> Task:
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = folder / TASK_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; it names the classes and columns of {name}; restore it.")
    file = read_task_file(path)
    # The label column of texts without labels is empty.
    missing = [] if file.data.get("text_column") else ["text_column"]
    missing += [] if "label_column" in file.data else ["label_column"]
    if missing or not (file.classes or file.data.get("regression")):
        raise InputError(f"{path}: lacks {', '.join(missing) or 'classes'}; expected the file that a run writes.")
    return dataclasses.replace(described_task(file), name=name)
