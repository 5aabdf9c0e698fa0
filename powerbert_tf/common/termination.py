"""Ends a run on SIGTERM, which machines send before they are taken away, where its state can be saved."""

import contextlib
import os
import signal
from collections.abc import Iterator

EXIT_CODE = os.EX_TEMPFAIL  # 75: try again


class Terminated(BaseException):
    """The process was asked to end; the message says what was saved."""


class _Request:
    """The state of the request to end."""

    made = False
    waits = False  # for a step to end
    agrees = False  # with the other processes that train in step
    agreed = False


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """A block in which SIGTERM raises `Terminated` at once, unless the block waits and asks `requested`."""

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
    """Whether this process was asked to end, whether or not others were."""
    return _Request.made


def requested() -> bool:
    """Whether the process was asked to end, or, if several train in step, whether they agreed to end."""
    return _Request.agreed if _Request.agrees else _Request.made


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """A block in which several processes train in step, and end together after the step in which they `agree`."""
    _Request.agrees = True
    try:
        yield
    finally:
        _Request.agrees = _Request.agreed = False


def agree() -> None:
    """Records that one of the processes was asked to end and that all of them know."""
    _Request.agreed = True


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """A block that SIGTERM does not interrupt; it asks `requested` itself."""
    with _waits(True):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A part of a waiting block that SIGTERM interrupts all the same, unless other processes train in step.

    Raises:
        Terminated: At the beginning of the part, or anywhere in it.
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
