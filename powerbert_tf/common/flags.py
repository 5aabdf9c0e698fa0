"""A flag of the command line as a field of a dataclass, with its help text and its range."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError


@dataclasses.dataclass(frozen=True)
class Check:
    """What values a flag takes.

    Attributes:
        holds: Whether a value is one of them.
        expected: What they are, for an error message.
    """

    holds: Callable[[Any], bool]
    expected: str


AT_LEAST_1 = Check(lambda value: value >= 1, "at least 1")
POSITIVE = Check(lambda value: 0 < value < float("inf"), "a positive number")
NOT_NEGATIVE = Check(lambda value: 0 <= value < float("inf"), "0 or a positive number")


def one_of(choices: Sequence[str]) -> Check:
    """The check that a value is one of a few."""
    return Check(lambda value: value in choices, f"one of {', '.join(choices)}")


def setting(description: str, check: Check | None = None, **kwargs: Any) -> Any:
    """A field with a help text; `check` says what values it takes, by default any."""
    return dataclasses.field(metadata={"help": description, "check": check}, **kwargs)


def flag_name(name: str) -> str:
    """The flag of a setting: `lambda_` only avoids Python's keyword."""
    return name.rstrip("_")


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raises an InputError that names the flag unless `holds`."""
    if not holds:
        raise InputError(f"--{flag_name(name)}={value}: expected {expected}.")


class CheckedSettings:
    """A base of dataclasses whose fields are made by `setting`: a new object checks each of them.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if check := field.metadata.get("check"):
                value = getattr(self, field.name)
                require(check.holds(value), field.name, value, check.expected)
