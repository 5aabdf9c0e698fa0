"""Bad input is one line on stderr and exit code 2, before any training."""

import errno
import io
import os
import signal
from collections import namedtuple

import pytest
from absl import flags
from absl.testing import flagsaver
from tiny_task import CONFIG, write_checkpoint, write_data

from powerbert_tf import command_line
from powerbert_tf.runs import job, stage_runner
from powerbert_tf.runs.flag_groups import flag_groups, help_text
from powerbert_tf.runs.folder import shutil as run_folder_shutil
from powerbert_tf.runs.stages import finetune as finetune_stage

COMMAND_LINE = """
import runpy, sys
sys.argv[0] = "run_glue.py"
runpy.run_path("run_glue.py", run_name="__main__")
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "checkpoint")
    write_data(tmp_path / "data")

    def train(*_):
        raise AssertionError("training began")

    for stage in stage_runner.STAGE_FUNCTIONS:
        monkeypatch.setitem(stage_runner.STAGE_FUNCTIONS, stage, train)
    return tmp_path


@pytest.fixture
def fails(world, capsys):
    """Runs the command line; returns its one line of error."""

    def run(**changes):
        given = {
            "task": "SST-2",
            "checkpoint": world / "checkpoint",
            "data_dir": world / "data",
            "output_dir": world / "runs",
            "max_seq_length": 23,
            "cost_model": "multiply_adds",  # of a model so small, calls take the time
            **changes,
        }
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
            command_line.main(
                command_line.parse(["run_glue.py", *(f"--{name}={value}" for name, value in given.items())])
            )
        assert caught.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"task": "MRPCC"}, "--task=MRPCC: no such task; expected one of CoLA, RTE, "),
        ({"task": "sst-2"}, "Did you mean SST-2?"),
        ({"task": "mnli"}, "Did you mean MNLI?"),
        ({"task": "AX"}, "--task=AX: has only a test file; pass --task=MNLI"),
        ({"task": ""}, "--task: missing; expected a GLUE task, such as --task=MRPC"),
        ({"stage": "train"}, "--stage=train: no such stage; expected one of all, finetune, search, retrain, "),
        ({"no_such_flag": 1}, "Unknown command line flag 'no_such_flag'"),
        ({"epochs": "many"}, "flag --epochs=many: invalid literal"),
        ({"epochs": 0}, "--epochs=0: expected at least 1"),
        ({"lambda": -1}, "--lambda=-1.0: expected 0 or a positive number"),
        ({"learning_rate": "nan"}, "--learning_rate=nan: expected 0 or a positive number"),
        ({"warmup_proportion": 2}, "--warmup_proportion=2.0: expected a share in [0, 1]"),
        ({"selection": "tail"}, "--selection=tail: expected one of attention, weighted, head, random"),
        ({"output_dir": ""}, "--output_dir=: expected a folder"),
        ({"seed": -1}, "--seed=-1: expected a whole number from 0"),
        ({"max_seq_length": 32}, "--max_seq_length=32: "),
        ({"max_seq_length": 2}, "--max_seq_length=2: leaves no room for words; expected at least 3"),
        ({"retention_configuration": "9,11"}, "encoder 2 keeps 11 of the 9 left by the one before"),
        ({"retention_configuration": "24,3"}, "encoder 1 keeps 24, more than the maximum sequence length 23"),
        ({"retention_configuration": "9,5,3"}, "3 entries; expected 2, one for each encoder"),
        ({"retention_configuration": "9,0"}, "encoder 2 keeps 0; expected at least 1"),
        (
            {"retention_configuration": "9;5"},
            "expected 2 whole numbers, or 2 fractions such as 0.8, with commas between",
        ),
        ({"search_method": "guess"}, "--search_method=guess: expected one of calibrate, soft, paper"),
        ({"target_speedup": 3, "max_loss": 0.01}, "--target_speedup and --max_loss are given; expected one target"),
        ({"target_speedup": 3, "retention_configuration": "9,5"}, "--retention_configuration are given; expected one"),
        ({"target_speedup": 3, "search_method": "paper"}, "--target_speedup: the paper's search has lambda"),
        ({"max_loss": 0.1, "search_method": "soft"}, "--max_loss: the soft search goes to a speed-up"),
        ({"max_loss": -1}, "--max_loss=-1.0: expected 0 or a positive number"),
        ({"target_speedups": "2,x"}, "--target_speedups=2,x: expected speed-ups of at least 1 with commas between"),
        ({"cost_model": "multiply_adds", "target_speedup": 99}, "--target_speedup=99: out of reach; expected a speed"),
        (
            {"cost_model": "multiply_adds", "target_latency_ms": 3},
            "needs measured times; expected --cost_model=measured",
        ),
        ({"distillation": "hints"}, "--distillation=hints: expected one of logits, kl, none"),
        ({"seeds": 0}, "--seeds=0: expected at least 1"),
        ({"checkpoint": "/no/such/folder"}, "checkpoint /no/such/folder: no such folder"),
    ],
)
def test_flags(fails, flags, message):
    assert message in fails(**flags)


def test_a_missing_file_of_the_checkpoint(fails, world):
    (world / "checkpoint" / "bert_model.ckpt.index").unlink()
    assert "bert_model.ckpt.index: no such file; the checkpoint is incomplete" in fails()


def test_a_missing_vocabulary(fails, world):
    (world / "checkpoint" / "vocab.txt").unlink()
    assert "vocab.txt: cannot be read (No such file or directory)" in fails()


def test_a_vocabulary_of_another_size(fails, world):
    with (world / "checkpoint" / "vocab.txt").open("a") as file:
        file.write("zzzz\n")
    expected = f"{CONFIG['vocab_size'] + 1} tokens; expected {CONFIG['vocab_size']}, the vocab_size"
    assert expected in fails()


def test_an_empty_file(fails, world):
    (world / "data" / "SST-2" / "dev.tsv").write_bytes(b"")
    assert "dev.tsv" in fails()


def test_a_misaligned_file(fails, world):
    path = world / "data" / "SST-2" / "train.tsv"
    path.write_text(path.read_text().replace("\t", " "))
    assert "train.tsv" in fails()


def test_a_byte_that_is_not_utf_8(fails, world):
    path = world / "data" / "SST-2" / "train.tsv"
    lines = path.read_bytes().split(b"\n")
    lines[6] = b"caf\xe9\t1"
    path.write_bytes(b"\n".join(lines))
    line = fails()
    assert f"{path}" in line
    assert "7" in line.split("train.tsv", 1)[1]


def test_a_missing_split(fails, world):
    (world / "data" / "SST-2" / "test.tsv").unlink()
    assert "test.tsv missing" in fails()


def test_an_output_folder_that_cannot_be_written(fails, world):
    (world / "file").write_text("in the way")
    assert "--output_dir: " in fails(output_dir=world / "file")


def test_a_disk_without_room(fails, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(run_folder_shutil, "disk_usage", lambda _: usage(10**9, 10**9, 2**20))
    assert "has 1 MiB free; this run needs up to " in fails()


def test_a_disk_that_fills_up_while_it_is_written(fails, world, monkeypatch):
    def full(run, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "model.weights.h5"))

    monkeypatch.setitem(stage_runner.STAGE_FUNCTIONS, "finetune", full)
    assert "No space left on device" in fails()
    assert not (world / "runs" / "SST-2" / "finetune").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"settings": 3}', b"\xff"])
def test_a_damaged_result(fails, world, damage):
    folder = world / "runs" / "SST-2" / "finetune"
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes(damage)
    assert "pass --stage=finetune --overwrite to run the stage again" in fails()


def test_a_truncated_checkpoint_is_found_before_training(world, capsys, monkeypatch):
    path = world / "checkpoint" / "bert_model.ckpt.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:1000])
    monkeypatch.setitem(stage_runner.STAGE_FUNCTIONS, "finetune", finetune_stage.finetune)
    monkeypatch.setattr(finetune_stage, "train", lambda *_: pytest.fail("training began"))
    given = {"task": "SST-2", "max_seq_length": 23, "output_dir": world / "runs", "data_dir": world / "data"}
    given["cost_model"] = "multiply_adds"
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
        command_line.main(
            command_line.parse(
                ["run_glue.py", f"--checkpoint={world / 'checkpoint'}", *(f"--{k}={v}" for k, v in given.items())]
            )
        )
    assert caught.value.code == 2
    assert "cannot be read; damaged or truncated?" in capsys.readouterr().err


def test_names_that_are_no_utf_8_are_told_all_the_same(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setattr(job.pipeline, "run", lambda settings, *_, **__: print(settings.output_dir))
    with flagsaver.flagsaver():
        command_line.main(command_line.parse(["run_glue.py", "--task=MRPC", "--output_dir=runs\udcff"]))
    written.flush()
    assert written.buffer.getvalue().splitlines()[-1] == b"runs\\udcff"


@pytest.mark.slow
def test_a_new_process_gives_the_same_line_and_code(world, run_python):
    process = run_python(COMMAND_LINE, "--task=nope", expected=2)
    assert process.stderr.splitlines()[-1].startswith("error: --task=nope: no such task; expected one of CoLA")
    assert "Traceback" not in process.stderr


def test_help_names_every_setting_with_its_default():
    text = " ".join(help_text(flags.FLAGS, full=True).split())
    assert "--lambda Weight of the masses in the loss of --search_method=paper; a larger one eliminates more." in text
    assert "--epochs Epochs of each training stage. Default: the task's published value." in text
    assert "--epochs_retrain Epochs of re-training; 0 for none. Default: twice --epochs; --epochs with" in text
    assert "--eval_batch_size Batch size of evaluation and prediction. Default: 64." in text


def test_help_is_short_fits_a_terminal_and_every_flag_is_in_one_group(capsys):
    short, full = (help_text(flags.FLAGS, of_all) for of_all in (False, True))
    assert all(len(line) <= 80 for line in full.splitlines())
    everyday, *others = flag_groups().values()
    assert len(everyday) == 10
    assert [line[4:] for line in short.splitlines() if line.startswith("  --")] == [*everyday]
    named = [name for group in (everyday, *others) for name in group]
    own = {flag.name for flag in flags.FLAGS.get_flags_for_module("powerbert_tf.command_line")}
    assert len(named) == len({*named})
    assert {*named} == own
    assert "powerbert --task=MRPC" in short
    assert "run_glue" not in full


@pytest.mark.parametrize("flag", ["-h", "--help", "-help", "--helpshort", "--helpfull", "--version"])
def test_help_and_version_end_the_process_without_an_error(flag, capsys):
    with pytest.raises(SystemExit) as end:
        command_line.parse(["powerbert", "--task=MRPC", flag])
    assert not end.value.code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("powerbert 0." if flag == "--version" else "Makes BERT")


FIRST_LINES = """
import sys
from powerbert_tf import command_line
try:
    command_line.main(command_line.parse(["powerbert", *sys.argv[1:]]))
