"""Files that appear whole or not at all, JSON files that others may have changed, and the folder of the cache."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AUTO = "auto"
PARTIAL = ".partial"  # ends the name of a folder until it is whole
_DEEPEST = 100  # nested lists and objects in a JSON file
_WRITING = ".writing-"  # in the name of a file until it is whole


def remove_unfinished(folder: Path) -> None:
    """Removes files that processes left when they were killed in `replacing`, in a folder and all folders below.

    A `shared` file that another process is writing stays: it is locked until that process ends, in whatever way.
    """
    for path in folder.rglob(f".*{_WRITING}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextlib.contextmanager
def replacing(path: Path, suffix: str = "", shared: bool = False) -> Iterator[Path]:
    """Yields the path of a new file, which replaces `path` when the block ends without an error.

    Args:
        path: The file to replace.
        suffix: End of the new file's name.
        shared: Whether other processes may use the folder, too. The new file is locked then, which HDF5 does not allow.

    Raises:
        OSError: The folder cannot be written.
    """
    handle, name = _new_file(path, suffix, shared)
    try:
        yield Path(name)
        os.fsync(handle)  # the file must be on the disk before its name is
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    finally:
        os.close(handle)


def _new_file(path: Path, suffix: str, locked: bool) -> tuple[int, str]:
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{_WRITING}", suffix=suffix)
        if locked:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # `remove_unfinished` removed the file before it was locked


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Writes the content of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_object(path: Path, encoding: str = "utf-8") -> dict[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no JSON object; the message says what it holds, but does not name the file.
    """
    try:
        text = path.read_text(encoding=encoding)
        value = json.loads(text)
        deep = _is_deep(value)
    except ValueError as error:
        raise ValueError(f"expected a JSON object: {error}") from None
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f"expected a JSON object, found more than {_DEEPEST} lists or objects in each other")
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    if "\\ud" in text.lower():  # JSON can spell half of a surrogate pair, which is no text
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise ValueError(f"expected a JSON object of texts, found half of a surrogate pair, {half!r}") from None
    return value


def _is_deep(value: Any) -> bool:
    """Whether a value is nested so deeply that a recursive function, such as `repr`, may overflow Python's stack."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(each, list | dict) for each in level)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON cannot spell.
        OSError: The folder cannot be written.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def find_cache_folder(cache_dir: str = AUTO) -> Path | None:
    """Returns the folder that `--cache_dir` means, which need not exist yet; None to keep nothing.

    Args:
        cache_dir: A folder; `"auto"` for `$POWERBERT_TF_CACHE`, else `powerbert_tf` in `$XDG_CACHE_HOME`, else
            `~/.cache/powerbert_tf`; empty to keep nothing.
    """
    if cache_dir == AUTO:
        if own := os.environ.get("POWERBERT_TF_CACHE"):
            return Path(own)
        return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "powerbert_tf"
    return Path(cache_dir).expanduser() if cache_dir else None
