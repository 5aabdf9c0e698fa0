"""Flags of the command line as fields of dataclasses, with help text and range."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError


@dataclasses.dataclass(frozen=True)
class Check:
    """The values that a flag may have.

    Attributes:
        holds: Whether a value is allowed.
        expected: Describes the allowed values in an error message.
    """

    holds: Callable[[Any], bool]
    expected: str


AT_LEAST_1 = Check(lambda value: value >= 1, "at least 1")
POSITIVE = Check(lambda value: 0 < value < float("inf"), "a positive number")
NOT_NEGATIVE = Check(lambda value: 0 <= value < float("inf"), "0 or a positive number")


def one_of(choices: Sequence[str]) -> Check:
    """Returns the check that a value is one of `choices`."""
    return Check(lambda value: value in choices, f"one of {', '.join(choices)}")


def setting(description: str, check: Check | None = None, **kwargs: Any) -> Any:
    """Returns a field with a help text; without a `check`, it may have any value."""
    return dataclasses.field(metadata={"help": description, "check": check}, **kwargs)


def flag_name(name: str) -> str:
    """Returns the flag of a setting: `lambda` for `lambda_`, which avoids Python's keyword."""
    return name.rstrip("_")


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raises an InputError that names the flag unless `holds`."""
    if not holds:
        raise InputError(f"--{flag_name(name)}={value}: expected {expected}.")


class CheckedSettings:
    """A base of dataclasses with fields from `setting`: checks each field of a new object.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if check := field.metadata.get("check"):
                value = getattr(self, field.name)
                require(check.holds(value), field.name, value, check.expected)
