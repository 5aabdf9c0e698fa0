"""Kinds of input: how wrong ones are made, how they are read, and what must become of them."""

import dataclasses
import importlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError

_LONGEST_MESSAGE = 5000  # characters
# Name -> where its sound files are written and its `Kind` is made; these import TensorFlow.
_MAKERS = {
    "bert_config.json": "checkpoint_kinds:bert_config",
    "checkpoint index": "checkpoint_kinds:checkpoint_index",
    "checkpoint data": "checkpoint_kinds:checkpoint_data",
    "safetensors header": "checkpoint_kinds:safetensors",
    "vocab.txt": "checkpoint_kinds:vocabulary",
    "TSV": "run_kinds:tsv",
    "table": "run_kinds:tables",
    "retention.json": "run_kinds:retention",
    "task.json": "run_kinds:task",
    "result.json": "run_kinds:result",
    "command line": "run_kinds:command",
}
KINDS = tuple(_MAKERS)


class WrongError(Exception):
    """An input was taken with a wrong result, or refused in a wrong way."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input."""

    sound: tuple[bytes, ...]  # inputs that are taken
    mutate: Callable[[random.Random], bytes]  # makes a wrong one
    read: Callable[[bytes], Any]  # as the stages do: returns where it is right, or raises an InputError


def check(kind: Kind, data: bytes) -> bool:
    """Reads an input; returns whether it was taken, else it was refused by an InputError.

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
    """Raises an error that says `what` is wrong, unless a condition holds."""
    if not holds:
        raise WrongError(what)


def show(data: bytes) -> str:
    """Returns the beginning of an input, for a report."""
    return repr(data[:200]) + (f" and {len(data) - 200} bytes more" if len(data) > 200 else "")


def make_kinds(folder: Path, names: Sequence[str] = KINDS) -> dict[str, Kind]:
    """Makes kinds of inputs.

    Args:
        folder: Empty, for sound files and for what is written while inputs are read; it must be the working
            directory, as command lines name files below it.
        names: Which.
    """
    found = {}
    for name in names:
        module, _, maker = _MAKERS[name].partition(":")
        found[name] = getattr(importlib.import_module(f"benchmarks.reliability.fuzz.{module}"), maker)(folder / name)
    return found
