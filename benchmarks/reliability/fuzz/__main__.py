"""Wrong inputs of every kind that is read, `python -m benchmarks.reliability.fuzz --inputs=10000`: refused, or right.

Sound files of each kind are changed at random (bits, spans, numbers, types, depth, keys; checksums made right again)
and read by the code of the stages; a command line runs up to its first stage. An input is refused by an InputError
with one clear message, or by exit code 2; if it is taken, the result must be right. Anything else is a failure: another
exception, a warning, a process that ends, too many seconds, too much memory. Failures are kept as files;
`--replay=KIND:NUMBER` reads one again. Writes JSON and Markdown, and exits with code 1 after a failure.
"""

import collections
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

from benchmarks.common import command
from benchmarks.common.command import FLAGS, REPOSITORY, check_names, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.reliability.fuzz.kinds import KINDS, check, make_kinds, show
from benchmarks.reliability.fuzz.process import Job, failure_file, make_input

_WAITED = 60  # seconds without work of an input, after which it counts as hanging
_START = 600
_TICK = 0.25


@dataclasses.dataclass
class Tally:
    """Counts the inputs of a kind by outcome."""

    kind: str
    inputs: int = 0
    taken: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    mib: float = 0.0
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        """Counts an input that was read."""
        self.inputs += 1
        self.taken += answer["taken"]
        self.seconds += answer["seconds"]
        self.slowest = max(self.slowest, answer["seconds"])
        self.mib = max(self.mib, answer["mib"])
        if "error" in answer:
            self.failures.append({key: answer[key] for key in ("number", "error", "where", "traceback")})

    def add_death(self, number: int, reason: str) -> None:
        """Counts an input at which the process ended."""
        self.inputs += 1
        self.failures.append({"number": number, "error": reason, "where": "process", "traceback": ""})


def fuzz(job: Job, tally: Tally, log: Path) -> None:
    """Reads all inputs of a job, in another process after each that ended one; counts them in `tally`."""
    while job.first < job.last:
        number, ended = _run(job, tally, log)
        if ended:
            tally.add_death(number, ended)
        job = dataclasses.replace(job, first=number + 1)


def _run(job: Job, tally: Tally, log: Path) -> tuple[int, str]:
    """Runs a process; returns the number of its last input, and why it ended early."""
    reading, writing = os.pipe()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.reliability.fuzz.process",
        json.dumps(dataclasses.asdict(job)),
        str(writing),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, pass_fds=[writing], stdout=output, stderr=output, cwd=REPOSITORY, env=environment
        )
    os.close(writing)
    number, waited, hung, rest, shown = job.first - 1, 0.0, False, b"", time.monotonic()
    while True:
        ready, _, _ = select.select([reading], [], [], _TICK)
        if not ready:
            # Counted, and not read off a clock: where all processes were stopped for a while, nothing hangs.
            waited += _TICK
            if waited > (_WAITED + job.seconds if number >= job.first else _START):
                hung = True
                process.kill()
                break
            continue
        waited = 0.0
        data = os.read(reading, 2**16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "begun" in answer:
                number = answer["begun"]
            else:
                tally.add(answer)
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            print(f"  {job.kind}: {number + 1} of {job.last}, {len(tally.failures)} failures", flush=True)
    os.close(reading)
    code = process.wait()
    if number < job.first:
        raise RuntimeError(f"{job.kind}: the process ended with {code} before its first input; see {log}")
    if hung:
        return number, f"hangs: no end after {_WAITED} s"
    if code == -signal.SIGPROF:
        return number, f"more than {job.seconds:g} s of the processor"
    return number, "" if code == 0 else f"the process ended ({signal.Signals(-code).name if code < 0 else code})"


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = [
        {
            "kind": one["kind"],
            "inputs": one["inputs"],
            "refused": one["inputs"] - one["taken"] - len(one["failures"]),
            "taken, and right": one["taken"],
            "failures": len(one["failures"]),
            "slowest, s": one["slowest"],
            "further memory, MiB": round(one["mib"]),
        }
        for one in report["kinds"]
    ]
    sections = [
        "# Wrong inputs",
        f"{measured_on(report)} Processor seconds per input, at most {report['seconds']:g}; memory beyond what the "
        f"process has when it begins, at most {report['mib']} MiB.",
        table(rows),
    ]
    for one in report["kinds"]:
        errors = collections.Counter(f"{each['where']}: {each['error']}" for each in one["failures"])
        sections += [f"- {one['kind']}, {count} times: {error}" for error, count in errors.most_common(20)]
    return page(*sections)


def replay(kind: str, number: int, folder: Path) -> None:
    """Reads one input in this process, without limits."""
    os.chdir(folder)
    target = make_kinds(folder, [kind])[kind]
    data = make_input(target, FLAGS.seed, number)
    print(show(data))
    print("taken" if check(target, data) else "refused")


def main(_: list[str]) -> None:
    """Fuzzes each kind."""
    if FLAGS.replay:
        kind, _, number = FLAGS.replay.rpartition(":")
        with tempfile.TemporaryDirectory() as name:
            replay(kind, int(number), Path(name))
        return
    check_names("kinds", FLAGS.kinds, KINDS)
    output = output_path("fuzz")
    failures = output.with_name(f"{output.name}-failures")
    tallies = []
    for kind in FLAGS.kinds or KINDS:
        tallies.append(Tally(kind))
        job = Job(kind, FLAGS.seed, FLAGS.first, FLAGS.first + FLAGS.inputs, FLAGS.seconds, FLAGS.mib, str(failures))
        fuzz(job, tallies[-1], output.with_suffix(".log"))
        report = {
            **surroundings("benchmarks.reliability.fuzz"),
            "seconds": FLAGS.seconds,
            "mib": FLAGS.mib,
            "kinds": [dataclasses.asdict(tally) for tally in tallies],
        }
        publish(report, output, to_markdown(report))  # after each: all of them take hours
    failed = sum(len(tally.failures) for tally in tallies)
    if failed:
        example = failure_file(str(failures), "KIND", FLAGS.seed, 0).with_name("*")
        raise SystemExit(f"{failed} inputs failed; they are in {example}")


if __name__ == "__main__":
    command.define_flags()
    flags.DEFINE_integer("inputs", 10_000, "Inputs per kind.", lower_bound=1)
    flags.DEFINE_integer("first", 0, "Number of the first input.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Seed of the inputs.")
    flags.DEFINE_list("kinds", [], "Which kinds; empty for all.")
    flags.DEFINE_float("seconds", 20.0, "Processor seconds per input, at most.", lower_bound=0.1)
    flags.DEFINE_integer("mib", 2048, "Memory, at most, beyond what the process has when it begins.", lower_bound=64)
    flags.DEFINE_string("replay", "", "KIND:NUMBER of an input to read again, here.")
    app.run(main)
