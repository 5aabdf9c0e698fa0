"""Reads inputs of one kind in a process of its own: `python -m benchmarks.reliability.fuzz.process JOB FD`.

Reports each in a line on the file descriptor: `{"begun": number}` before it is read, and after it
`{"number", "taken", "seconds"}`, with `"error"` where something was raised that should not have been. An input that
takes more than its seconds of the processor ends the process by SIGPROF, one that asks for more memory than there is
gets none.
"""

import contextlib
import dataclasses
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.fuzz import kinds

_PAGE = resource.getpagesize()


@dataclasses.dataclass(frozen=True)
class Job:
    """Which inputs to read."""

    kind: str  # one of `kinds.KINDS`
    seed: int  # of all inputs
    first: int  # number of the first input
    last: int  # number after the last one
    seconds: float  # of the processor, at most, for each
    mib: int  # further address space, at most, for all
    failures: str  # folder for inputs that fail


def make_input(kind, seed: int, number: int) -> bytes:
    """Makes the input of a number: the same each time."""
    return kind.mutate(random.Random(f"{seed}/{number}"))


def failure_file(folder: str, kind: str, seed: int, number: int) -> Path:
    """Returns where an input that failed is kept."""
    return Path(folder).absolute() / f"{kind.replace(' ', '_')}-{seed}-{number}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Warnings are errors; nothing is printed."""
    with warnings.catch_warnings(), open(os.devnull, "w", encoding="utf-8", errors="strict") as nothing:
        warnings.simplefilter("error")
        # keras.ops.convert_to_numpy of a variable, on the TensorFlow backend with NumPy 2.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield


def main(job: Job, handle: int) -> None:
    """Reads the inputs of a job."""
    keeping = Path(job.failures).absolute()
    with tempfile.TemporaryDirectory() as name, os.fdopen(handle, "w", buffering=1) as reports:
        os.chdir(name)
        kind = kinds.make_kinds(Path(name), [job.kind])[job.kind]  # imports TensorFlow
        # Once without limits: threads and tables that are made at the first call are not of an input.
        for data in kind.sound:
            with _quiet():
                if not kinds.check(kind, data):
                    raise RuntimeError(f"{job.kind}: a sound input was refused: {data!r}")
        sizes = Path("/proc/self/statm").read_text(encoding="ascii").split()
        limit = int(sizes[0]) * _PAGE + job.mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(job.first, job.last):
            data = make_input(kind, job.seed, number)
            print(json.dumps({"begun": number}), file=reports)
            answer = {"number": number, "taken": False}
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, job.seconds)
            try:
                with _quiet():
                    answer["taken"] = kinds.check(kind, data)
            except Exception as error:
                keeping.mkdir(parents=True, exist_ok=True)
                failure_file(str(keeping), job.kind, job.seed, number).write_bytes(data)
                last = traceback.extract_tb(error.__traceback__)[-1]
                answer["error"] = f"{type(error).__name__}: {str(error)[:300]}"
                answer["where"] = f"{Path(last.filename).name}:{last.lineno}"
                answer["traceback"] = traceback.format_exc()[-3000:]
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            answer["seconds"] = time.process_time() - began
            answer["mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(json.dumps(answer), file=reports)


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])), int(sys.argv[2]))
