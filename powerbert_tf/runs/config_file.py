"""What a run was made with, beside its settings: versions, and the files of the checkpoint.

`--config=config.json`: the settings of an earlier run, to repeat it.
"""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import DEFAULT_PACKAGE, Checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.common.flags import flag_name
from powerbert_tf.common.reporting import say
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.runs.settings import FIELDS
from powerbert_tf.runs.task_file import typed_value
from powerbert_tf.search.settings import TARGETS

_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "numpy", "scipy", "safetensors")
COMPARED = ("data_sha256", "checkpoint_sha256", "versions")  # with an earlier run that is repeated


def provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """JSON values by name, for `config.json`."""
    return {"checkpoint_sha256": checkpoint.fingerprint(), "versions": _versions()}


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of data, checkpoint and versions is not as it was, a line each; what was not recorded is passed over.

    Args:
        recorded: Of the earlier run.
        now: Of this one.
    """
    lines = []
    for name in COMPARED:
        before, after = recorded.get(name), now.get(name)
        if not isinstance(before, dict) or not isinstance(after, dict):
            before, after = {"": before}, {"": after}
        for key in before.keys() & after.keys():
            if before[key] not in (None, after[key]):
                lines.append(f"{' '.join(filter(None, (name, key)))} was {before[key]}, is {after[key]}")
    return sorted(lines)


def _versions() -> dict[str, str]:
    installed = {}
    for package in _PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # such as tensorflow-cpu in place of tensorflow
            continue
    return {"python": platform.python_version(), **installed}


_OF_DATA = ("data", *COMPARED)  # written down, and no flags
OWN_DATA = "own_data"  # whether `task.json` beside it says where the data is


@dataclasses.dataclass(frozen=True)
class Recorded:
    """An earlier run.

    Attributes:
        settings: Fields of `Settings`, all that it recorded.
        others: What is no flag: hashes and versions.
    """

    settings: dict[str, Any]
    others: dict[str, Any]


def read_config(path: str | os.PathLike) -> Recorded:
    """Reads the `config.json` of a run.

    Raises:
        InputError: It cannot be read, or has a key or a value that is none; the message names it.
    """
    where = f"--config={path}"
    try:
        content = read_object(Path(path), encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); expected the config.json of a run.") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if "task" not in content:
        raise InputError(f"{where}: no configuration; expected the config.json of a run, an object with a task.")
    fields = {flag_name(field.name): field for field in FIELDS.values()}
    others = {key: content.pop(key) for key in _OF_DATA if key in content}
    own_data = content.pop(OWN_DATA, False)
    unknown = sorted(content.keys() - fields.keys())
    if unknown:
        raise InputError(f"{where}: no such key: {', '.join(unknown)}; expected the names of flags.")
    settings = {fields[key].name: typed_value(where, key, content[key], fields[key].type) for key in content}
    if own_data is True:
        settings["task"] = str(Path(path).parent / TASK_FILE)
    if settings.get("checkpoint", "").startswith(f"{DEFAULT_PACKAGE}=="):
        settings["checkpoint"] = ""
    return Recorded(settings, others)


def repeated(path: str | os.PathLike, given: Mapping[str, Any]) -> tuple[dict[str, Any], Recorded]:
    """Flags as if those of an earlier run had been given, too; what is given now goes before it, and is told.

    Args:
        path: Its `config.json`.
        given: Flags by the names of their fields; None where one is not given.

    Raises:
        InputError: The file cannot be read.
    """
    recorded = read_config(path)
    now = {name: value for name, value in given.items() if value is not None}
    before = dict(recorded.settings)
    if any(name in now for name in (*TARGETS, "retention_configuration")):
        for name in (*TARGETS, "retention_configuration"):  # only one of them may be given
            before.pop(name, None)
    for name, value in sorted(now.items()):
        earlier = recorded.settings.get(name)
        if value != earlier:
            say(f"--config: {flag_name(name)} was {earlier!r}, is {value!r}")
    return {**given, **before, **now}, recorded
