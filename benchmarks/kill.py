"""Ends each training stage by `kill -9` at random moments and runs it again: `python -m benchmarks.kill --kills=20`.

Compared with an undisturbed run of the same command: every number of the weights, the log and the result but for times,
and the names of all files that are left. Random weights of a small model, the generated sample of SST-2. Prints
Markdown and exits with code 1 where anything differs.
"""

import dataclasses
import json
import os
import random
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

import h5py
import numpy as np
from absl import app, flags

from benchmarks.random_checkpoint import SHAPES, write_random_checkpoint
from powerbert_tf import command_line
from powerbert_tf.checkpoints import find_checkpoint

FLAGS = flags.FLAGS
STAGES = {
    "finetune": ("--stage=finetune",),
    "search-soft": ("--stage=search", "--search_method=soft"),
    "search-paper": ("--stage=search", "--search_method=paper"),
    "retrain": ("--stage=retrain", "--search_method=calibrate"),
    "elastic": ("--stage=elastic", "--target_speedups=1.2,1.5"),
}
_TIMES = ("seconds", "compile_seconds", "compilations", "train_seconds", "eval_seconds", "input_wait_share", "resumed")
_BEGUN = ": running ("  # of a stage
_SMALL = dataclasses.replace(
    SHAPES["minilm"], num_hidden_layers=3, num_attention_heads=2, hidden_size=32, intermediate_size=64
)


def run_process(arguments: Sequence[str], log: Path, kill_after: float | None = None) -> tuple[int | None, float]:
    """Runs `run_glue.py` in a process of its own.

    It is forked, and the clock starts when its last stage does, so that what is killed is a run and not, most of the
    time, an import of TensorFlow.

    Returns:
        Its exit code, None where it was killed, and the seconds of its last stage.
    """
    log.touch()
    earlier = log.read_text().count(_BEGUN)
    pid = os.fork()
    if not pid:
        _child(arguments, log)
    began = 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.monotonic() - began
        if log.read_text().count(_BEGUN) > earlier:
            began, earlier = time.monotonic(), earlier + 1
        if kill_after is not None and began and time.monotonic() - began >= kill_after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None, kill_after
        time.sleep(0.005)


