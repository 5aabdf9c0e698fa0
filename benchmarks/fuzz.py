"""Wrong inputs of every kind that is read, `python -m benchmarks.fuzz --inputs=10000`: each is refused, or right.

Of each kind, sound files are changed at random (bits, spans, numbers, types, depth, keys; checksums made right again)
and read by the code of the stages; of command lines, all is done up to the first stage. What is refused has to be so
by an InputError of one clear message, or exit code 2; what is taken has to be right. Anything else fails: another
exception, a warning, a process that ends, more seconds or memory than an input may take. Failures are kept as files,
and `--replay=KIND:NUMBER` reads one again. Writes JSON and Markdown, and exits with code 1 where anything failed.
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

import pandas as pd
from absl import app, flags

from benchmarks.command import FLAGS, define_flags, output_path, publish, surroundings
from benchmarks.fuzz_worker import Job, failure_file
from benchmarks.tables import table

KINDS = (
    "bert_config.json",
    "checkpoint index",
    "checkpoint data",
    "safetensors header",
    "vocab.txt",
    "TSV",
    "retention.json",
    "task.json",
    "result.json",
    "command line",
)
_WAITED = 60  # seconds without work of an input, after which it counts as hanging
_START = 600
_TICK = 0.25


@dataclasses.dataclass
class Tally:
    """What became of the inputs of a kind."""

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
    """Reads the inputs of a job, in another process after each at which one ended.

    Args:
        job: All inputs of a kind.
        tally: Where they are counted.
        log: Of what the processes print, their last words among it.
    """
    while job.first < job.last:
        number, ended = _run(job, tally, log)
        if ended:
            tally.add_death(number, ended)
        job = dataclasses.replace(job, first=number + 1)


def _run(job: Job, tally: Tally, log: Path) -> tuple[int, str]:
    """A process; the number of its last input, and why it ended before the last of all."""
    reading, writing = os.pipe()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.fuzz_worker", json.dumps(dataclasses.asdict(job)), str(writing)]
    root = Path(__file__).resolve().parent.parent
    with log.open("ab") as output:
        process = subprocess.Popen(command, pass_fds=[writing], stdout=output, stderr=output, cwd=root, env=environment)
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


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes Markdown."""
    frame = pd.DataFrame(
        [
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
    )
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    lines = [
        "# Wrong inputs",
        f"`{report['command']}`",
        f"{report['date']}; Python {report['python']}, {packages}. Seconds of the processor for one input, at most "
        f"{report['seconds']:g}; memory beyond what the process has when it begins, at most {report['mib']} MiB.",
        table(frame),
    ]
    for one in report["kinds"]:
        errors = collections.Counter(f"{each['where']}: {each['error']}" for each in one["failures"])
        lines += [f"- {one['kind']}, {count} times: {error}" for error, count in errors.most_common(20)]
    output.with_suffix(".md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def replay(kind: str, number: int, folder: Path) -> None:
    """Reads one input in this process, without limits."""
    os.chdir(folder)
    from benchmarks import fuzz_kind, fuzz_targets
    from benchmarks.fuzz_worker import make_input

    target = fuzz_targets.make_kinds(folder, (kind,))[kind]
    data = make_input(target, FLAGS.seed, number)
    print(fuzz_kind.show(data))
    print("taken" if fuzz_kind.check(target, data) else "refused")


def main(_: list[str]) -> None:
    """Fuzzes each kind."""
    if FLAGS.replay:
        kind, _, number = FLAGS.replay.rpartition(":")
        with tempfile.TemporaryDirectory() as name:
            replay(kind, int(number), Path(name))
        return
    unknown = set(FLAGS.kinds) - set(KINDS)
    if unknown:
        raise app.UsageError(f"--kinds: {', '.join(sorted(unknown))}; expected some of {', '.join(KINDS)}.")
    output = output_path("fuzz")
    failures = output.with_name(f"{output.name}-failures")
    tallies = []
    for kind in FLAGS.kinds or KINDS:
        tallies.append(Tally(kind))
        job = Job(kind, FLAGS.seed, FLAGS.first, FLAGS.first + FLAGS.inputs, FLAGS.seconds, FLAGS.mib, str(failures))
        fuzz(job, tallies[-1], output.with_suffix(".log"))
        report = {
            **surroundings("benchmarks.fuzz"),
            "seconds": FLAGS.seconds,
            "mib": FLAGS.mib,
            "kinds": [dataclasses.asdict(tally) for tally in tallies],
        }
        publish(report, output, write_report)  # each at once: all of them take hours
    failed = sum(len(tally.failures) for tally in tallies)
    if failed:
        example = failure_file(str(failures), "KIND", FLAGS.seed, 0).with_name("*")
        raise SystemExit(f"{failed} inputs failed; they are in {example}")


if __name__ == "__main__":
    define_flags()
    flags.DEFINE_integer("inputs", 10_000, "Of each kind.", lower_bound=1)
    flags.DEFINE_integer("first", 0, "Number of the first one.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the inputs.")
    flags.DEFINE_list("kinds", [], "Some of them; empty for all.")
    flags.DEFINE_float("seconds", 20.0, "Of the processor, at most, for one input.", lower_bound=0.1)
    flags.DEFINE_integer("mib", 2048, "Memory, at most, beyond what the process has when it begins.", lower_bound=64)
    flags.DEFINE_string("replay", "", "KIND:NUMBER of an input to read again, here.")
    app.run(main)
