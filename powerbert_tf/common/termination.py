"""Ends a run on SIGTERM, which machines send before they are taken away, where its state can be saved."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

EXIT_CODE = os.EX_TEMPFAIL  # 75: try again


def fail(error: Exception) -> NoReturn:
    """Ends the process for an error that the user can fix: one line, exit code 2."""
    print("error:", *str(error).split(), file=sys.stderr)  # even if a library wrote several lines
    sys.exit(2)


class Terminated(BaseException):
    """The process was asked to end; the message says what was saved."""


class _Request:
    """The state of the request to end."""

    made = False
    waits = False  # for a step to end


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """A block in which SIGTERM raises `Terminated` at once, unless the block waits and asks `was_asked`."""

    def ask(number, frame):
        _Request.made = True
        if not _Request.waits:
            raise Terminated

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _Request.made = False


def was_asked() -> bool:
    """Whether this process was asked to end."""
    return _Request.made


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """A block that SIGTERM does not interrupt; it asks `was_asked` itself."""
    with _waits(True):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A part of a waiting block that SIGTERM interrupts all the same.

    Raises:
        Terminated: At the beginning of the part, or anywhere in it.
    """
    with _waits(False):
        if _Request.made:
            raise Terminated
        yield


@contextlib.contextmanager
def _waits(value: bool) -> Iterator[None]:
    before, _Request.waits = _Request.waits, value
    try:
        yield
    finally:
        _Request.waits = before