def _child(arguments: Sequence[str], log: Path) -> None:
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        flags.FLAGS(["run_glue.py", *arguments])
        command_line.main(["run_glue.py"])
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def state_of(folder: Path) -> dict[str, Any]:
    """What must be the same after every way to get there: names of files, weights, and values that are no times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = None
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                arrays: dict[str, Any] = {}
                file.visititems(
                    lambda key, item, arrays=arrays: (
                        arrays.update({key: np.asarray(item)}) if isinstance(item, h5py.Dataset) else None
                    )
                )
            found[name] = {key: (array.shape, array.tobytes()) for key, array in arrays.items()}
        elif path.name in ("result.json", "log.jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else []
            rows = rows or [json.loads(path.read_text())]
            found[name] = [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]
    return found


def disturbed(
    stage: str, arguments: Sequence[str], finished: Path, whole: float, kills: int, draw: random.Random, scratch: Path
) -> tuple[int, int, list[str]]:
    """Kills a stage again and again, and starts over from what was there before it whenever it gets to its end.

    Args:
        stage: A name of `STAGES`.
        arguments: Of the command, without its output folder.
        finished: What an undisturbed run left, with the stages before it.
        whole: Its seconds.
        kills: How many.
        draw: Of the moments.
        scratch: To write in.

    Returns:
        How often it went on to its end, how often from a checkpoint, and what was different then.
    """
    own = STAGES[stage][0].split("=")[1]
    killed = ends = resumed = 0
    wrong: list[str] = []
    while killed < kills:
        output = scratch / f"disturbed-{ends}"
        shutil.copytree(finished, output)
        shutil.rmtree(output / "SST-2" / own)
        (output / "SST-2" / "config.json").unlink()
        log = scratch / f"{own}-{ends}.log"
        while True:
            kill_after = draw.uniform(0.0, 1.0) * whole if killed < kills else None
            code, _ = run_process([*arguments, f"--output_dir={output}"], log, kill_after)
            if code is not None:
                break
            killed += 1
        ends += 1
        resumed += log.read_text().count("goes on from its checkpoint")
        if code:
            wrong.append(f"exit code {code}: {log.read_text().splitlines()[-1:]}")
            break
        expected, found = state_of(finished), state_of(output)
        for name in sorted(expected.keys() | found.keys()):
            if name not in found or name not in expected:
                wrong.append(f"{name}: {'left behind' if name in found else 'missing'}")
            elif name != "SST-2/config.json" and expected[name] != found[name]:
                wrong.append(f"{name}: not the same")
        shutil.rmtree(output)
    return ends, resumed, wrong


def main(argv: list[str]) -> None:
    """Undisturbed, then disturbed."""
    draw = random.Random(FLAGS.seed_of_moments)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        checkpoint = scratch / "checkpoint"
        checkpoint.mkdir()
        # In a process of its own: one that has run TensorFlow cannot be forked.
        pid = os.fork()
        if not pid:
            write_random_checkpoint(checkpoint, _SMALL, 2)
            os._exit(0)
        os.waitpid(pid, 0)
        shutil.copy(find_checkpoint().folder / "vocab.txt", checkpoint)
        common = [
            "--task=SST-2",
            f"--data_dir={FLAGS.sample}",
            f"--checkpoint={checkpoint}",
            f"--cache_dir={scratch / 'cache'}",
            "--deterministic",
            "--cost_model=multiply_adds",
            "--calibration_examples=32",
            "--train_examples=512",
            "--batch_size=16",
            "--epochs=2",
            "--epochs_retrain=2",
            "--learning_rate=1e-3",
            "--target_speedup=1.5",
            f"--checkpoint_steps={FLAGS.steps}",
            "--checkpoint_minutes=0",
        ]
        print("| stage | seconds undisturbed | killed | got to its end | went on from a checkpoint | differences |")
        print("| --- |" + " --- |" * 5, flush=True)
        base = scratch / "base"
        for stage in FLAGS.stages:
            own = [argument for argument in common if "speedup=" not in argument or "paper" not in stage]
            arguments = [*own, *STAGES[stage]]
            finished = scratch / "finished"
            before = "--stage=finetune" if stage != "retrain" else "--stage=search"
            if stage != "finetune":
                method = [argument for argument in STAGES[stage] if "search_method" in argument]
                if base.exists():
                    shutil.copytree(base, finished)
                _expect_success([*own, *method, before, f"--output_dir={finished}"], scratch / "log")
            _, whole = _expect_success([*arguments, f"--output_dir={finished}"], scratch / "log")
            if stage == "finetune":
                shutil.copytree(finished, base)
            ends, resumed, wrong = disturbed(stage, arguments, finished, whole, FLAGS.kills, draw, scratch)
            failed = failed or bool(wrong)
            row = f"{whole:.1f} | {FLAGS.kills} | {ends} | {resumed} | {'; '.join(wrong) or 'none'}"
            print(f"| {stage} | {row} |", flush=True)
            shutil.rmtree(finished)
    sys.exit(int(failed))


def _expect_success(arguments: Sequence[str], log: Path) -> tuple[int | None, float]:
    code, seconds = run_process(arguments, log)
    if code != 0:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {code}\n{log.read_text()}")
    return code, seconds


def define_flags() -> None:
    """Flags of the command, beside those of `run_glue.py`, which has its own `--seed`."""
    flags.DEFINE_integer("kills", 20, "Of each stage.")
    flags.DEFINE_integer("steps", 5, "Between two checkpoints.")
    flags.DEFINE_integer("seed_of_moments", 0, "Of the moments.")
    flags.DEFINE_list("stages", list(STAGES), "Some of them.")
    flags.DEFINE_string("sample", "glue_data/sample", "Folder of the generated sample.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
