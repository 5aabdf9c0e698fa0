"""A folder of the last states of something that goes on: each whole or not there, with a checksum of every file."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

_KEPT = 2  # the last one, and the one before it, should that be damaged
_CHECKSUMS = "sha256.json"
_NEW = ".new"


class SavedStates:
    """States in folders `<number>/`, the newest with the largest number; the last two stay.

    Args:
        folder: Made when the first one is saved.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, write: Callable[[Path], None]) -> Path:
        """Saves a state aside and names it when all of it is on the disk; then lets go of older ones.

        Args:
            write: Writes its files into a folder that is given.

        Returns:
            Its folder.

        Raises:
            OSError: It cannot be written; those before it stay.
        """
        numbers = self._numbers()
        new = self.folder / _NEW
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir(parents=True)
        try:
            write(new)
            checksums = {path.name: _sha256(path) for path in sorted(new.iterdir())}
            (new / _CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n", encoding="utf-8")
            for path in (*new.iterdir(), new):
                _to_disk(path)
            saved = self.folder / str(numbers[-1] + 1 if numbers else 1)
            new.rename(saved)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        _to_disk(self.folder)
        for number in numbers[: 1 - _KEPT]:
            shutil.rmtree(self.folder / str(number))
        return saved

    def newest(self) -> Path | None:
        """Folder of the newest state that is as it was written, or None; damaged ones are named and removed."""
        for number in reversed(self._numbers()):
            folder = self.folder / str(number)
            damage = _damage(folder)
            if not damage:
                return folder
            print(f"  {folder}: damaged ({damage}); the checkpoint before it is taken, if there is one", flush=True)
            shutil.rmtree(folder)
        return None

    def clear(self) -> None:
        """Removes them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is replaced and never written to; a copy where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _damage(folder: Path) -> str:
    """What is wrong with a state; empty where nothing is."""
    try:
        checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in checksums.items():
            if _sha256(folder / name) != expected:
                return f"{name} has another SHA-256 than when it was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, AttributeError):  # no JSON, no object
        return f"{_CHECKSUMS} cannot be read"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
