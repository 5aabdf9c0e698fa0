"""What the command line asks for: flags, those that a run remembers, and checks of both that need no TensorFlow."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.common.reporting import say
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import PUBLISHED, TASK_FILE, OwnTask
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.runs.config_file import CONFIG_FILE, Recorded, repeated
from powerbert_tf.runs.result_schema import result_problem
from powerbert_tf.runs.settings import ALL, READING_STAGES, STAGES, Settings, resolve_settings
from powerbert_tf.runs.task_file import DATA_FLAGS, RUN_FLAGS, TaskFile, read_task_file, typed_settings

_SEED_FOLDERS = "seed-*"
_DEPLOY_RESULT = Path("deploy") / "result.json"


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        given: Flags by the names of their fields, those that a run remembers included; None for one that is not given.
        root: The folder of the run; None for `<output_dir>/<task>`.
        recorded: The `config.json` of the run that is repeated or read; None without one.
    """

    given: dict[str, Any]
    root: Path | None = None
    recorded: Recorded | None = None


def remember(given: Mapping[str, Any], stage: str, config: str = "") -> Asked:
    """Adds what a run remembers to the flags that are given, which win.

    A run is named by `--task=<its folder>`, the `task.json` in it, or `--config`. A stage that only reads a run takes
    the settings of `<output_dir>/<task>` for a task's name, too.

    Args:
        given: Flags by the names of their fields; None for one that is not given.
        stage: The stage that is asked for.
        config: `--config`.

    Raises:
        InputError: A file cannot be read, or the task is unknown; a run of its name is proposed.
    """
    asked = _remember(given, stage, config)
    if stage == "export":
        folder = asked.root or Path(asked.given.get("output_dir") or Settings.output_dir, _task_name(asked.given))
        asked.given.update(_deployed_form(folder, given))
    return asked


def _remember(given: Mapping[str, Any], stage: str, config: str) -> Asked:
    reads = stage in READING_STAGES
    task, output_dir = given.get("task") or "", given.get("output_dir") or ""
    if config:
        merged, recorded = repeated(config, given, says_differences=not reads)
        around = Path(config).parent
        is_own = reads and not output_dir and any((around / name).is_dir() for name in STAGES)
        return Asked(merged, around if is_own else None, recorded)
    folder = _named_folder(task)
    by_name = Path(output_dir or Settings.output_dir, task)
    if folder is None and task and reads and _config_in(by_name):
        folder, output_dir = by_name, ""
    if folder is None:
        is_new = task in PUBLISHED or task.endswith(".json") or given.get("train_file") or given.get("tfds_name")
        if task and not is_new and _config_in(by_name):
            raise InputError(f"--task={task}: no such task, but there is a run of this name; pass --task={by_name}.")
        return Asked(dict(given))
    path = _config_in(folder)
    if path is None:
        raise InputError(
            f"--task={task}: {folder} has no {CONFIG_FILE}; expected the folder of a run, a {TASK_FILE}, or the name "
            "of a task."
        )
    merged, recorded = repeated(path, {**given, "task": None}, f"--task={task}", says_differences=not reads)
    return Asked(merged, None if output_dir else folder, recorded)


def _named_folder(task: str) -> Path | None:
    """The folder of a run that `--task` names; None if it is a name, or a `task.json` with no run around it."""
    if task.endswith(".json"):
        path = Path(task)
        return path.parent if path.name == TASK_FILE and _config_in(path.parent) else None
    if task in PUBLISHED or not os.path.isdir(task):
        return None
    return Path(task) if _config_in(Path(task)) or os.sep in task else None


def _task_name(given: Mapping[str, Any]) -> str:
    """The name of the task, of which a run in `--output_dir` has its folder; that of a file is in the file."""
    task = given.get("task") or ""
    return "" if task.endswith(".json") else task


