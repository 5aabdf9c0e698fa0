"""`--predict_file` on the run of a tiny model, whose training data is gone."""

import csv
import dataclasses
import functools
import json
import os
import random
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from absl.testing import flagsaver
from tiny_task import write_checkpoint

from powerbert_tf import command_line
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.compilation import compiled_once, recorded_compilations
from powerbert_tf.prediction import predict
from powerbert_tf.prediction.answers import Answerer
from powerbert_tf.prediction.predict import answer_texts, predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.prediction.shards import ShardFolder
from powerbert_tf.prediction.windows import cut_windows
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.finished_run import FinishedRun
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.request import read_predict_request, read_request

LOAD = FinishedRun.reduced_model
CLASSES = ("bad", "fair", "good")
NUM_ROWS = 97
QUICK = {
    "cost_model": "multiply_adds", "retention_configuration": "0.8,0.4", "epochs": 1, "epochs_retrain": 1,
    "batch_size": 13, "learning_rate": 3e-3,
}  # fmt: skip


def texts(count, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choice("abc") for _ in range(draw.randrange(1, 14))) for _ in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run with `predictions.csv` of the predict stage, whose training data has been removed, and rows to answer."""
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    for split, count in {"train": 61, "new": NUM_ROWS}.items():
        rows = pd.DataFrame({"review": texts(count, count), "n": range(count)})
        rows["verdict"] = [CLASSES["abc".index(text[0])] for text in rows["review"]]
        rows.to_csv(folder / f"{split}.csv", index=False)
    settings, own = read_request(
        {
            "task": "verdicts", "checkpoint": str(folder / "checkpoint"), "output_dir": str(folder / "runs"),
            "train_file": str(folder / "train.csv"), "test_file": str(folder / "new.csv"),
            "text_column": "review", "label_column": "verdict", **QUICK,
        }
    )  # fmt: skip
    pipeline.run(settings, "predict", own=own)
    (folder / "train.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def loaded_once():
    """The model of each run, so that tests do not load and trace it again and again."""
    real, models = FinishedRun.reduced_model, {}

    def model(self):
        if self.weights not in models:
            models[self.weights] = real(self)
        return models[self.weights]

    return model


@pytest.fixture
def answer(world, tmp_path, monkeypatch, loaded_once):
    """Predicts in windows of 11 rows; returns the folder of the answers."""
    monkeypatch.setattr(FinishedRun, "reduced_model", loaded_once)
    monkeypatch.setattr(predict, "cut_windows", functools.partial(cut_windows, window_rows=11))

    def answer(predict_file="new.csv", overwrite=False, out="out", **flags):
        settings = {name: flags.pop(name) for name in list(flags) if name.startswith("predict_")}
        given = {"task": "verdicts", "output_dir": str(world / "runs"), "eval_batch_size": 5, **flags}
        path = predict_file if predict_file.startswith("-") else str(world / predict_file)
        settings = {"predict_shard_rows": 29, "predict_dir": str(tmp_path / out), **settings}
        request = read_predict_request(PredictSettings(predict_file=path, **settings), given)
        return predict_files(request, overwrite)

    return answer


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "progress.json"}


def read_csv(folder):
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("part-*.csv"))], ignore_index=True)


def test_answers_are_those_of_the_predict_stage_in_the_order_of_the_input(answer, world):
    found = read_csv(answer())
    given = pd.read_csv(world / "new.csv")
    pd.testing.assert_frame_equal(found[["review", "n", "verdict"]], given)
    with (world / "runs" / "verdicts" / "predict" / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:4] == ["file", "line", "review", "verdict"]
    assert [row[2:4] for row in rows] == given[["review", "verdict"]].to_numpy().tolist()
    assert found.columns.tolist() == ["review", "n", "verdict", *header[4:]]
    np.testing.assert_allclose(found[header[5:]], np.array([row[5:] for row in rows], float), atol=2e-6)
    assert found["prediction"].tolist() == [row[4] for row in rows]


def test_columns_of_choice_stand_beside_the_answers(answer, world):
    whole = read_csv(answer())
    expected = whole[["n", *whole.columns[3:]]]
    pd.testing.assert_frame_equal(read_csv(answer(out="n", predict_columns="n")), expected)
    paths = sorted(answer(out="lines", predict_columns="n", predict_format="jsonl").glob("part-*"))
    lines = pd.concat([pd.read_json(path, lines=True) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(lines, expected, check_dtype=False)
    pd.read_csv(world / "new.csv").to_parquet(world / "columns.parquet")
    folder = answer("columns.parquet", out="p", predict_columns="n", predict_format="parquet")
    parquet = pd.read_parquet(sorted(folder.glob("part-*"))).reset_index(drop=True)
    assert parquet["n"].dtype == "int64"
    pd.testing.assert_frame_equal(parquet, expected, check_dtype=False)
    with pytest.raises(InputError, match=r"--predict_columns=id: no such column; expected one of the columns of .*new"):
        answer(out="id", predict_columns="id")


def test_one_sentence_is_answered_on_the_console(world, answer, capsys):
    whole = read_csv(answer())
    capsys.readouterr()
    texts = whole["review"][:3].tolist()
    given = {"task": "verdicts", "output_dir": str(world / "runs")}
    answer_texts(read_predict_request(PredictSettings(text="\n".join(texts)), given))
    shown = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    likely = whole.filter(like="probability").max(axis=1)[:3]
    assert shown == [
        [name, f"{value:.3f}", text] for name, value, text in zip(whole["prediction"], likely, texts, strict=False)
    ]
    with pytest.raises(InputError, match=r"--text='a': 2 texts in a line; expected one text, without tabs"):
        answer_texts(read_predict_request(PredictSettings(text="a\tb"), given))


def test_answers_stand_in_the_folder_of_the_stage_and_outlive_it(world, answer, tmp_path):
    root = tmp_path / "runs" / "verdicts"
    shutil.copytree(world / "runs" / "verdicts", root)
    own = {"output_dir": str(tmp_path / "runs"), "predict_dir": ""}
    folder = answer(**own)
    assert folder == root / "predict" / "new"
    before = content(folder)
    run = RunFolder(root)
    result = (root / "predict" / "result.json").read_bytes()
    with run.writing("predict", {}) as partial:
        (partial / "result.json").write_bytes(result)
    assert content(folder) == before
    assert not (root / "predict" / "predictions.csv").exists()
    run.remove("predict")
    assert content(folder) == before
    assert run.result("predict") is None
    (root / "predictions").mkdir()
    folder.rename(root / "predictions" / "new")  # where an earlier version put them
    assert answer(**own) == root / "predictions" / "new"


def test_shards_have_the_rows_asked_for(answer):
    folder = answer()
    assert [len(pd.read_csv(folder / f"part-{number:05d}.csv")) for number in range(4)] == [29, 29, 29, 10]
    assert len(content(folder)) == 4
    progress = json.loads((folder / "progress.json").read_text())
    assert (progress["rows"], progress["shards"], progress["complete"]) == (NUM_ROWS, 4, True)


def test_formats_agree(answer, world, tmp_path):
    as_csv = read_csv(answer())
    paths = sorted(answer(out="lines", predict_format="jsonl").glob("part-*"))
    lines = pd.concat([pd.read_json(path, lines=True) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(lines, as_csv)
    pd.read_csv(world / "new.csv").to_parquet(world / "new.parquet")
    parquet = pd.read_parquet(sorted(answer("new.parquet", out="p", predict_format="parquet").glob("part-*")))
    assert parquet["n"].dtype == "int64"
    pd.testing.assert_frame_equal(parquet.reset_index(drop=True), as_csv, check_dtype=False)


class Killed(Exception):  # noqa: N818
    pass


def stop_after(monkeypatch):
    """A list of one number: of windows that are answered before `Killed` comes."""
    real, left = Answerer.answer, [0]

    def answer_for_a_while(self, *args):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return real(self, *args)

    monkeypatch.setattr(Answerer, "answer", answer_for_a_while)
    return left


def test_five_interruptions_change_no_byte(answer, monkeypatch, capsys):
    undisturbed = content(answer(out="undisturbed"))
    draw = random.Random(3)
    left = stop_after(monkeypatch)
    for _ in range(5):
        left[0] = draw.randrange(1, 5)
        with pytest.raises(Killed):
            answer()
    left[0] = 100
    assert content(answer()) == undisturbed
    assert "answered before; resuming after them" in capsys.readouterr().out
    assert left[0] > 100 - 12, "rows were answered twice"


def test_killed_between_a_shard_and_its_record(answer, monkeypatch):
    undisturbed = content(answer(out="undisturbed"))
    real = ShardFolder.record

    def record(self):
        if self.progress.shards == 2:
            raise Killed
        real(self)

    monkeypatch.setattr(ShardFolder, "record", record)
    with pytest.raises(Killed):
        answer()
    monkeypatch.setattr(ShardFolder, "record", real)
    assert content(answer()) == undisturbed


KILLED_AT_A_WINDOW = """
import functools, os, signal, sys
from powerbert_tf import command_line
from powerbert_tf.prediction import predict
from powerbert_tf.prediction.answers import Answerer
from powerbert_tf.prediction.windows import cut_windows
predict.cut_windows = functools.partial(cut_windows, window_rows=11)
real, left = Answerer.answer, [int(sys.argv[1])]
def answer(self, *args):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *args)
Answerer.answer = answer
command_line.main(command_line.parse(["run_glue.py", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_a_process_that_is_killed_is_resumed_by_another(answer, world, tmp_path, run_python, capsys):
    undisturbed = content(answer(out="undisturbed"))
    flags = {
        "task": "verdicts", "output_dir": world / "runs", "stage": "predict", "predict_file": world / "new.csv",
        "predict_dir": tmp_path / "out", "predict_shard_rows": 29, "eval_batch_size": 5,
    }  # fmt: skip
    given = [f"--{name}={value}" for name, value in flags.items()]
    run_python(KILLED_AT_A_WINDOW, 6, *given, expected=-signal.SIGKILL)
    left = set(content(tmp_path / "out"))
    assert left == {"part-00000.csv", ".part-00001.csv"}
    assert content(answer()) == undisturbed
    assert "29 rows answered before" in capsys.readouterr().out


def test_what_is_there_is_reused_or_overwritten(answer, world, capsys, tmp_path):
    (world / "again.csv").write_bytes((world / "new.csv").read_bytes())
    before = content(answer())
    answer()
    assert "already there, reused; --overwrite predicts again" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"holds answers to another request \(predict_shard_rows differ\)"):
        answer(predict_shard_rows=31)
    with pytest.raises(InputError, match=r"another request \(eval_batch_size, files differ\)"):
        answer("again.csv", eval_batch_size=7)
    assert content(answer()) == before
    answer(predict_shard_rows=31, overwrite=True)
    assert len(read_csv(tmp_path / "out")) == NUM_ROWS
    assert content(answer(overwrite=True)) == before


def test_bad_rows_are_named_or_kept_aside(answer, world, capsys):
    rows = [{"review": text} for text in texts(37, 5)]
    for number in (0, 17, 36):
        rows[number] = {"review": ""}
    lines = [json.dumps(row) for row in rows]
    lines[23] = "{"
    (world / "bad.jsonl").write_text("\n".join(lines) + "\n")
    named = r"4 rows cannot be used: .*bad\.jsonl:1: review is empty; .*:18: .*; .*:24: .*; .*:37: review is empty"
    with pytest.raises(InputError, match=named):
        answer("bad.jsonl", predict_shard_rows=17)
    # Nothing was answered, so that another request may take the folder.
    folder = answer("bad.jsonl", predict_shard_rows=13, on_bad_row="skip")
    assert "4 rows left out, in " in (said := capsys.readouterr().out)
    assert "bad.jsonl:24: " in said
    kept = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in kept] == [1, 18, 24, 37]
    good = [row["review"] for number, row in enumerate(rows) if number not in (0, 17, 23, 36)]
    assert read_csv(folder)["review"].tolist() == good
    assert [len(pd.read_csv(path)) for path in sorted(folder.glob("part-*"))] == [13, 13, 7]


def test_rejected_rows_survive_an_interruption(answer, world, monkeypatch):
    lines = [json.dumps({"review": "" if number % 3 == 0 else text}) for number, text in enumerate(texts(89, 7))]
    (world / "thirds.jsonl").write_text("\n".join(lines) + "\n")
    undisturbed = content(answer("thirds.jsonl", out="undisturbed", on_bad_row="skip", predict_shard_rows=13))
    left = stop_after(monkeypatch)
    for stop in (1, 4, 5):
        left[0] = stop
        with pytest.raises(Killed):
            answer("thirds.jsonl", on_bad_row="skip", predict_shard_rows=13)
    left[0] = 100
    assert content(answer("thirds.jsonl", on_bad_row="skip", predict_shard_rows=13)) == undisturbed


@pytest.fixture
def standard_input():
    """Gives standard input a content."""
    kept = os.dup(0)

    def give(path):
        handle = os.open(path, os.O_RDONLY)
        os.dup2(handle, 0)
        os.close(handle)

    yield give
    os.dup2(kept, 0)
    os.close(kept)


def test_standard_input(answer, world, standard_input, tmp_path, capsys):
    reviews = pd.read_csv(world / "new.csv")["review"]
    (tmp_path / "lines.txt").write_text("\n".join(reviews) + "\n")
    standard_input(tmp_path / "lines.txt")
    expected = read_csv(answer())
    found = read_csv(answer("-", out="stdin"))
    assert "standard input: a run that is interrupted cannot be resumed" in capsys.readouterr().out
    assert found.columns[0] == "review"
    pd.testing.assert_frame_equal(found, expected.drop(columns=["n", "verdict"]))
    standard_input(world / "new.csv")
    pd.testing.assert_frame_equal(read_csv(answer("-.csv", out="table")), expected)
    standard_input(world / "new.csv")
    with pytest.raises(InputError, match=r"a prediction of standard input is there already; pass --overwrite"):
        answer("-.csv", out="table")


def test_standard_input_that_was_interrupted_begins_anew(answer, world, standard_input, monkeypatch):
    monkeypatch.setattr(Answerer, "answer", lambda *_: (_ for _ in ()).throw(Killed))
    standard_input(world / "new.csv")
    with pytest.raises(Killed):
        answer("-.csv")
    standard_input(world / "new.csv")
    with pytest.raises(InputError, match=r"was interrupted; standard input cannot be resumed; pass --overwrite"):
        answer("-.csv")


def test_the_plain_graph_is_traced_once(answer, monkeypatch):
    models = []
    monkeypatch.setattr(FinishedRun, "reduced_model", lambda self, real=LOAD: models.append(real(self)) or models[-1])
    with recorded_compilations() as compilations:
        answer()
    assert compilations.count == len(models) == 1
    assert compiled_once(models[0]).function.experimental_get_tracing_count() == 1


def test_xla_compiles_few_lengths_and_changes_little(answer):
    expected = read_csv(answer())
    with recorded_compilations() as compilations:
        found = read_csv(answer(out="xla", jit_compile=True, length_buckets=2))
    assert 1 <= compilations.count <= 2
    np.testing.assert_allclose(found.iloc[:, 4:], expected.iloc[:, 4:], atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"task": "nothing"}, r"--task=nothing: no trained model in nothing or .*/runs/nothing .*; train first"),
        ({"task": ""}, r"--task: missing; expected the name of a task that was trained"),
        ({"max_seq_length": 8}, r"--max_seq_length=8: .* was trained with 16; leave the flag out"),
        (
            {"text_column": "text"},
            r"--text_column=text: no such column; expected one of the columns of .*'review', 'n'",
        ),
        ({"predict_format": "xml"}, r"--predict_format=xml: expected one of csv, jsonl, parquet"),
        ({"predict_shard_rows": 0}, r"--predict_shard_rows=0: expected at least 1"),
    ],
)
def test_what_does_not_fit_is_named(answer, flags, message):
    with pytest.raises(InputError, match=message):
        answer(**flags)


