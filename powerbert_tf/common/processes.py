"""Processes that are measured in turns, so that drift and noise meet all of them alike.

`python -m powerbert_tf.common.processes MODULE:FUNCTION ARGUMENT ...` calls a function with JSON values. It returns a
first answer, and a function that answers requests, or None. Requests and answers are JSON objects, one per line.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any


class Worker:
    """A process that answers requests, and ends with its `with` block.

    Args:
        name: For messages.
        function: `MODULE:FUNCTION`.
        arguments: Of the function, JSON values.
        log: File for what libraries print.
        environment: Further variables.
    """

    def __init__(self, name: str, function: str, arguments: Sequence[Any], log: Any, environment: Mapping[str, str]):
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "powerbert_tf.common.processes", function, *map(json.dumps, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Modules are found as here, also those beside a script.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )

    def answer(self) -> dict[str, Any]:
        """Returns the next answer.

        Raises:
            RuntimeError: The process has ended.
        """
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.name}: its process ended with status {self._process.wait()}; see the log.")
        return json.loads(line)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and returns its answer.

        Raises:
            RuntimeError: The process has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # `answer` says it
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._process.terminate()  # it may be in the middle of something
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def open_answers() -> Callable[[Any], None]:
    """Keeps standard output for answers, as libraries may print anything; returns a function that sends one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda answer: print(json.dumps(answer), file=answers, flush=True)


def use_cores(count: int) -> None:
    """Limits this process to a number of cores; call it before a library starts a thread per core."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def turns(names: Iterable[Any], rounds: int) -> Iterator[Any]:
    """Yields each name once per round; each round begins with another name."""
    names = list(names)
    for first in range(rounds):
        begin = first % (len(names) or 1)
        yield from names[begin:] + names[:begin]


def milliseconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Times a call."""
    began = time.perf_counter()
    function(*arguments)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Answers requests until the caller closes the pipe."""
    say = open_answers()
    module, _, function = sys.argv[1].partition(":")
    first, respond = getattr(importlib.import_module(module), function)(*map(json.loads, sys.argv[2:]))
    say(first)
    if respond is not None:
        for line in sys.stdin:
            say(respond(json.loads(line)))


if __name__ == "__main__":
    main()
