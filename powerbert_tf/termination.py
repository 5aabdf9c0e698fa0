"""Leaving when asked to: SIGTERM, as machines that are taken away send it, ends a run where its state can be saved."""

import contextlib
import os
import signal
from collections.abc import Iterator

EXIT_CODE = os.EX_TEMPFAIL  # 75: to be tried again


class Terminated(BaseException):
    """The process was asked to leave; the message says what was saved."""


class _Request:
    """Whether it was asked, and whether that waits for the end of a step."""

    made = False
    waits = False


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """A block in which SIGTERM raises `Terminated`: at once, or where `requested` is looked at."""

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


def requested() -> bool:
    """Whether the process was asked to leave."""
    return _Request.made


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """A block that is not interrupted, and looks at `requested` itself."""
    with _waits(True):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A part of a block that waits, which is interrupted all the same.

    Raises:
        Terminated: At its beginning, or anywhere in it.
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
