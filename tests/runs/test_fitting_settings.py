"""Settings that are not given follow the checkpoint, the data, and the fine-tuning that is there."""

import json

import pytest
from tiny_task import CONFIG

from powerbert_tf.data.labelled_tables import memory_tables
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import TASKS
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import resolve_settings

SEARCH = {"search_method": "calibrate", "target_speedup": 1.3}
PAPER = {"search_method": "paper", "lambda_": 0.1}


@pytest.fixture
def prepared(tiny_run, tmp_path):
    """The settings of a run as they take effect."""

    def prepared(**changes):
        given = {"held_out_share": -1.0, "learning_rate": 0.0, **changes}
        return prepare(tiny_run.settings("SST-2", tmp_path, **given), tmp_path / "SST-2").settings

    return prepared


@pytest.mark.parametrize(("search", "share", "factor"), [(SEARCH, 0.1, 2), (PAPER, 0.0, 1)])
def test_without_a_fine_tuning_rates_follow_the_width(prepared, search, share, factor):
    settings = prepared(**search)
    assert settings.inputs.held_out_share == share
    rate = TASKS["SST-2"].learning_rate * 768 / CONFIG["hidden_size"]  # published for models of BERT-base's width
    assert settings.training.learning_rate == pytest.approx(rate)
    assert settings.training.learning_rate_retrain == pytest.approx(factor * rate)


def test_given_values_win(prepared):
    settings = prepared(**SEARCH, held_out_share=0.25, learning_rate_retrain=7e-5)
    assert (settings.inputs.held_out_share, settings.training.learning_rate_retrain) == (0.25, 7e-5)


def test_a_fine_tuning_that_is_there_keeps_its_settings(prepared, tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path)  # holds nothing out, and does not say so, like runs of earlier versions
    recorded = json.loads((folder / "finetune" / "result.json").read_text())["settings"]
    assert "held_out_share" not in recorded
    settings = prepared(**SEARCH)
    assert settings.inputs.held_out_share == 0
    assert settings.training.learning_rate == recorded["learning_rate"] == 3e-4


# 500 steps in batches of 32: of the rows without the dev tenth. At least 3 epochs, at most 50.
@pytest.mark.parametrize(("rows", "epochs"), [(101, 50), (1009, 18), (7919, 3)])
def test_small_data_is_read_more_often(rows, epochs):
    data = [f"text {number}" for number in range(rows)], [number % 2 for number in range(rows)]
    settings = DataSettings()
    own = load_own_data(settings, "own", tables=memory_tables({"train": data}, settings, "own"))
    assert resolve_settings(own.task).training.epochs == epochs
