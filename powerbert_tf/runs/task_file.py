"""`task.json`: what a task is, written once; the keys are names of flags, and `classes`."""

import dataclasses
import difflib
import json
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
from powerbert_tf.runs.settings import FIELDS, Settings

_PATHS = ("train_file", "dev_file", "test_file")
_DATA = {field.name: field for field in dataclasses.fields(DataSettings)}
_OF_TASK = ("max_seq_length", "truncation", "class_weights", "epochs", "batch_size", "learning_rate")


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """The content of a `task.json`.

    Attributes:
        name: Of the task; empty for that of the data.
        classes: Class names, in the order of the logits; empty to find them in the training data.
        data: Fields of `DataSettings`.
        settings: Fields of `Settings`.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_task_file(path: str | os.PathLike) -> TaskFile:
    """Reads a `task.json`; the files that it names are relative to its folder.

    Raises:
        InputError: It cannot be read, or has a key or a value that is none; the message names it.
    """
    try:
        content = read_object(Path(path), encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"--task={path}: cannot be read ({error.strerror}); expected a JSON file.") from None
    except ValueError as error:
        raise InputError(f"--task={path}: {error}") from None
    name, classes = content.pop("name", ""), content.pop("classes", [])
    if not isinstance(name, str):
        raise InputError(f"--task={path}: name is {name!r}; expected a text.")
    if not isinstance(classes, list) or not all(isinstance(one, str) and one.strip() == one != "" for one in classes):
        raise InputError(f"--task={path}: classes are {classes!r}; expected a list of names.")
    if len(set(classes)) < len(classes) or len(classes) == 1:
        raise InputError(f"--task={path}: classes are {', '.join(classes)}; expected two or more different ones.")
    fields = {flag_name(field.name): field for field in (*_DATA.values(), *FIELDS.values()) if field.name != "task"}
    data: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for key, value in content.items():
        if key not in fields:
            known = sorted({"name", "classes", *fields})
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; expected of {', '.join(known)}"
            raise InputError(f"--task={path}: no such key: {key}{hint}")
        field = fields[key]
        group = data if field.name in _DATA else settings
        group[field.name] = typed_value(f"--task={path}", key, value, field.type)
    for key in _PATHS:
        if data.get(key):
            data[key] = ",".join(str(Path(path).parent / part.strip()) for part in data[key].split(","))
    return TaskFile(name, tuple(classes), data, settings)


def typed_value(where: str, key: str, value: Any, kind: Any) -> Any:
    """A JSON value as the type of a field.

    Args:
        where: What the message begins with.
        key: The value's.
        value: The value.
        kind: str, int, float or bool.

    Raises:
        InputError: It is of another type.
    """
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1023:
        return float(value)
    if type(value) is not kind:
        names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise InputError(f"{where}: {key} is {json.dumps(value)}; expected {names[kind]}.")
    if kind is str and "\0" in value:
        raise InputError(f"{where}: {key} is {json.dumps(value)}; expected a text without the character NUL.")
    return value


def describe_task(task: Task, settings: InputSettings, lower_case: bool) -> dict[str, Any]:
    """What travels with a model: how to read its inputs and answers, and nothing of where its data was.

    Args:
        task: The task.
        settings: N and truncation.
        lower_case: Whether texts are lower-cased.
    """
    columns = {}
    if isinstance(task, OwnTask):
        columns = {"text_column": task.text_columns[0], "label_column": task.label_column}
        if task.is_pair:
            columns["text_pair_column"] = task.text_columns[1]
    return {
        "name": task.name,
        "classes": list(task.classes),
        "regression": task.is_regression,
        **columns,
        "metric": ",".join(task.metrics),
        "max_seq_length": settings.max_seq_length,
        "truncation": settings.truncation,
        "case": "uncased" if lower_case else "cased",
    }


def repeat_task(task: Task, settings: Settings, data: DataSettings, lower_case: bool) -> dict[str, Any]:
    """What `--task=<folder>/task.json` needs to do the same again, from any folder."""
    given = {name: value for name, value in dataclasses.asdict(data).items() if value}
    for key in _PATHS:
        if key in given:
            found = [given[key]] if os.path.exists(given[key]) else given[key].split(",")
            given[key] = ",".join(os.path.abspath(part.strip()) for part in found)
    return {
        **describe_task(task, settings.inputs, lower_case),
        **given,
        **{name: settings.flat()[name] for name in _OF_TASK},
    }
