"""What is fuzzed: for each kind of input, how a wrong one is made, and the code of the stages that reads it."""

import contextlib
import dataclasses
import io
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from benchmarks import fuzz_corpus as corpus
from benchmarks.fuzz_crc import blocks_of, with_checksums
from benchmarks.fuzz_mutations import mutate_arguments, mutate_bytes, mutate_json, overwrite_bytes, with_length
from powerbert_tf import command_line, pipeline
from powerbert_tf.acceleration_report import make_report
from powerbert_tf.architectures import ARCHITECTURES
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.errors import InputError
from powerbert_tf.model_card import quality_rows
from powerbert_tf.pareto import Baseline, Point, pareto_table
from powerbert_tf.preparation import prepare
from powerbert_tf.report_sections import headline
from powerbert_tf.request import read_request
from powerbert_tf.retention_file import RETENTION_FILE, read_retention
from powerbert_tf.run_folder import RESULT_FILE
from powerbert_tf.run_summaries import as_evaluated, print_summary
from powerbert_tf.seeds import format_seeds, summarize_seeds
from powerbert_tf.settings import STAGES, Settings, resolve_settings
from powerbert_tf.stage_plan import plan_stages
from powerbert_tf.task_file import TASK_FILE
from powerbert_tf.tasks import TASKS
from powerbert_tf.tokenization import Tokenizer, is_cased, read_vocabulary
from powerbert_tf.trained import load_trained
from powerbert_tf.tsv import read_tsv

_LONGEST_MESSAGE = 5000  # characters


class WrongError(Exception):
    """An input was taken, and what came of it is not right; or was refused, and not as it should be."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        sound: Inputs that are taken.
        mutate: Makes a wrong one, as bytes.
        read: Reads one, as the stages do: returns where it is right, or raises an InputError.
    """

    sound: tuple[bytes, ...]
    mutate: Callable[[random.Random], bytes]
    read: Callable[[bytes], Any]


def check(kind: Kind, data: bytes) -> bool:
    """Reads an input.

    Returns:
        Whether it was taken; else it was refused by an InputError.

    Raises:
        Exception: Whatever should not have been raised.
    """
    try:
        kind.read(data)
    except InputError as error:
        _require_clear(str(error))
        return False
    return True


def _require_clear(message: str) -> None:
    if not message.strip() or len(message) > _LONGEST_MESSAGE:
        raise WrongError(f"the message has {len(message)} characters: {message[:200]!r}")
    message.encode("utf-8", "backslashreplace")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongError(what)


def make_kinds(folder: Path, names: tuple[str, ...] = ()) -> dict[str, Kind]:
    """The kinds of inputs.

    Args:
        folder: Empty, for sound files and for what is written while inputs are read; it has to be the working
            directory, as command lines name files below it.
        names: Which; none for all.
    """
    made = {name: make(folder / name) for name, make in _MAKERS.items() if name in names or not names}
    return dict(made)


def _bert_config(folder: Path) -> Kind:
    places = []
    for architecture, row in ARCHITECTURES.items():
        place = folder / architecture
        place.mkdir(parents=True)
        corpus.write_hugging_face(place, architecture)
        places.append((place, "config.json"))
        if row.google is not None:
            place = folder / f"google-{architecture}"
            place.mkdir()
            corpus.write_google(place, architecture)
            places.append((place, row.google.config))
    sound = [json.loads((place / name).read_text(encoding="utf-8")) for place, name in places]
    sound[0] |= {"classifier_dropout": None, "layer_norm_eps": 1e-12, "position_offset": 0, "shares_encoders": False}
    words = [*{key for values in sound for key in values}, *ARCHITECTURES, "gelu", "relu", "BertModel", "architectures"]

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(places))
        return bytes([which]) + mutate_json(sound[which], draw, words)

    def read(data: bytes) -> None:
        place, name = places[data[0]]
        (place / name).write_bytes(data[1:])
        model = load_classifier(find_checkpoint(place), 2, corpus.MAX_SEQ_LENGTH)
        _require(all(np.all(np.isfinite(weight.numpy())) for weight in model.weights), "weights that are not finite")

    return Kind(tuple(bytes([which]) + json.dumps(values).encode() for which, values in enumerate(sound)), mutate, read)


def _google_file(folder: Path, ending: str) -> tuple[Path, bytes, Callable[[], dict[str, np.ndarray]]]:
    folder.mkdir(parents=True)
    corpus.write_google(folder)
    path = folder / f"bert_model.ckpt{ending}"
    return path, path.read_bytes(), find_checkpoint(folder).read_weights


