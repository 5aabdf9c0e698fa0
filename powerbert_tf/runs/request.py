"""What the command line asks for: the flags, a `task.json`, and the user's own data that they name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.own_data import OwnData, load_own_data
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.runs.settings import Settings, resolve_settings
from powerbert_tf.runs.task_file import TaskFile, read_task_file


def read_request(given: Mapping[str, Any]) -> tuple[Settings, OwnData | None]:
    """Resolves flags; reads the user's own data where there is some, as the settings depend on it.

    Args:
        given: Values of the fields of `Settings` and `DataSettings` by name; None for a flag that is not given. A flag
            goes before the same key of a `task.json`.

    Returns:
        The settings, and the data; None for a GLUE task.

    Raises:
        InputError: A flag, the `task.json` or a file of the data.
    """
    flags = {name: value for name, value in given.items() if value is not None}
    name = flags.pop("task", "")
    file = read_task_file(name) if name.endswith(".json") else TaskFile(name)
    data_fields = {field.name for field in dataclasses.fields(DataSettings)}
    in_flags = {name: value for name, value in flags.items() if name in data_fields}
    data = DataSettings(**{**file.data, **in_flags})
    settings = {**file.settings, **{name: value for name, value in flags.items() if name not in data_fields}}
    if data.is_given:
        own = load_own_data(data, file.name, file.classes)
        if settings.get("metric") == ",".join(own.task.metrics):
            # As the `task.json` of a run tells what was inferred; said or inferred, it is the same setting.
            del settings["metric"]
        return resolve_settings(own.task, **settings), own
    if in_flags:
        raise InputError(
            f"--{next(iter(in_flags))}: is for data of your own; expected --train_file or --tfds_name, too."
        )
    if not file.name:
        raise InputError("--task: missing; expected a GLUE task, such as --task=MRPC, or --train_file with your data.")
    return resolve_settings(file.name, **settings), None
