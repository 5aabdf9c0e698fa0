"""Folders for one process at a time: locks that the system releases when their process ends, however that happens."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from powerbert_tf.common.errors import InputError

LOCK_FILE = ".lock"
_ATTEMPTS = 1000  # at a folder or a file that other runs, as they end, remove


@contextlib.contextmanager
def exclusive(folder: Path, use: str) -> Iterator[None]:
    """A block in which no other process is in such a block of the same folder.

    Args:
        folder: An existing folder.
        use: What a process does with it, for the message.

    Raises:
        InputError: Another process is.
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
    """A block in which no other run holds `folder`, which is made where it is missing.

    A folder that cannot be written needs no lock: whatever is to be written there says so. One that was made here and
    in which nothing was written goes again.

    Raises:
        InputError: Another run holds it; the message names its process and machine.
    """
    path = folder / LOCK_FILE
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        handle = _taken(path)
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


def _taken(path: Path) -> int:
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
    raise OSError(f"{path}: is removed again and again")


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "it has just begun"
    except OSError:
        return "it is just ending"