finally:
    slow = {"keras", "pandas", "scipy", "sklearn", "tensorflow"} & {*sys.modules}
    assert not slow, slow
"""


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        *(("--help", 0), ("--no_such_flag", 2), ("--epochs=0", 2), ("--stage=train", 2), ("--selection=tail", 2)),
        *(("--train_file=/no/such.csv", 2), ("--config=/no/such.json", 2), ("--checkpoint=/no/such", 2)),
        *(("--task=/no/such/task.json", 2), ("--task=nope", 2), ("--text=a", 2)),
    ],
)
def test_wrong_flags_are_found_before_tensorflow_is_imported(run_python, argument, code):
    task = () if "task" in argument or "file" in argument else ("--task=MRPC",)
    process = run_python(FIRST_LINES, *task, argument, expected=code)
    assert "Error" not in process.stderr
    assert len(process.stderr.splitlines()) == (code == 2)


def test_prediction_refuses_a_test_file_with_unreadable_rows(world, capsys):
    """A submission must hold a line for every row; that is found out before training."""
    path = world / "data" / "SST-2" / "test.tsv"
    good = [f"{n}\ta b" for n in range(300)]
    path.write_text("\n".join(["index\tsentence", *good, "300"]) + "\n")
    with flagsaver.flagsaver(), pytest.raises(SystemExit):
        command_line.main(
            command_line.parse(
                [
                    "run_glue.py", "--task=SST-2", "--stage=predict", "--max_seq_length=23",
                    f"--checkpoint={world / 'checkpoint'}", f"--data_dir={world / 'data'}",
                    f"--output_dir={world / 'runs'}",
                ]
            )
        )  # fmt: skip
    assert "1 row of the test split cannot be read (see the log); a GLUE submission needs all" in (
        capsys.readouterr().err
    )


def test_a_prediction_of_files_that_is_told_to_leave_says_so(monkeypatch, capsys):
    def predict_files(request, overwrite):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    monkeypatch.setattr(job, "read_predict_request", lambda *_: None)
    monkeypatch.setattr(job, "predict_files", predict_files)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        command_line.main(
            command_line.parse(["run_glue.py", "--task=verdicts", "--stage=predict", "--predict_file=new.csv"])
        )
    assert end.value.code == 75
    assert capsys.readouterr().err.startswith("\nterminated: ")
