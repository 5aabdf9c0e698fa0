"""A training that was interrupted goes on to the same bits as one that was not."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from saved_weights import read_weights
from tiny_task import write_checkpoint, write_data

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.termination import Terminated, heeding_sigterm
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.training import train
from powerbert_tf.training.state import TrainingState

STEPS = 5  # an epoch; 53 rows in batches of 13
TIMES = ("train_seconds", "eval_seconds", "input_wait_share")


class Killed(BaseException):
    """In place of the end of the process."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Checkpoint, data, and a fine-tuned model in `runs`."""
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    write_data(folder / "data")
    pipeline.run(settings_of(folder, folder / "runs"), "finetune")
    return folder


def settings_of(world, output, **changes):
    return resolve_settings(
        "SST-2",
        **{
            "checkpoint": str(world / "checkpoint"),
            "data_dir": str(world / "data"),
            "output_dir": str(output),
            "max_seq_length": 23,
            "epochs": 2,
            "batch_size": 13,
            "learning_rate": 3e-3,
            "epochs_retrain": 2,
            "calibration_examples": 17,
            "cost_model": "multiply_adds",
            "latency_batch_size": 5,
            "target_speedup": 1.3,
            "target_speedups": "1.2,1.4",
            "checkpoint_minutes": 0,
            "checkpoint_steps": 2,
            "held_out_share": 0.0,
            **changes,
        },
    )


def log(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def result(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in found.items() if "seconds" not in name and name != "compilations"}


def assert_same(folder, expected):
    found, wanted = (read_weights(each / "model.weights.h5") for each in (folder, expected))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert log(folder) == log(expected)
    assert {**result(folder), "resumed": None} == {**result(expected), "resumed": None}
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in expected.iterdir())
    assert not list(folder.parent.glob("*.partial"))
    assert not list(folder.parent.glob(".*"))


