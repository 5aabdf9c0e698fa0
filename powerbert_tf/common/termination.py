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
    agrees = False  # with other processes, which are asked, too
    agreed = False


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


def was_asked() -> bool:
    """Whether this process was asked to leave, whatever others were."""
    return _Request.made


def requested() -> bool:
    """Whether the process was asked to leave; of several that go in step, whether they agreed upon it."""
    return _Request.agreed if _Request.agrees else _Request.made


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """A block in which several processes go in step, and leave together after the step in which they `agree`."""
    _Request.agrees = True
    try:
        yield
    finally:
        _Request.agrees = _Request.agreed = False


def agree() -> None:
    """One of the processes was asked to leave, as all of them know now."""
    _Request.agreed = True


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """A block that is not interrupted, and looks at `requested` itself."""
    with _waits(True):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A part of a block that waits, which is interrupted all the same, unless other processes are in it, too.

    Raises:
        Terminated: At its beginning, or anywhere in it.
    """
    with _waits(_Request.agrees):
        if _Request.made and not _Request.agrees:
            raise Terminated
        yield


@contextlib.contextmanager
def _waits(value: bool) -> Iterator[None]:
    before, _Request.waits = _Request.waits, value
    try:
        yield
    finally:
        _Request.waits = before
