"""Several processes that do one run together: which of them this is, and what the first one, the chief, does for all.

All of them run the same code on the same data, so that each knows when the others wait for it. Whatever may differ from
process to process, such as measured times, and whatever must happen only once, such as writing a file, is the chief's.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from powerbert_tf.common.errors import InputError

_T = TypeVar("_T")


@dataclasses.dataclass
class Processes:
    """The processes of a run.

    Attributes:
        rank: Number of this one; 0 is the chief.
        count: How many there are.
        total: Takes float32 arrays `[n]`, one from each process at once, and gives all of them the sum.
        chief_is_alone: Whether the chief is doing something that the others wait for.
    """

    rank: int = 0
    count: int = 1
    total: Callable[[np.ndarray], np.ndarray] = lambda values: values
    chief_is_alone: bool = False

    def count_true(self, value: bool) -> int:
        """Called by all at once, counts the processes in which `value` is true."""
        return int(self.total(np.array([value], "float32"))[0])

    def share(self, content: bytes) -> bytes:
        """Called by all at once, gives all of them the chief's content."""
        own = content if self.rank == 0 else b""
        # float32 holds a byte exactly, and half of a long number, and every device can add it up.
        high, low = self.total(np.array([len(own) >> 12, len(own) & 0xFFF], "float32")).astype(int)
        values = np.zeros((high << 12) + low, "float32")
        values[: len(own)] = np.frombuffer(own, "uint8")
        return self.total(values).astype("uint8").tobytes()


_group = Processes()


@contextlib.contextmanager
def together(processes: Processes) -> Iterator[None]:
    """A block that several processes run together."""
    global _group
    before, _group = _group, processes
    try:
        yield
    finally:
        _group = before


def num_processes() -> int:
    """Number of processes that do the work at hand together: 1 where the chief does it alone."""
    return 1 if _group.chief_is_alone else _group.count


def rank() -> int:
    """Number of this process among those."""
    return 0 if _group.chief_is_alone else _group.rank


def is_chief() -> bool:
    """Whether this process writes files and speaks to the user."""
    return _group.rank == 0


def in_any(value: bool) -> bool:
    """Whether `value` is true in any process; all of them call this."""
    return value if num_processes() == 1 else _group.count_true(value) > 0


def by_chief(function: Callable[[], Any]) -> Any:
    """Calls a function in the chief alone, and gives its result to all processes, which wait for it.

    The result is made of JSON values, or of NumPy's; several processes get tuples and arrays as lists.

    Raises:
        InputError: The function raised it; all processes do.
    """
    if num_processes() == 1:
        return function()
    if not is_chief():
        answer = json.loads(_group.share(b""))
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["value"]
    try:
        _group.chief_is_alone = True
        try:
            answer = {"value": function()}
        finally:
            _group.chief_is_alone = False
    except InputError as error:
        _group.share(json.dumps({"error": str(error)}).encode())
        raise
    # JSON writes a float with as many digits as it takes to read the same one.
    return json.loads(_group.share(json.dumps(answer, default=lambda value: value.tolist()).encode()))["value"]


def in_all(function: Callable[[], _T]) -> _T:
    """Calls a function in each process, and returns only if it succeeds in all of them.

    Raises:
        InputError: The function raised it in this process, or in others.
    """
    if num_processes() == 1:
        return function()
    try:
        value, error = function(), None
    except InputError as raised:
        error = raised
    failed = _group.count_true(error is not None)
    if error is not None:
        raise error
    if failed:
        raise InputError(f"{failed} of {num_processes()} processes cannot continue: see their messages.")
    return value


def require_same(prefix: str, values: Mapping[str, Any]) -> None:
    """Checks that all processes were given the same JSON values by name.

    Raises:
        InputError: A value differs from the chief's; the message has its name after `prefix`.
    """
    of_chief = by_chief(lambda: dict(values))

    def check() -> None:
        for name, value in values.items():
            if value != of_chief.get(name):
                raise InputError(
                    f"{prefix}{name} is {value!r}, the chief's is {of_chief.get(name)!r}; expected the same command "
                    "and the same data for all processes."
                )

    in_all(check)


def wait_for_all() -> None:
    """Waits until all processes are here: files that the chief wrote before can then be read."""
    by_chief(lambda: None)