def kill_after(monkeypatch, step):
    """Ends the next training after a step, before its state may be saved."""
    took = TrainingState.on_train_batch_end

    def end(self, batch, logs=None):
        if self.step + 1 == step:
            monkeypatch.undo()
            raise Killed
        took(self, batch, logs)

    monkeypatch.setattr(TrainingState, "on_train_batch_end", end)


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("finetune", {"clipnorm": 1.0}),  # so that it is not the fine-tuning that is there
        pytest.param("search", {"search_method": "soft", "learning_rate_soft_extract": 0.05}, marks=pytest.mark.slow),
        pytest.param("retrain", {}, marks=pytest.mark.slow),
        pytest.param("elastic", {}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_stage_goes_on_to_the_same_result(world, tmp_path, monkeypatch, capsys, stage, changes):
    for name in ("whole", "killed"):
        if stage == "finetune":
            continue
        shutil.copytree(world / "runs", tmp_path / name)
    pipeline.run(settings_of(world, tmp_path / "whole", **changes), stage)
    settings = settings_of(world, tmp_path / "killed", **changes)
    folder = tmp_path / "killed" / "SST-2"
    kill_after(monkeypatch, STEPS + 2)
    with pytest.raises(Killed):
        pipeline.run(settings, stage)
    saved = folder / f"{stage}.partial" / "checkpoints"
    assert sorted(path.name for path in saved.iterdir()) == ["2", "3"]
    capsys.readouterr()
    pipeline.run(settings, stage)
    assert f"resumes from its checkpoint after step {STEPS + 1} of {2 * STEPS}" in capsys.readouterr().out
    assert_same(folder / stage, tmp_path / "whole" / "SST-2" / stage)
    assert json.loads((folder / stage / "result.json").read_text())["resumed"] is True


@pytest.fixture
def fine_tuning(world, tmp_path):
    """Settings of a fine-tuning that is to end as that of `world`, and its folder."""
    return settings_of(world, tmp_path / "runs"), tmp_path / "runs" / "SST-2"


def test_sigterm_in_a_step_and_in_an_evaluation(fine_tuning, world, monkeypatch):
    settings, folder = fine_tuning
    step = TrainingState.on_train_batch_begin

    def terminate_in_step(self, batch, logs=None):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        step(self, batch, logs)

    monkeypatch.setattr(TrainingState, "on_train_batch_begin", terminate_in_step)
    with heeding_sigterm(), pytest.raises(Terminated, match=r"^finetune: saved after step 3 of 10$"):
        pipeline.run(settings, "finetune")
    monkeypatch.undo()

    evaluate = train.predict_logits

    def terminate_in_evaluation(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        return evaluate(*arguments)

    monkeypatch.setattr(train, "predict_logits", terminate_in_evaluation)
    with heeding_sigterm(), pytest.raises(Terminated, match=rf"^finetune: saved after step {STEPS} of 10$"):
        pipeline.run(settings, "finetune")
    assert not (folder / "finetune.partial" / "log.jsonl").exists()
    monkeypatch.undo()

    pipeline.run(settings, "finetune")
    assert_same(folder / "finetune", world / "runs" / "SST-2" / "finetune")


@pytest.mark.slow
def test_a_damaged_checkpoint_other_settings_and_a_run_that_is_begun_anew(fine_tuning, world, monkeypatch, capsys):
    settings, folder = fine_tuning
    kill_after(monkeypatch, STEPS)
    with pytest.raises(Killed):
        pipeline.run(settings, "finetune")
    with pytest.raises(InputError, match=r"finetune\.partial holds a run that was interrupted, .*: epochs was 2, is 3"):
        pipeline.run(settings_of(world, folder.parent, epochs=3), "finetune")

    path = folder / "finetune.partial" / "checkpoints" / "2" / "variables.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    kill_after(monkeypatch, STEPS)
    with pytest.raises(Killed):
        pipeline.run(settings, "finetune")
    out = capsys.readouterr().out
    assert "damaged (variables.npz has another SHA-256 than when it was written)" in out
    assert "resumes from its checkpoint after step 2 of 10" in out

    pipeline.run(settings_of(world, folder.parent, epochs=1), "finetune", overwrite=True)
    assert len(log(folder / "finetune")) == 1
    assert not list(folder.glob("*.partial"))


def test_a_stage_that_was_complete_takes_its_place(fine_tuning, world, monkeypatch, capsys):
    settings, folder = fine_tuning
    shutil.copytree(world / "runs", folder.parent)
    partial = folder / "finetune.partial"
    (folder / "finetune").rename(partial)
    (partial / "checkpoints" / "2").mkdir(parents=True)
    (partial / "begun.json").write_text("{}")
    (folder / "search").mkdir()  # made from another fine-tuning
    pipeline.run(settings, "finetune")
    assert "finetune: was complete when its run was interrupted" in capsys.readouterr().out
    assert_same(folder / "finetune", world / "runs" / "SST-2" / "finetune")
    assert not (folder / "search").exists()


def test_weights_that_are_no_numbers_are_not_saved(fine_tuning, monkeypatch):
    settings, _ = fine_tuning
    took = TrainingState.on_train_batch_end

    def spoil(self, batch, logs=None):
        if self.step == 3:
            variable = self.model.trainable_variables[0]
            variable.assign(np.full(variable.shape, np.nan))
        took(self, batch, logs)

    monkeypatch.setattr(TrainingState, "on_train_batch_end", spoil)
    expected = r"is no longer finite after step 4; the last good checkpoint is of step 2; lower --learning_rate"
    with pytest.raises(InputError, match=expected):
        pipeline.run(settings, "finetune")


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(fine_tuning, world, monkeypatch, capsys):
    settings, folder = fine_tuning

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    pipeline.run(settings, "finetune")
    assert "finetune: no checkpoint at step 2 (No space left on device)" in capsys.readouterr().out
    assert_same(folder / "finetune", world / "runs" / "SST-2" / "finetune")
