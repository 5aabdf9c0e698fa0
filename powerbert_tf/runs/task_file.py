"""`task.json`: what a task is, and how JSON files spell settings. Its keys are flags, and facts about a model."""

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.batches.settings import InputSettings
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.common.flags import flag_name
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import OwnTask, Task
from powerbert_tf.models.architectures import DEFAULT_PACKAGE
from powerbert_tf.runs.settings import FIELDS, Settings

# Fields by the names of their flags.
RUN_FLAGS = {flag_name(name): field for name, field in FIELDS.items()}
DATA_FLAGS = {field.name: field for field in dataclasses.fields(DataSettings)}
_TYPES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_PATHS = ("train_file", "dev_file", "test_file")
_OF_EXPORTS = "pair_truncation"  # a fact about the checkpoint, repeated for other programs
_REPEATED = ("max_seq_length", "truncation", "class_weights", "epochs", "batch_size", "learning_rate")


def read_settings_file(where: str, path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file with settings; `where` is the flag that names it, for messages.

    Raises:
        InputError: It cannot be read, or holds no JSON object.
    """
    try:
        return read_object(Path(path), encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); expected a JSON file.") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def typed_settings(where: str, content: Mapping[str, Any], fields: Mapping[str, dataclasses.Field]) -> dict[str, Any]:
    """Checks values of the JSON file `where`, by the names of flags, against the types of their `fields`.

    Returns:
        Values by the names of fields.

    Raises:
        InputError: A value has the wrong type.
    """
    values = {}
    for key, value in content.items():
        kind: Any = fields[key].type
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1023:
            value = float(value)
        if type(value) is not kind:
            raise InputError(f"{where}: {key} is {json.dumps(value)}; expected {_TYPES[kind]}.")
        if kind is str and "\0" in value:
            raise InputError(f"{where}: {key} is {json.dumps(value)}; expected a text without the character NUL.")
        values[fields[key].name] = value
    return values


def checkpoint_flag(recorded: str) -> str:
    """The value of `--checkpoint` for the name of a checkpoint in a result; empty for the default."""
    return "" if recorded.startswith(f"{DEFAULT_PACKAGE}==") else recorded


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """The content of a `task.json`.

    Attributes:
        name: Name of the task; empty for that of the data.
        classes: Class names, in the order of the logits; empty to find them in the training data.
        thresholds: Least probability of each label to be an answer, of an exported model; each training finds its own.
        temperature: What logits are divided by, in the same way.
        data: Fields of `DataSettings`.
        settings: Fields of `Settings`.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_task_file(path: str | os.PathLike) -> TaskFile:
    """Reads a `task.json`. Paths in it are relative to its folder.

    Raises:
        InputError: The file cannot be read, or has an unknown key or a wrong value; the message names it.
    """
    where = f"--task={path}"
    content = read_settings_file(where, path)
    name, classes, thresholds = content.pop("name", ""), content.pop("classes", []), content.pop("thresholds", [])
    temperature = content.pop("temperature", 1.0)
    content.pop(_OF_EXPORTS, None)
    if not isinstance(name, str):
        raise InputError(f"{where}: name is {name!r}; expected a text.")
    if not isinstance(classes, list) or not all(isinstance(one, str) and one.strip() == one != "" for one in classes):
        raise InputError(f"{where}: classes are {classes!r}; expected a list of names.")
    if len(set(classes)) < len(classes) or len(classes) == 1:
        raise InputError(f"{where}: classes are {', '.join(classes)}; expected two or more different ones.")
    if not isinstance(thresholds, list) or not all(isinstance(one, float) and 0 <= one <= 1 for one in thresholds):
        raise InputError(f"{where}: thresholds are {thresholds!r}; expected a list of probabilities.")
    if thresholds and len(thresholds) != len(classes):
        raise InputError(f"{where}: {len(thresholds)} thresholds for {len(classes)} classes; expected one each.")
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not 0 < temperature < math.inf:
        raise InputError(f"{where}: temperature is {temperature!r}; expected a number above 0, such as 1.")
    fields = {key: field for key, field in {**DATA_FLAGS, **RUN_FLAGS}.items() if key != "task"}
    for key in sorted(content.keys() - fields.keys()):
        known = sorted({"name", "classes", "thresholds", "temperature", *fields})
        nearest = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(known)}"
        raise InputError(f"{where}: no such key: {key}; {hint}")
    values = typed_settings(where, content, fields)
    data = {name: values.pop(name) for name in DATA_FLAGS if name in values}
    for key in _PATHS:
        if data.get(key):
            data[key] = ",".join(str(Path(path).parent / part.strip()) for part in data[key].split(","))
    return TaskFile(name, tuple(classes), tuple(thresholds), temperature, data, values)


def described_task(file: TaskFile) -> OwnTask:
    """The task that the `task.json` of a run, or of an exported model, describes."""
    pair = file.data.get("text_pair_column")
    return OwnTask(
        name=file.name,
        classes=file.classes,
        metrics=tuple(str(file.settings.get("metric", "")).split(",")),
        text_columns=(file.data.get("text_column", ""), *([pair] if pair else [])),
        label_column=file.data.get("label_column", ""),
        label_separator=file.data.get("label_separator", ""),
        is_multi_label=bool(file.data.get("multi_label")),
        thresholds=file.thresholds,
        temperature=file.temperature,
        epochs=int(file.settings.get("epochs", 1)),
    )


def describe_task(task: Task, settings: InputSettings, lower_case: bool, pair_truncation: str = "") -> dict[str, Any]:
    """The `task.json` of an exported model: how to read its inputs and answers, but not where its data was.

    `pair_truncation` is the tokenizer's, for pairs of texts; a run finds it in its checkpoint.
    """
    columns: dict[str, str] = {}
    if isinstance(task, OwnTask):
        columns = {"text_column": task.text_columns[0], "label_column": task.label_column}
        if task.is_pair:
            columns["text_pair_column"] = task.text_columns[1]
        if task.label_separator:
            columns["label_separator"] = task.label_separator
    several: dict[str, Any] = {"multi_label": True} if task.is_multi_label else {}
    if task.thresholds:
        several["thresholds"] = list(task.thresholds)
    if task.temperature != 1:
        several["temperature"] = task.temperature
    return {
        "name": task.name,
        "classes": list(task.classes),
        "regression": task.is_regression,
        **several,
        **columns,
        "metric": ",".join(task.metrics),
        "max_seq_length": settings.max_seq_length,
        "truncation": settings.truncation,
        "case": "uncased" if lower_case else "cased",
        **({_OF_EXPORTS: pair_truncation} if pair_truncation else {}),
    }


def repeat_task(task: Task, settings: Settings, data: DataSettings, lower_case: bool) -> dict[str, Any]:
    """The `task.json` of a run, which `--task=<folder>/task.json` repeats from any working directory."""
    given = {name: value for name, value in dataclasses.asdict(data).items() if value}
    for key in _PATHS:
        if key in given:
            found = [given[key]] if os.path.exists(given[key]) else given[key].split(",")
            given[key] = ",".join(os.path.abspath(part.strip()) for part in found)
    flat = settings.flat()
    return {
        **describe_task(task, settings.inputs, lower_case),
        **given,
        **{name: flat[name] for name in _REPEATED},
    }
