"""Wrong inputs of runs: tables, task.json, files of earlier runs, and command lines."""

import contextlib
import io
import itertools
import json
import random
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pandas as pd
from absl import flags
from absl.testing import flagsaver

from benchmarks.reliability.fuzz import sound_files
from benchmarks.reliability.fuzz.kinds import Kind, require
from benchmarks.reliability.fuzz.mutations import mutate_arguments, mutate_bytes, mutate_json
from powerbert_tf import command_line
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.glue import read_tsv
from powerbert_tf.data.tasks import TASK_FILE, TASKS
from powerbert_tf.elimination.retention import RETENTION_FILE, read_retention
from powerbert_tf.export.cards import quality_rows
from powerbert_tf.reports.acceleration_report import make_report
from powerbert_tf.reports.pareto import Baseline, Point, pareto_table
from powerbert_tf.reports.sections import headline
from powerbert_tf.reports.seeds import format_seeds, summarize_seeds
from powerbert_tf.runs import job, pipeline
from powerbert_tf.runs.finished_run import load_finished_run
from powerbert_tf.runs.flag_groups import flag_groups
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.result_schema import RESULT_FILE
from powerbert_tf.runs.settings import FIELDS, STAGES, Settings, resolve_settings
from powerbert_tf.runs.stage_plan import plan_stages
from powerbert_tf.runs.summaries import as_evaluated, print_summary


def tsv(folder: Path) -> Kind:
    """GLUE's files, and a table of your own."""
    folder.mkdir(parents=True)
    sound_files.write_data(folder)
    split, own = folder / "split.tsv", folder / "own.tsv"
    cases = [
        (TASKS["SST-2"], True, folder / "SST-2" / "dev.tsv"),
        (TASKS["SST-2"], False, folder / "SST-2" / "test.tsv"),
        (TASKS["STS-B"], True, folder / "STS-B" / "dev.tsv"),
    ]
    sound = [*(path.read_bytes() for _, _, path in cases), own.read_bytes()]
    words = [b"\t", b"\t\t", b"\n", b'"', b"1\n", b"2\n", b"-1", b"nan", b"\x85", b"sentence\tlabel", b"\\", b"\t5.0\n"]
    given: dict[str, Any] = {"train_file": str(own), "text_column": "text", "label_column": "label"}

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(sound))
        return bytes([which]) + mutate_bytes(sound[which], draw, words)

    def read(data: bytes) -> None:
        if data[0] == len(cases):
            own.write_bytes(data[1:])
            for more in ({}, {"on_bad_row": "skip", "quoting": "none"}):
                _, read_data = read_request({**given, **more})
                assert read_data is not None
                labels = read_data.dataset.splits["train"].labels
                assert labels is not None
                require(bool(np.all(np.isfinite(labels))), "labels that are no numbers")
            return
        task, labeled, _ = cases[data[0]]
        split.write_bytes(data[1:])
        rows = read_tsv(split, task.labeled if labeled else task.unlabeled, task.classes, labeled)
        written = data[1:].removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
        while written and not written[-1].removesuffix("\r"):
            written.pop()
        require(len(rows) + rows.bad_rows == len(written) - 1, "not all rows")
        if rows.labels is not None:
            require(bool(np.all(np.isfinite(rows.labels))), "labels that are no numbers")

    return Kind(tuple(bytes([which]) + content for which, content in enumerate(sound)), mutate, read)


def tables(folder: Path) -> Kind:
    """Tables of your own, as other programs write them."""
    folder.mkdir(parents=True)
    columns = {
        "id": range(41),
        "text": [f'one, "{number}" \xe9t\xe9' for number in range(41)],
        "label": ["a", "b"] * 20 + ["a"],
    }
    frame = pd.DataFrame(columns)
    frame.to_csv(folder / "own.csv", index=False)
    frame.to_csv(folder / "semicolons.csv", index=False, sep=";", encoding="cp1252", lineterminator="\r\n")
    frame.to_csv(folder / "wide.csv", index=False, sep="\t", encoding="utf-16")
    frame.to_csv(folder / "escaped.csv", index=False, doublequote=False, escapechar="\\")
    frame.to_csv(folder / "own.csv.zip", index=False)
    frame.to_csv(folder / "own.csv.gz", index=False)
    frame.to_json(folder / "own.jsonl", orient="records", lines=True)
    frame.to_json(folder / "array.json", orient="records", indent=1)
    frame.to_json(folder / "columns.json")
    frame.to_parquet(folder / "own.parquet")
    paths = sorted(folder.iterdir())
    sound = [path.read_bytes() for path in paths]
    words = [
        b",",
        b";",
        b'"',
        b'\\"',
        b"\n",
        b"\r\n",
        b"\r",
        b"\xe9",
        b"\0",
        b"sep=;\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b"PAR1",
        b"\\u0000",
    ]

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(sound))
        return bytes([which]) + mutate_bytes(sound[which], draw, words)

    def read(data: bytes) -> None:
        path = paths[data[0]]
        path.write_bytes(data[1:])
        given = {"train_file": str(path), "text_column": "text", "label_column": "label"}
        for on_bad_row in ("error", "skip"):
            _, own = read_request({**given, "on_bad_row": on_bad_row})
            assert own is not None
            splits = own.dataset.splits.values()
            require(
                all(split.labels is not None and np.all(np.isfinite(split.labels)) for split in splits), "no labels"
            )
            require(all(text.strip() for split in splits for text in split.texts[0]), "rows without text")
            require(on_bad_row == "skip" or not own.rejected, "rows left out")

    return Kind(tuple(bytes([which]) + content for which, content in enumerate(sound)), mutate, read)


