"""Several processes that do one run together: which of them this is, and what the first one does for all.

All of them run the same code on the same data, so that each knows when the others wait for it. What is not the same
everywhere, such as measured times, and what may be done only once, such as writing a file, is the chief's.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from powerbert_tf.common.errors import InputError

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: Number of this one; 0 is the chief.
        count: How many there are.
        total: Called by all at once with float32 arrays `[n]`, gives all their sum.
    """

    rank: int = 0
    count: int = 1
    total: Callable[[np.ndarray], np.ndarray] = lambda values: values

    def share(self, content: bytes) -> bytes:
        """Called by all at once, gives all what the chief gave."""
        own = content if self.rank == 0 else b""
        # float32 holds a byte exactly, half of a long number, too, and every device can add it up.
        high, low = self.total(np.array([len(own) >> 12, len(own) & 0xFFF], "float32")).astype(int)
        values = np.zeros((high << 12) + low, "float32")
        values[: len(own)] = np.frombuffer(own, "uint8")
        return self.total(values).astype("uint8").tobytes()


class _Now:
    processes = Processes()
    alone = False  # the chief does something that the others wait for


@contextlib.contextmanager
def together(processes: Processes) -> Iterator[None]:
    """A block that several processes run together."""
    before, _Now.processes = _Now.processes, processes
    try:
        yield
    finally:
        _Now.processes = before


def num_processes() -> int:
    """How many processes do together what is being done: 1 where the chief does it alone."""
    return 1 if _Now.alone else _Now.processes.count


def rank() -> int:
    """Number of this process among those."""
    return 0 if _Now.alone else _Now.processes.rank


def is_chief() -> bool:
    """Whether this process writes files and speaks to the user."""
    return _Now.processes.rank == 0


def any_of_all(value: bool) -> bool:
    """Whether it is so in any of the processes, each of which calls this."""
    return value if num_processes() == 1 else bool(_Now.processes.total(np.array([value], "float32"))[0])


def by_chief(function: Callable[[], Any]) -> Any:
    """What a function returns that the chief alone calls, for all processes; they wait for it.

    Args:
        function: Returns JSON values, or what `json` and NumPy's `tolist` make such of.

    Returns:
        What the function returned; where there are several processes, as JSON has it, so that tuples are lists.

    Raises:
        InputError: The function raised it, in all processes.
    """
    if num_processes() == 1:
        return function()
    share = _Now.processes.share
    if not is_chief():
        answer = json.loads(share(b""))
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["value"]
    try:
        _Now.alone = True
        try:
            answer = {"value": function()}
        finally:
            _Now.alone = False
    except InputError as error:
        share(json.dumps({"error": str(error)}).encode())
        raise
    # Of a float, JSON has as many digits as it takes to read the same one.
    return json.loads(share(json.dumps(answer, default=lambda value: value.tolist()).encode()))["value"]


def in_all(function: Callable[[], _T]) -> _T:
    """What a function returns that each process calls.

    Raises:
        InputError: It raised it in one of them at least; the others say so.
    """
    if num_processes() == 1:
        return function()
    try:
        value, error = function(), None
    except InputError as raised:
        error = raised
    failed = int(_Now.processes.total(np.array([error is not None], "float32"))[0])
    if error is not None:
        raise error
    if failed:
        raise InputError(f"{failed} of {num_processes()} processes cannot go on: see what they say.")
    return value


def require_same(prefix: str, values: Mapping[str, Any]) -> None:
    """Checks that all processes were given the same.

    Args:
        prefix: Of the names, in messages.
        values: JSON values by name.

    Raises:
        InputError: They were not; the message names what differs.
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
    """Waits until all processes are here: what the chief wrote before can then be read."""
    by_chief(lambda: None)
