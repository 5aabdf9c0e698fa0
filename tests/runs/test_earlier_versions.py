"""What the version before the rooms wrote, commit 851b7dd, loads and is reused.

`tests/resources/run_of_851b7dd.zip` holds a tiny checkpoint and data, the run of all stages but export on them by that
commit, its reduced model as `.keras`, and what that model answered to three inputs.
"""

import zipfile

import keras
import numpy as np
import pytest
from conftest import REPOSITORY

import powerbert_tf.models.classifier  # noqa: F401 - registers the classes of the file
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.config_file import repeated
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.settings import FIELDS


@pytest.fixture
def world(tmp_path, monkeypatch):
    with zipfile.ZipFile(REPOSITORY / "tests" / "resources" / "run_of_851b7dd.zip") as archive:
        archive.extractall(tmp_path)
    for path in tmp_path.rglob("*.json"):  # that name the folder of the checkpoint
        path.write_text(path.read_text().replace("<world>", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(world):
    given, _ = repeated("runs/SST-2/config.json", dict.fromkeys(FIELDS))
    return read_request(given)[0]


def answers(world):
    with np.load(world / "answers.npz") as arrays:
        inputs = dict(arrays)
    return inputs, inputs.pop("logits")


def test_a_keras_file_gives_the_same_answers(world):
    inputs, expected = answers(world)
    model = keras.saving.load_model(world / "reduced.keras")
    np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, atol=1e-6)


def test_stages_are_reused(world, settings, capsys):
    before = {path: path.stat().st_mtime_ns for path in (world / "runs").rglob("*.h5")}
    assert len(before) == 2
    for stage in ("finetune", "search", "retrain", "evaluate", "predict"):
        pipeline.run(settings, stage)
        assert f"{stage}: already there, reused" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_weights_of_a_run_give_the_same_answers(world, settings):
    inputs, expected = answers(world)
    run = prepare(settings, world / "runs" / "SST-2")
    np.testing.assert_allclose(run.reduced_model().predict(inputs, verbose=0), expected, atol=1e-6)
