"""Runs of `run_glue.py` that are measured again."""

import json
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import DEFAULT_PACKAGE
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import FIELDS, flag_name, resolve_settings


def read_run(folder: Path, data_dir: str = "", checkpoint: str = "") -> Any:
    """Reads the run in `<output_dir>/<TASK>`, a `powerbert_tf.runs.run.Run`.

    Args:
        folder: Of the run.
        data_dir: Where the data is now; empty for where it was.
        checkpoint: Where the checkpoint is now; empty for where it was.

    Raises:
        InputError: There is no run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"--run={folder}: no {path.name} in it; expected a folder that run_glue.py wrote.")
    recorded = json.loads(path.read_text(encoding="utf-8"))
    names = {name: flag_name(name) for name in FIELDS}
    given = {name: recorded[flag] for name, flag in names.items() if flag in recorded}
    if recorded["checkpoint"].startswith(DEFAULT_PACKAGE):
        given["checkpoint"] = ""
    now = {"data_dir": data_dir, "checkpoint": checkpoint}
    given |= {name: place for name, place in now.items() if place}
    # Settings that an earlier version did not have get their defaults.
    return prepare(resolve_settings(given.pop("task"), **given), folder)
