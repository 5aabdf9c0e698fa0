"""Wrong command lines."""

import contextlib
import dataclasses
import io
import json
import random
from pathlib import Path
from typing import Any, cast
from unittest import mock

from absl import flags
from absl.testing import flagsaver

from benchmarks import fuzz_corpus as corpus
from benchmarks.fuzz_kind import Kind, require
from benchmarks.fuzz_mutations import mutate_arguments
from powerbert_tf import command_line
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline


class _ReachedError(Exception):
    """A run got to its first stage."""


def command(folder: Path) -> Kind:
    """Flags, up to the first stage."""
    (folder / "checkpoint").mkdir(parents=True)
    corpus.write_google(folder / "checkpoint")
    corpus.write_data(folder / "data")
    (folder / "data" / "own.json").write_text(json.dumps(dict(corpus.TASK)), encoding="utf-8")
    place = folder.name
    common = [
        f"--checkpoint={place}/checkpoint", f"--cache_dir={place}/cache", f"--output_dir={place}/runs",
        f"--max_seq_length={corpus.MAX_SEQ_LENGTH}", "--cost_model=multiply_adds", "--epochs=1", "--seed=1",
    ]  # fmt: skip
    sound = [
        ["--task=SST-2", f"--data_dir={place}/data", *common, "--stage=all", "--target_speedup=1.5"],
        ["--task=SST-2", f"--data_dir={place}/data", *common, "--stage=finetune", "--retention_configuration=9,4"],
        ["--task=SST-2", f"--data_dir={place}/data", *common, "--stage=pareto", "--target_speedups=1.2,1.5"],
        [
            f"--train_file={place}/data/own.tsv",
            "--text_column=text",
            "--label_column=label",
            "--task=own",
            *common,
            "--target_speedup=1.5",
        ],
        [f"--task={place}/data/own.json", *common, "--stage=search", "--search_method=soft"],
        [f"--task={place}/runs/SST-2", "--stage=predict", f"--predict_file={place}/data/own.tsv", *common[:2]],
    ]
    names = [
        flag
        for kind in command_line.KINDS
        for flag in (field.name for field in dataclasses.fields(kind) if "help" in field.metadata)
    ]
    choices = ("", "0", "1", "2", "-1", "1e9", "a", "soft", "head", "none", "balanced", "onnx,google", "uncased", "0.5")
    words = [f"--{name.rstrip('_')}={choice}" for name in names for choice in choices] + [
        "", "-", "--", "---x", "--no", "--noregression", "x", "--seeds=0", "--seeds=3", "--seeds=1000000000",
        f"--config={place}/data/own.json", "--overwrite", "--flagfile=x", "--undefok=a", "--stage=elastic", "-v=1",
    ]  # fmt: skip

    def mutate(draw: random.Random) -> bytes:
        arguments = mutate_arguments(draw.choice(sound), draw, words)
        # Nothing is to be written anywhere else: names of files stay below the working directory.
        tame = [each for each in arguments if "=/" not in each and ".." not in each and "=~" not in each]
        return "\0".join(tame).encode("utf-8", "surrogateescape")

    def read(data: bytes) -> None:
        arguments = data.decode("utf-8", "surrogateescape").split("\0") if data else []
        code, told = _run_command(arguments)
        if code == 0:
            return
        lines = told.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        require(code == 2 and len(errors) == 1 and lines[-1] == errors[0], f"exit code {code}: {told[-500:]!r}")
        raise InputError(errors[0])

    return Kind(tuple("\0".join(arguments).encode() for arguments in sound[:-1]), mutate, read)


def _run_command(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command, 0 where it got to its first stage, and what it told as its error."""

    def stage(*_: Any) -> None:
        raise _ReachedError

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with (
        flagsaver.flagsaver(),
        mock.patch.object(pipeline, "run_stage", stage),
        mock.patch.object(command_line, "predict_files", stage),
        mock.patch("powerbert_tf.runs.run.load_costs", stage),  # measures, for minutes
        mock.patch("powerbert_tf.data.datasets.load_from_tfds", return_value=None),  # looks on the network
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        flags.FLAGS.unparse_flags()
        code = 0
        try:
            command_line.main(command_line.parse(["run_glue.py", *arguments]))
        except _ReachedError:
            pass
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            flags.FLAGS.mark_as_parsed()
    err.flush()
    return code, cast(io.BytesIO, err.buffer).getvalue().decode("utf-8")