def _deployed_form(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The export flags of the form that `--stage=deploy` chose, unless flags of the export are given."""
    path = folder / _DEPLOY_RESULT
    own = {field.name for field in dataclasses.fields(ExportSettings)}
    if any(given.get(name) is not None for name in own) or not path.is_file():
        return {}
    try:
        result = read_object(path)
        chosen = None if result_problem("deploy", result) else result.get("chosen")
        flags = typed_settings(str(path), chosen["export"], RUN_FLAGS) if chosen else {}
    except (OSError, ValueError, KeyError):
        return {}
    if not chosen or not flags.keys() <= own:
        return {}
    shown = " ".join(f"--{name}{'' if value is True else f'={value}'}" for name, value in flags.items())
    say(f"export: {chosen['form']}, which --stage=deploy chose ({shown}); flags of the export say otherwise")
    return {**dict.fromkeys(own - {"export_model"}), **flags}


def _config_in(folder: Path) -> Path | None:
    """The `config.json` of a run, or of its first seed."""
    places = [folder / CONFIG_FILE, *sorted(folder.glob(f"{_SEED_FOLDERS}/{CONFIG_FILE}"))]
    return next((path for path in places if path.is_file()), None)


def gather(given: Mapping[str, Any]) -> tuple[TaskFile, DataSettings, dict[str, Any]]:
    """Joins flags and the `task.json` that `--task` names, over whose keys flags win.

    Args:
        given: Flags by the names of their fields; None for one that is not given.

    Returns:
        The task, the user's own data, and the other settings that are given.

    Raises:
        InputError: The file is wrong, there is no task, or flags are for data of the user's own where there is none.
    """
    flags, data_flags = split_flags(given)
    name = flags.pop("task", "")
    file = read_task_file(name) if name.endswith(".json") else TaskFile(name)
    data = DataSettings(**{**file.data, **data_flags})
    if not data.is_given:
        if data_flags:
            raise InputError(
                f"--{next(iter(data_flags))}: is for data of your own; expected --train_file or --tfds_name, too."
            )
        if not file.name:
            raise InputError(
                "--task: missing; expected a GLUE task, such as --task=MRPC, or --train_file with your data."
            )
    return file, data, {**file.settings, **flags}


def split_flags(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flags that are given: those of the run, and those of the user's own data."""
    flags = {name: value for name, value in given.items() if value is not None}
    data = {name: flags.pop(name) for name in list(flags) if name in DATA_FLAGS}
    return flags, data


def check_stage(stage: str, seeds: int) -> None:
    """Checks `--stage` and `--seeds`.

    Raises:
        InputError: One of them is wrong.
    """
    if stage not in (*STAGES, ALL):
        raise InputError(f"--stage={stage}: no such stage; expected one of {', '.join((ALL, *STAGES))}.")
    if seeds < 1:
        raise InputError(f"--seeds={seeds}: expected at least 1.")


def check_values(given: Mapping[str, Any]) -> None:
    """Checks values of flags and the files that they name, as far as that takes no time.

    Raises:
        InputError: A value is out of its range, or there is no such file.
    """
    file, data, settings = gather(given)
    if data.is_given:
        from powerbert_tf.data.tables import find_files  # late: other flags need no tables

        for name in ("train_file", "dev_file", "test_file"):
            if getattr(data, name):
                find_files(getattr(data, name), name)
        # Classes and metrics, which the data says, are checked when it is read.
        row = OwnTask(
            name=file.name or "data",
            classes=("", " "),
            metrics=("accuracy",),
            text_columns=("",),
            label_column="",
            epochs=1,
        )
        resolve_settings(row, **settings)
    else:
        resolve_settings(file.name, **settings)
    checkpoint = settings.get("checkpoint", "")
    is_path = checkpoint.startswith((".", os.sep)) and not checkpoint.endswith(".keras")
    if is_path and not os.path.exists(checkpoint) and not os.path.exists(f"{checkpoint}.index"):
        raise InputError(
            f"checkpoint {checkpoint}: no such folder; expected one in Google's or Hugging Face's format, or a preset "
            "of KerasHub, where keras-hub is installed."
        )
