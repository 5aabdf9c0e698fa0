"""What a run was made with, beside its settings: versions, and the files of the checkpoint."""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from powerbert_tf.checkpoints import Checkpoint

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
