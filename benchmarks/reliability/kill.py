"""Ends each stage by `kill -9` at random moments and runs it again: `python -m benchmarks.reliability.kill --kills=20`.

Half of the moments are drawn from the seconds of the stage, half from all changes of files (a file that is opened to be
written, a new name, a removal), as what takes no time is never hit by the clock.

Compared with an undisturbed run of the same command: every number of the weights, the log and the result but for times,
every byte of all other files, and the names of all that is left. Two undisturbed runs are compared first: files that
differ between these are named, and count by their names alone. Random weights of a small model, the generated sample of
SST-2. Writes JSON and Markdown, where other stages keep their rows, and exits with code 1 where anything differs.
"""

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

from benchmarks.common.command import FLAGS, RESULTS, define_output_flag, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import write_tiny_checkpoint
from benchmarks.reliability.run_state import differences, state_of
from powerbert_tf import command_line

# Stage -> the stage that is run before it, and its flags.
STAGES = {
    "finetune": ("", "--stage=finetune"),
    "search-paper": ("finetune", "--stage=search", "--search_method=paper"),
    "search-soft": ("finetune", "--stage=search", "--search_method=soft"),
    "search-calibrate": ("finetune", "--stage=search"),
    "elastic": ("finetune", "--stage=elastic"),
    "retrain": ("search", "--stage=retrain"),
    "evaluate": ("retrain", "--stage=evaluate"),
    "predict": ("retrain", "--stage=predict"),
    "export": ("retrain", "--stage=export", "--export_format=tf_saved_model,hugging_face"),
    "pareto": ("finetune", "--stage=pareto"),
}
_BEGUN = ": running ("  # of a stage
_CHANGED = "changes of files: "  # last line of the log of a process that was not killed
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")


@dataclasses.dataclass
class Outcome:
    """The outcome of a stage that was killed again and again."""

    seconds: float  # undisturbed
    changes: int  # of files, undisturbed
    by_clock: int = 0  # kills at a moment of the stage
    by_change: int = 0  # kills before a change of a file
    ends: int = 0  # how often it was finished
    resumed: int = 0  # how often it resumed from a checkpoint
    unsteady: list[str] = dataclasses.field(default_factory=list)  # files that differ between two undisturbed runs
    wrong: list[str] = dataclasses.field(default_factory=list)  # differences after kills

    @property
    def killed(self) -> int:
        return self.by_clock + self.by_change


def run_process(
    arguments: Sequence[str], log: Path, kill_after: float | None = None, kill_before: int | None = None
) -> tuple[int | None, float]:
    """Runs `run_glue.py`.

    It is forked, and the clock starts with its last stage; otherwise most kills would hit an import of TensorFlow.

    Args:
        arguments: Flags.
        log: Gets what it prints, at its end.
        kill_after: Seconds of its last stage after which it is killed.
        kill_before: Number of the change of a file, from 1, before which it is killed.

    Returns:
        Its exit code, None where it was killed, and the seconds of its last stage.
    """
    log.touch()
    earlier = log.read_text().count(_BEGUN)
    pid = os.fork()
    if not pid:
        _child(arguments, log, kill_before)
    began = 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return (None if code == -signal.SIGKILL else code), time.monotonic() - began
        if log.read_text().count(_BEGUN) > earlier:
            began, earlier = time.monotonic(), earlier + 1
        if kill_after is not None and began and time.monotonic() - began >= kill_after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None, kill_after
        time.sleep(0.005)


def changes_of_files(log: Path) -> int:
    """Returns how many changes the last process made that was not killed."""
    return int(log.read_text().rpartition(_CHANGED)[2].split()[0])


def _child(arguments: Sequence[str], log: Path, kill_before: int | None) -> None:
    changes = 0

    def count(event: str, values: tuple) -> None:
        nonlocal changes
        if event in _CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & _WRITES):
            changes += 1
            if changes == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.addaudithook(count)
        flags.FLAGS(["run_glue.py", *arguments])
        command_line.main(["run_glue.py"])
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        print(f"{_CHANGED}{changes}", flush=True)
        os._exit(code)


def disturb(
    arguments: Sequence[str], before: Path, expected: dict[str, Any], outcome: Outcome, kills: int, draw: random.Random
) -> None:
    """Kills a stage again and again, and starts over from what was there before it whenever it gets to its end.

    Args:
        arguments: Of the command, without its folders.
        before: What was there before the stage; beside it is room for the folders of this.
        expected: State that an undisturbed run left.
        outcome: Of the stage; counts and differences are added.
        kills: How many.
        draw: Of the moments.
    """
    while outcome.killed < kills and not outcome.wrong:
        output, log = before.parent / "disturbed", before.parent / "disturbed.log"
        shutil.copytree(before, output)
        log.unlink(missing_ok=True)
        while True:
            moment: dict[str, Any] = {}
            if outcome.killed < kills:
                by_clock = outcome.killed % 2 == 0
                if by_clock:
                    moment = {"kill_after": draw.uniform(0.0, 1.0) * outcome.seconds}
                else:
                    moment = {"kill_before": draw.randint(1, outcome.changes)}
            code, _ = run_process([*arguments, *_folders(output)], log, **moment)
            if code is not None:
                break
            outcome.by_clock += by_clock
            outcome.by_change += not by_clock
            print(f"  killed: {moment}", flush=True)
        outcome.ends += 1
        outcome.resumed += len(re.findall(r"(?:goes on|resumes) from its checkpoint", log.read_text()))
        if code:
            outcome.wrong.append(f"exit code {code}: {log.read_text().splitlines()[-2:]}")
        else:
            outcome.wrong += differences(expected, state_of(output), frozenset(outcome.unsteady))
        shutil.rmtree(output)