def test_answers_of_a_narrowed_model_are_told_apart(world):
    given = {"task": "verdicts", "output_dir": str(world / "runs")}
    request = read_predict_request(PredictSettings(predict_file=str(world / "new.csv")), given)
    narrowed = dataclasses.replace(request, widths={"neurons": (17, 11)})
    source = SimpleNamespace(describe=lambda: [], texts=("review",))
    assert request.widths == {}
    assert narrowed.identify(source) == {**request.identify(source), "neurons": [17, 11]}


@pytest.mark.parametrize("task", ["runs/verdicts", "runs/verdicts/task.json"])
def test_a_run_is_found_by_its_folder(answer, world, task, tmp_path):
    folder = answer(task=str(world / task), output_dir="elsewhere")
    assert len(read_csv(folder)) == NUM_ROWS


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"predict_file": "new.csv"}, "error: --predict_file: expected --stage=predict"),
        (
            {"predict_file": "new.csv", "stage": "predict", "seeds": 2},
            "error: --predict_file: expected --stage=predict",
        ),
        (
            {"predict_format": "csv"},
            "error: --predict_format: is for the prediction of new texts; expected --predict_file",
        ),
    ],
)
def test_flags_that_go_together(flags, message, capsys):
    argv = [f"--{name}={value}" for name, value in {"task": "MRPC", **flags}.items()]
    with flagsaver.flagsaver(), pytest.raises(SystemExit):
        command_line.main(command_line.parse(["run_glue.py", *argv]))
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_glue_answers_other_files(tiny_run, tmp_path, standard_input):
    """A pair of texts, a regression, without the data: STS-B."""
    tiny_run.copy(tmp_path / "runs", "STS-B")
    changes = {"retention_configuration": "0.8,0.4", "epochs_retrain": 1}
    pipeline.run(tiny_run.settings("STS-B", tmp_path / "runs", **changes), "predict")
    rows = [line.split("\t") for line in (tiny_run.data / "STS-B" / "test.tsv").read_text().splitlines()[1:]]
    pairs = pd.DataFrame({"one": [row[7] for row in rows], "two": [row[8] for row in rows]})
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    (tmp_path / "pairs.txt").write_text("".join(f"{one}\t{two}\n" for one, two in pairs.to_numpy()))
    expected = pd.read_csv(tmp_path / "runs" / "STS-B" / "predict" / "probabilities.tsv", sep="\t")["score"]
    given = {"task": "STS-B", "output_dir": str(tmp_path / "runs")}

    def answer(path, **columns):
        settings = PredictSettings(predict_file=path)
        return predict_files(read_predict_request(settings, {**given, **columns}))

    by_file = answer(str(tmp_path / "pairs.csv"), text_column="one", text_pair_column="two")
    assert by_file == Path(given["output_dir"], "STS-B", "predict", "pairs")
    standard_input(tmp_path / "pairs.txt")
    by_lines = answer("-")
    for folder in (by_file, by_lines):
        found = read_csv(folder)["prediction"]
        np.testing.assert_allclose(np.clip(found, 0, 5), expected, atol=2e-5)
    with pytest.raises(InputError, match=r"--text_column: missing; expected one of the columns of .*: 'one', 'two'"):
        answer(str(tmp_path / "pairs.csv"))
