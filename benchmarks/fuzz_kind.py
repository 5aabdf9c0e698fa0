"""A kind of input: how a wrong one is made, how it is read, and what has to come of it."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from powerbert_tf.common.errors import InputError

_LONGEST_MESSAGE = 5000  # characters


class WrongError(Exception):
    """An input was taken, and what came of it is not right; or was refused, and not as it should be."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        sound: Inputs that are taken.
        mutate: Makes a wrong one, as bytes.
        read: Reads one, as the stages do: returns where it is right, or raises an InputError.
    """

    sound: tuple[bytes, ...]
    mutate: Callable[[random.Random], bytes]
    read: Callable[[bytes], Any]


def check(kind: Kind, data: bytes) -> bool:
    """Reads an input.

    Returns:
        Whether it was taken; else it was refused by an InputError.

    Raises:
        Exception: Whatever should not have been raised.
    """
    try:
        kind.read(data)
    except InputError as error:
        _require_clear(str(error))
        return False
    return True


def _require_clear(message: str) -> None:
    if not message.strip() or len(message) > _LONGEST_MESSAGE:
        raise WrongError(f"the message has {len(message)} characters: {message[:200]!r}")
    message.encode("utf-8", "backslashreplace")


def require(holds: bool, what: str) -> None:
    """Says what is wrong with an input that was taken, if it is."""
    if not holds:
        raise WrongError(what)


def show(data: bytes) -> str:
    """The beginning of an input, for a report."""
    return repr(data[:200]) + (f" and {len(data) - 200} bytes more" if len(data) > 200 else "")
