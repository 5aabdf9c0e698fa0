"""`config.json`: the settings of a run, its checkpoint's hash and versions of packages; `--config` repeats a run."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.common.reporting import say
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.runs.task_file import RUN_FLAGS, checkpoint_flag, read_settings_file, typed_settings
from powerbert_tf.search.settings import GIVEN, TARGETS

if TYPE_CHECKING:
    from powerbert_tf.checkpoints import Checkpoint

CONFIG_FILE = "config.json"

OWN_DATA = "own_data"  # whether `task.json` beside the file says where the data is
_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "numpy", "scipy", "safetensors")
_COMPARED = ("data_sha256", "checkpoint_sha256", "versions")  # with the run that is repeated
_PROVENANCE = ("data", *_COMPARED)  # recorded, but no flags


def provenance(checkpoint: "Checkpoint") -> dict[str, Any]:
    """Hash of the checkpoint and versions of packages, for `config.json`."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # such as tensorflow-cpu instead of tensorflow
            continue
    return {"checkpoint_sha256": checkpoint.fingerprint(), "versions": versions}


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists what has changed in data, checkpoint and versions since an earlier run, one line per change.

    What the earlier run did not record is skipped.
    """
    lines = []
    for name in _COMPARED:
        before, after = recorded.get(name), now.get(name)
        if not isinstance(before, dict) or not isinstance(after, dict):
            before, after = {"": before}, {"": after}
        for key in before.keys() & after.keys():
            if before[key] not in (None, after[key]):
                lines.append(f"{' '.join(filter(None, (name, key)))} was {before[key]}, is {after[key]}")
    return sorted(lines)


class Recorded(NamedTuple):
    """The `config.json` of an earlier run: fields of `Settings` by name, and hashes and versions."""

    settings: dict[str, Any]
    provenance: dict[str, Any]


def read_config(path: str | os.PathLike, flag: str = "") -> Recorded:
    """Reads the `config.json` of a run; `flag` named it, for messages.

    Raises:
        InputError: The file cannot be read, or has an unknown key or a wrong value; the message names it.
    """
    where = f"{flag}: {path}" if flag else f"--config={path}"
    content = read_settings_file(where, path)
    if "task" not in content:
        raise InputError(f"{where}: no configuration; expected the config.json of a run, an object with a task.")
    recorded = {key: content.pop(key) for key in _PROVENANCE if key in content}
    own_data = content.pop(OWN_DATA, False)
    if unknown := sorted(content.keys() - RUN_FLAGS.keys()):
        raise InputError(f"{where}: no such key: {', '.join(unknown)}; expected the names of flags.")
    settings = typed_settings(where, content, RUN_FLAGS)
    if own_data is True:
        settings["task"] = str(Path(path).parent / TASK_FILE)
    if "checkpoint" in settings:
        settings["checkpoint"] = checkpoint_flag(settings["checkpoint"])
    return Recorded(settings, recorded)


def repeated(
    path: str | os.PathLike, given: Mapping[str, Any], flag: str = "", says_differences: bool = True
) -> tuple[dict[str, Any], Recorded]:
    """Adds the flags of an earlier run to those that are given, which win.

    Args:
        path: The `config.json` of the earlier run.
        given: Flags by the names of their fields; None for one that is not given.
        flag: The flag that names the run, for messages; empty for `--config`.
        says_differences: Whether flags that differ are reported.

    Raises:
        InputError: The file cannot be read.
    """
    recorded = read_config(path, flag)
    now = {name: value for name, value in given.items() if value is not None}
    before = dict(recorded.settings)
    targets = (*TARGETS, *GIVEN)  # only one of them may be given
    if any(name in now for name in targets):
        for name in targets:
            before.pop(name, None)
    for name, value in sorted(now.items()):
        earlier = recorded.settings.get(name)
        if value != earlier and says_differences:
            say(f"{flag or '--config'}: {flag_name(name)} was {earlier!r}, is {value!r}")
    return {**given, **before, **now}, recorded