def run_stage(stage: str, common: Sequence[str], scratch: Path, draw: random.Random) -> Outcome:
    """Runs a stage undisturbed, twice, then disturbed."""
    needed, *own = STAGES[stage]
    # The paper's search has lambda for a knob, and refuses a target.
    arguments = [*(each for each in common if "paper" not in stage or "target_speedup=" not in each), *own]
    before = scratch / "before"
    if not before.exists():
        before.mkdir()
    if needed:
        kept = scratch / f"before-{needed}"
        if not kept.exists():
            _expect_success([*common, f"--stage={needed}", *_folders(kept)], scratch / "log")
        shutil.copytree(kept, before, dirs_exist_ok=True)
    states = []
    for name in ("once", "twice"):
        shutil.copytree(before, scratch / name)
        log = scratch / "log"
        seconds = _expect_success([*arguments, *_folders(scratch / name)], log)
        states.append(state_of(scratch / name))
        shutil.rmtree(scratch / name)
    outcome = Outcome(round(seconds, 2), changes_of_files(log))
    outcome.unsteady = [name for name, content in states[0].items() if states[1].get(name, content) != content]
    outcome.wrong = differences(*states, frozenset(outcome.unsteady))
    disturb(arguments, before, states[1], outcome, FLAGS.kills, draw)
    shutil.rmtree(before)
    return outcome


def _folders(output: Path) -> list[str]:
    return [f"--output_dir={output}", f"--cache_dir={output / 'cache'}"]


def _expect_success(arguments: Sequence[str], log: Path) -> float:
    code, seconds = run_process(arguments, log)
    if code != 0:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {code}\n{log.read_text()}")
    return seconds


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text, one row per stage."""
    rows = [
        {
            "stage": stage,
            "killed at a moment": outcome["by_clock"],
            "before a change of a file": outcome["by_change"],
            "of changes": outcome["changes"],
            "resumed from a checkpoint": outcome["resumed"],
            "got to its end": outcome["ends"],
            "differ after kills": "; ".join(outcome["wrong"]) or "none",
            "differ between undisturbed runs": ", ".join(outcome["unsteady"]) or "none",
        }
        for stage, outcome in report["stages"].items()
    ]
    return page(
        "# Stages killed and run again",
        f"{measured_on(report)} 3 encoders x 32, 128 rows of the sample of SST-2, --deterministic.",
        table(rows),
    )


def main(argv: list[str]) -> None:
    """Runs each stage undisturbed, then disturbed."""
    output = Path(FLAGS.output or RESULTS / "kill")
    draw = random.Random(FLAGS.seed_of_moments)
    outcomes = _earlier(output)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        # In a process of its own: one that has run TensorFlow cannot be forked.
        pid = os.fork()
        if not pid:
            write_tiny_checkpoint(scratch, num_encoders=3, intermediate_size=64)
            os._exit(0)
        os.waitpid(pid, 0)
        common = [
            "--task=SST-2",
            f"--data_dir={FLAGS.sample}",
            f"--checkpoint={scratch / 'checkpoint'}",
            "--deterministic",
            "--cost_model=multiply_adds",
            "--calibration_examples=32",
            "--train_examples=128",
            "--batch_size=16",
            "--max_seq_length=24",
            "--length_buckets=2",
            "--epochs=2",
            "--epochs_retrain=2",
            "--learning_rate=1e-3",
            "--target_speedup=1.5",
            "--target_speedups=1.2,1.5",
            f"--checkpoint_steps={FLAGS.steps}",
            "--checkpoint_minutes=0",
        ]
        for stage in FLAGS.stages:
            outcomes[stage] = run_stage(stage, common, scratch, draw)
            values = {name: dataclasses.asdict(outcome) for name, outcome in outcomes.items()}
            report = {**surroundings("benchmarks.reliability.kill"), "stages": values}
            publish(report, output, to_markdown(report))  # after each: all of them take an hour
    sys.exit(int(any(outcome.wrong for outcome in outcomes.values())))


def _earlier(output: Path) -> dict[str, Outcome]:
    """Returns earlier outcomes of stages that this command leaves out."""
    path = output.with_suffix(".json")
    stages = json.loads(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}
    return {stage: Outcome(**values) for stage, values in stages.items() if stage not in FLAGS.stages}


def define_flags() -> None:
    """Flags of the command, beside those of `run_glue.py`, which has its own `--seed` and `--precision`."""
    flags.DEFINE_integer("threads", len(os.sched_getaffinity(0)), "Recorded in the report; nothing is set.")
    flags.DEFINE_integer("kills", 20, "Kills per stage.", lower_bound=0)
    flags.DEFINE_integer("steps", 3, "Steps between two checkpoints.")
    flags.DEFINE_integer("seed_of_moments", 0, "Seed of the moments at which a stage is killed.")
    flags.DEFINE_list("stages", list(STAGES), "Which stages.")
    flags.DEFINE_string("sample", "glue_data/sample", "Folder of the generated sample.")
    define_output_flag()


if __name__ == "__main__":
    define_flags()
    app.run(main)
