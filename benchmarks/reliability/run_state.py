"""What a run left: names of files, weights, and values other than times, so that two runs can be compared."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from powerbert_tf.common.files import sha256

# Keys of results and logs whose values are times, or follow from times; so are all that end in "seconds".
_TIMES = {"compilations", "input_wait_share", "milliseconds", "grouped", "batch", "padded", "speedup_padded"}
_TIMES |= {"device", "measured_on", "resumed"}
_ONCE = "speedup"  # a search's is predicted, a point's is measured


def state_of(folder: Path) -> dict[str, Any]:
    """By the name of each file or folder, its content as something to compare; None of a folder."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> Any:
    if path.is_dir():
        return None
    if path.suffix == ".h5":
        return _arrays(path)
    if path.name == "result.json":
        return _without_times(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return sha256(path)


def _arrays(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def keep(key: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            array = np.asarray(item)
            found[key] = (str(array.dtype), array.shape, array.tobytes())

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def _without_times(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_times(one) for one in value]
    if not isinstance(value, dict):
        return value
    measured = _TIMES | ({_ONCE} if "speedup_padded" in value else set())
    kept = {key: one for key, one in value.items() if key not in measured and not key.endswith("seconds")}
    return {key: _without_times(one) for key, one in kept.items()}


def differences(expected: dict[str, Any], found: dict[str, Any], unsteady: frozenset[str] = frozenset()) -> list[str]:
    """Lists what differs from an undisturbed run, one line per file.

    Files that are `unsteady`, whose content differs between undisturbed runs, count by their names alone.
    """
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            lines.append(f"{name}: {'left behind' if name in found else 'missing'}")
        elif name not in unsteady and expected[name] != found[name]:
            lines.append(f"{name}: not the same")
    return lines
