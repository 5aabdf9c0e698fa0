"""Locks that keep a folder for one process; the system releases them when the process ends, in whatever way."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from powerbert_tf.common.errors import InputError

LOCK_FILE = ".lock"
_ATTEMPTS = 1000  # to lock a file that other runs remove as they end


@contextlib.contextmanager
def exclusive(folder: Path, use: str) -> Iterator[None]:
    """A block that only one process at a time can enter for the same folder; `use` is the verb of its message.

    Raises:
        InputError: Another process is in such a block.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another process {use} this folder; wait for it.") from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A block in which this run alone uses `folder`, which is created if it is missing.

    A folder that cannot be written is not locked: the error comes when something is written. Folders created here are
    removed again if they are empty at the end.

    Raises:
        InputError: Another run uses the folder; the message names its process and machine.
    """
    path = folder / LOCK_FILE
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        handle = _take_lock(path)
    except BlockingIOError:
        raise InputError(
            f"{folder}: in use by another run ({_holder(path)}); expected one at a time: wait for it, end it, or give "
            "another --output_dir."
        ) from None
    except OSError:
        yield
        return
    try:
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):  # not empty
            for each in made:
                each.rmdir()
        os.close(handle)


def _take_lock(path: Path) -> int:
    for _ in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # a run that was ending removed the folder between the two lines above
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass  # the run that had it removed it between the two lines above
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
    raise OSError(f"{path}: was removed {_ATTEMPTS} times before it could be locked")


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "it has just begun"
    except OSError:
        return "it is just ending"