def _checkpoint_index(folder: Path) -> Kind:
    path, sound, weights = _google_file(folder, ".index")
    expected, blocks = weights(), blocks_of(sound)
    words = [b"bert/encoder/layer_0", b"bert/encoder/layer_9", b"output_bias", b"global_step"]
    words += [
        b"\x08\x01",
        b"\x08\x02",
        b"\x08\x07",
        b"\x08\x14",
        b"\x12\x08\x12\x02\x08",
        b"\x28",
        b"\x35",
    ]  # of protos

    def mutate(draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            return mutate_bytes(sound, draw, words)
        first, last = draw.choice(blocks)
        return with_checksums(overwrite_bytes(sound, draw, first, last), blocks)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = find_checkpoint(folder).read_weights()
        if data == sound:
            _require(all(np.array_equal(expected[name], value) for name, value in found.items()), "other weights")
        load_classifier(folder, 2, corpus.MAX_SEQ_LENGTH)

    return Kind((sound,), mutate, read)


def _checkpoint_data(folder: Path) -> Kind:
    path, sound, weights = _google_file(folder, ".data-00000-of-00001")
    expected = weights()

    def mutate(draw: random.Random) -> bytes:
        return mutate_bytes(sound, draw) if draw.random() < 0.7 else overwrite_bytes(sound, draw, 0, len(sound))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = find_checkpoint(folder).read_weights()
        # Each tensor has a checksum; what is behind the last one is read by nobody.
        same = found.keys() == expected.keys() and all(np.array_equal(expected[name], found[name]) for name in found)
        _require(same, "other weights than were written")

    return Kind((sound,), mutate, read)


def _safetensors(folder: Path) -> Kind:
    folder.mkdir(parents=True)
    corpus.write_hugging_face(folder)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header, tensors = whole[8:end], whole[end:]
    values = json.loads(header)
    types = ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64", "x")
    words = [*types, "dtype", "shape", "data_offsets", "__metadata__", *list(values)[:3], "classifier.bias"]

    def mutate(draw: random.Random) -> bytes:
        kind = draw.randrange(3)
        if kind == 0:
            changed = mutate_json(values, draw, words)
            changed += b" " * (-len(changed) % 8)
            return with_length(changed) + tensors
        if kind == 1:
            return with_length(mutate_bytes(header, draw, [word.encode() for word in words])) + tensors
        return mutate_bytes(whole[: end + 64], draw) + tensors[64:]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        load_classifier(find_checkpoint(folder), 2, corpus.MAX_SEQ_LENGTH)

    return Kind((whole,), mutate, read)


def _vocabulary(folder: Path) -> Kind:
    folder.mkdir(parents=True)
    corpus.write_vocabulary(folder)
    path = folder / "vocab.txt"
    sound = path.read_bytes()
    words = [piece.encode() for piece in corpus.PIECES] + [b"##", b"[UNK]\n", b"[unused1]\n", "é\n".encode(), b"\r\n"]
    texts = tf.constant(["a b", "abc É", "", "\0 \u2028x", "x" * 300])

    def mutate(draw: random.Random) -> bytes:
        return mutate_bytes(sound, draw, words)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        pieces = read_vocabulary(path)
        lines = data.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
        _require(pieces == [line.removesuffix(b"\r").decode("utf-8") for line in lines], "other word-pieces")
        tokenizer = Tokenizer(pieces, lower_case=not is_cased(pieces))
        ids = tokenizer([texts], corpus.MAX_SEQ_LENGTH)[0].flat_values.numpy()
        _require(bool(np.all((ids >= 0) & (ids < len(pieces)))), "ids out of the vocabulary")

    return Kind((sound,), mutate, read)


def _tsv(folder: Path) -> Kind:
    folder.mkdir(parents=True)
    corpus.write_data(folder)
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
                _require(bool(np.all(np.isfinite(labels))), "labels that are no numbers")
            return
        task, labeled, _ = cases[data[0]]
        split.write_bytes(data[1:])
        rows = read_tsv(split, task.labeled if labeled else task.unlabeled, task.classes, labeled)
        written = data[1:].removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
        while written and not written[-1].removesuffix("\r"):
            written.pop()
        _require(len(rows) + rows.bad_rows == len(written) - 1, "not all rows")
        if rows.labels is not None:
            _require(bool(np.all(np.isfinite(rows.labels))), "labels that are no numbers")

    return Kind(tuple(bytes([which]) + content for which, content in enumerate(sound)), mutate, read)


def _retention(folder: Path) -> Kind:
    folder.mkdir(parents=True)
    sound = [dict(corpus.RETENTION), {**corpus.RETENTION, "kind": "counts", "values": [99, 40, 1], "budgets": []}]
    words = ["counts", "fractions", "attention", "head", "random", "values", "kind", "budgets", "target_speedup"]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(draw.choice(sound), draw, words)

    def read(data: bytes) -> None:
        (folder / RETENTION_FILE).write_bytes(data)
        found = read_retention(folder)
        for values in (found.values, *found.budgets.values()):
            _require(all(a >= b > 0 for a, b in itertools.pairwise(values)), "entries that increase")
            _require(0 < values[-1] <= values[0] <= found.max_seq_length, "entries out of their range")
        _require(all(0 < target < float("inf") for target in found.budgets), "targets that are none")

    return Kind(tuple(json.dumps(values).encode() for values in sound), mutate, read)


def _task(folder: Path) -> Kind:
    folder.mkdir(parents=True)
    corpus.write_data(folder)
    path = folder / TASK_FILE
    words = [field.name for field in dataclasses.fields(Settings)] + [
        "SST-2",
        "balanced",
        "macro_f1",
        "text_pair_column",
    ]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(dict(corpus.TASK), draw, words)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        settings, own = read_request({"task": str(path)})
        _require(isinstance(settings, Settings), "no settings")
        if own is not None:
            _require(len(own.dataset.splits["train"]) > 0, "no rows")

    return Kind((json.dumps(dict(corpus.TASK)).encode(),), mutate, read)


def _result(folder: Path) -> Kind:
    (folder / "checkpoint").mkdir(parents=True)
    corpus.write_google(folder / "checkpoint")
    corpus.write_data(folder / "data")
    settings = resolve_settings(
        "SST-2", checkpoint=str(folder / "checkpoint"), data_dir=str(folder / "data"), output_dir=str(folder / "runs"),
        max_seq_length=corpus.MAX_SEQ_LENGTH, cost_model="multiply_adds", cache_dir=str(folder / "cache"),
    )  # fmt: skip
    run = prepare(settings, folder / "runs" / "SST-2")
    corpus.write_results(run)
    of_elastic = dataclasses.replace(run, settings=dataclasses.replace(settings, export_model="elastic"))
    sound = corpus.results(run)
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
        """Everything that later stages and later runs read of the results of earlier ones."""
        plan_stages(run, STAGES, overwrite=True)
        result = run.folder.result(stage)
        assert result is not None
        run.configuration()
        quality_rows(run)
        quality_rows(of_elastic)
        print_summary(run)
        evaluated = run.folder.result("evaluate")
        assert evaluated is not None
        format_seeds(summarize_seeds({0: evaluated, 1: evaluated}), "SST-2")
        compared = {seed: as_evaluated(run.folder, "search") for seed in (0, 1)}
        format_seeds(summarize_seeds(compared), "SST-2")
        main = {**evaluated["reduced"]["metrics"], "name": evaluated["metric"], "dense": 0.5, "reduced": 0.5}
        headline({"metrics": [main], "speedup": evaluated["speedup"]})
        make_report(run, retrained=True)
        pareto = run.folder.result("pareto")
        assert pareto is not None
        points = [Point(**point) for point in pareto["points"]]
        pareto_table(points, pareto["metric"], [Baseline(**one) for one in pareto["baselines"]])
        load_trained(run.folder.root, {})

    return Kind(
        tuple(bytes([which]) + json.dumps(values).encode() for which, values in enumerate(sound.values())), mutate, read
    )


class _ReachedError(Exception):
    """A run got to its first stage."""


def _command_line(folder: Path) -> Kind:
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
    names = [flag for kind in command_line.KINDS for flag in (field.name for field in dataclasses.fields(kind))]
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
        _require(code == 2 and len(errors) == 1 and lines[-1] == errors[0], f"exit code {code}: {told[-500:]!r}")
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
        mock.patch("powerbert_tf.run.load_costs", stage),  # measures, for minutes
        mock.patch("powerbert_tf.datasets.load_from_tfds", return_value=None),  # looks on the network
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


_MAKERS: dict[str, Callable[[Path], Kind]] = {
    "bert_config.json": _bert_config,
    "checkpoint index": _checkpoint_index,
    "checkpoint data": _checkpoint_data,
    "safetensors header": _safetensors,
    "vocab.txt": _vocabulary,
    "TSV": _tsv,
    "retention.json": _retention,
    "task.json": _task,
    "result.json": _result,
    "command line": _command_line,
}
KINDS = tuple(_MAKERS)


def show(data: bytes) -> str:
    """The beginning of an input, for a report."""
    return repr(data[:200]) + (f" and {len(data) - 200} bytes more" if len(data) > 200 else "")