def task(folder: Path) -> Kind:
    """`task.json`."""
    folder.mkdir(parents=True)
    sound_files.write_data(folder)
    path = folder / TASK_FILE
    words = [*FIELDS, "SST-2", "balanced", "macro_f1", "text_pair_column"]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(dict(sound_files.TASK), draw, words)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        settings, own = read_request({"task": str(path)})
        require(isinstance(settings, Settings), "no settings")
        if own is not None:
            require(len(own.dataset.splits["train"]) > 0, "no rows")

    return Kind((json.dumps(dict(sound_files.TASK)).encode(),), mutate, read)


def retention(folder: Path) -> Kind:
    """`retention.json`."""
    folder.mkdir(parents=True)
    sound = [
        dict(sound_files.RETENTION),
        {**sound_files.RETENTION, "kind": "counts", "values": [99, 40, 1], "budgets": []},
    ]
    words = ["counts", "fractions", "attention", "head", "random", "values", "kind", "budgets", "target_speedup"]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(draw.choice(sound), draw, words)

    def read(data: bytes) -> None:
        (folder / RETENTION_FILE).write_bytes(data)
        found = read_retention(folder)
        for values in (found.values, *found.budgets.values()):
            require(all(a >= b > 0 for a, b in itertools.pairwise(values)), "entries that increase")
            require(0 < values[-1] <= values[0] <= found.max_seq_length, "entries out of their range")
        require(all(0 < target < float("inf") for target in found.budgets), "targets that are none")

    return Kind(tuple(json.dumps(values).encode() for values in sound), mutate, read)


def result(folder: Path) -> Kind:
    """`result.json` of every stage, read by later stages and reports."""
    (folder / "checkpoint").mkdir(parents=True)
    sound_files.write_google(folder / "checkpoint")
    sound_files.write_data(folder / "data")
    settings = resolve_settings(
        "SST-2", checkpoint=str(folder / "checkpoint"), data_dir=str(folder / "data"), output_dir=str(folder / "runs"),
        max_seq_length=sound_files.MAX_SEQ_LENGTH, cost_model="multiply_adds", cache_dir=str(folder / "cache"),
    )  # fmt: skip
    run = prepare(settings, folder / "runs" / "SST-2")
    sound_files.write_results(run)
    sound = sound_files.results(run)
    stages = list(sound)
    words = sorted({key for values in sound.values() for key in values})

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(stages))
        return bytes([which]) + mutate_json(sound[stages[which]], draw, words)

    def read(data: bytes) -> None:
        stage = stages[data[0]]
        path = run.folder.stage(stage) / RESULT_FILE
        path.write_bytes(data[1:])
        try:
            _read_results(stage)
        finally:
            path.write_text(json.dumps(sound[stage]), encoding="utf-8")

    def _read_results(stage: str) -> None:
        """Reads all that later stages and later runs read of earlier results."""
        plan_stages(run, STAGES, overwrite=True)
        result = run.folder.result(stage)
        assert result is not None
        run.configuration()
        quality_rows("retrain", run.folder.result("evaluate"), None)
        quality_rows("elastic", None, run.folder.result("elastic"))
        print_summary(run)
        evaluated = run.folder.result("evaluate")
        assert evaluated is not None
        format_seeds(summarize_seeds({0: evaluated, 1: evaluated}), "SST-2")
        compared = {seed: as_evaluated(run.folder, "search") for seed in (0, 1)}
        format_seeds(summarize_seeds(compared), "SST-2")
        main = {**evaluated["reduced"]["metrics"], "name": evaluated["metric"], "dense": 0.5, "reduced": 0.5}
        headline({"metrics": [main], "speedup": evaluated["speedup"]})
        make_report(evaluated, settings.inputs.max_seq_length, retrained=True)
        pareto = run.folder.result("pareto")
        assert pareto is not None
        points = [Point(**point) for point in pareto["points"]]
        pareto_table(points, pareto["metric"], [Baseline(**one) for one in pareto["baselines"]])
        load_finished_run(run.folder.root, {})

    return Kind(
        tuple(bytes([which]) + json.dumps(values).encode() for which, values in enumerate(sound.values())), mutate, read
    )


class _ReachedError(Exception):
    """A run got to its first stage."""


def command(folder: Path) -> Kind:
    """Flags, up to the first stage."""
    (folder / "checkpoint").mkdir(parents=True)
    sound_files.write_google(folder / "checkpoint")
    sound_files.write_data(folder / "data")
    (folder / "data" / "own.json").write_text(json.dumps(dict(sound_files.TASK)), encoding="utf-8")
    place = folder.name
    common = [
        f"--checkpoint={place}/checkpoint", f"--cache_dir={place}/cache", f"--output_dir={place}/runs",
        f"--max_seq_length={sound_files.MAX_SEQ_LENGTH}", "--cost_model=multiply_adds", "--epochs=1", "--seed=1",
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
    names = [name for group in flag_groups().values() for name in group]
    choices = ("", "0", "1", "2", "-1", "1e9", "a", "soft", "head", "none", "balanced", "onnx,google", "uncased", "0.5")
    words = [f"--{name}={choice}" for name in names for choice in choices] + [
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
        code, said = _run_command(arguments)
        if code == 0:
            return
        lines = said.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        require(code == 2 and len(errors) == 1 and lines[-1] == errors[0], f"exit code {code}: {said[-500:]!r}")
        raise InputError(errors[0])

    return Kind(tuple("\0".join(arguments).encode() for arguments in sound[:-1]), mutate, read)


def _run_command(arguments: list[str]) -> tuple[int, str]:
    """Returns the exit code of a command, 0 if it reached its first stage, and its error."""

    def stage(*_: Any) -> None:
        raise _ReachedError

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with (
        flagsaver.flagsaver(),
        mock.patch.object(pipeline, "run_stage", stage),
        mock.patch.object(job, "predict_files", stage),
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
