"""Folders of exported versions: `<folder>/<number>/saved_model.pb`, as TensorFlow Serving reads them."""

import re
from pathlib import Path

_MODEL_FILE = "saved_model.pb"
_NUMBER = re.compile("[1-9][0-9]*", re.ASCII)


def is_version(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / _MODEL_FILE).is_file()


def newest_version(folder: Path) -> Path | None:
    """The folder with the highest number among those of a folder that hold an exported model; None without one."""
    try:
        found = [path for path in folder.iterdir() if _NUMBER.fullmatch(path.name) and is_version(path)]
    except OSError:
        return None
    return max(found, key=lambda path: int(path.name), default=None)


def content_of(version: Path | None) -> frozenset:
    """Returns what tells a version from another of its number, and from a copy under way; empty if it is missing."""
    if version is None:
        return frozenset()
    try:
        stats = {path: path.stat() for path in [version, *version.rglob("*")]}
    except OSError:  # it is being removed
        return frozenset()
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in stats.items())
