"""Training rows that choose epochs and configurations, so that dev is for the report alone."""

import json

import numpy as np
import pytest
from scipy import special
from tiny_task import NUM_ROWS

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.reliability import reliability
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.training.evaluation import predict_logits

SHARE = 0.2
SEARCH = {"search_method": "calibrate", "cost_model": "multiply_adds", "target_speedup": 1.3}


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A re-trained run that holds a fifth of its training rows out."""
    folder = tmp_path_factory.mktemp("held_out")
    settings = tiny_run.settings("SST-2", folder, held_out_share=SHARE, **SEARCH)
    pipeline.run(settings, "retrain")
    return prepare(settings, folder / "SST-2")


def log_of(run, stage):
    return [json.loads(line) for line in (run.folder.stage(stage) / "log.jsonl").read_text().splitlines()]


def test_rows_train_or_choose(run):
    train, held_out = run.split("train"), run.split("held_out")
    assert len(held_out) == round(SHARE * NUM_ROWS["train"])
    assert len(train) == NUM_ROWS["train"] - len(held_out) == run.folder.finished("finetune")["train_examples"]

    def texts(split):
        return {tuple(split.token_ids[first:last]) for first, _, last in split.spans}

    everything = texts(prepare(run.settings.replace(held_out_share=0.0), run.folder.root).split("train"))
    assert texts(train) | texts(held_out) == everything


def test_fine_tuning_keeps_the_epoch_that_is_best_on_them(run):
    log, result = log_of(run, "finetune"), run.folder.finished("finetune")
    assert {row["split"] for row in log} == {"held-out"}
    best = max(log, key=lambda row: (row["metrics"]["accuracy"], -row["held_out_loss"]))
    assert result["epoch"] == best["epoch"]
    logits = predict_logits(run.dense_model(), run.split("held_out"), run.settings.inference)
    of_labels = special.log_softmax(logits, axis=-1)[np.arange(len(logits)), run.split("held_out").labels]
    assert best["held_out_loss"] == pytest.approx(-of_labels.mean(), rel=1e-4)
    assert result["held_out_metrics"] == log[result["epoch"] - 1]["metrics"]
    model = run.dense_model()
    assert run.evaluate(model, split="held_out") == pytest.approx(result["held_out_metrics"])
    assert run.evaluate(model) == pytest.approx(result["metrics"])


def test_re_training_keeps_the_answers_nearest_to_the_teachers(run):
    log, result = log_of(run, "retrain"), run.folder.finished("retrain")
    dense, *reduced = (
        predict_logits(model, run.split("held_out"), run.settings.inference)
        for model in (run.dense_model(), run.searched_model(), run.reduced_model())
    )
    teacher = special.log_softmax(dense, axis=-1)

    def distance(logits):  # at the best of many temperatures
        scaled = special.log_softmax(logits / np.geomspace(0.05, 20, 2001)[:, None, None], axis=-1)
        return np.mean(np.sum(np.exp(teacher) * (teacher - scaled), axis=-1), axis=-1).min()

    before, after = map(distance, reduced)
    distances = [before, *(row["distance"] for row in log)]
    assert result["epoch"] == int(np.argmin(distances))
    assert distances[result["epoch"]] == pytest.approx(after, rel=1e-3, abs=1e-6)


def test_both_models_have_a_temperature_that_all_answers_take(run):
    for stage, load in (("finetune", run.dense_model), ("retrain", run.reduced_model)):
        rows = run.split("held_out")
        logits = predict_logits(load(), rows, run.settings.inference).astype("float64")

        def loss(log, logits=logits, labels=rows.labels):
            return log**2 / 2 - special.log_softmax(logits / np.exp(log), axis=-1)[np.arange(len(labels)), labels].sum()

        grid = np.linspace(-3, 3, 60_001)
        expected = np.exp(grid[np.argmin([loss(log) for log in grid])])
        assert run.folder.finished(stage)["temperature"] == pytest.approx(expected, rel=1e-3)
        assert run.task_of(stage).temperature == run.folder.finished(stage)["temperature"]
        dev = predict_logits(load(), run.split("dev"), run.settings.inference)
        scaled = special.softmax(dev / run.task_of(stage).temperature, axis=-1)
        np.testing.assert_allclose(run.task_of(stage).answers(dev), scaled, rtol=1e-6)


def test_evaluate_says_the_calibration_error_before_and_after(run, capsys):
    pipeline.run(run.settings, "evaluate")
    said = capsys.readouterr().out
    found = run.folder.finished("evaluate")["calibration"]
    dev = run.split("dev")
    for name, stage, load in (("dense", "finetune", run.dense_model), ("reduced", "retrain", run.reduced_model)):
        logits = predict_logits(load(), dev, run.settings.inference)
        temperature = run.folder.finished(stage)["temperature"]
        assert found[name] == {
            "temperature": temperature,
            "before": pytest.approx(reliability(logits, dev.labels)["error"]),
            "after": pytest.approx(reliability(logits / temperature, dev.labels)["error"]),
        }
        error = "calibration error {before:.4f}, {after:.4f} at temperature {temperature:.3g}".format(**found[name])
        assert f"  {name}: {error}\n" in said


def test_a_training_ends_where_no_epoch_is_better(tiny_run, tmp_path, capsys):
    rate = 1e-30  # which changes no float32
    settings = tiny_run.settings(
        *("SST-2", tmp_path), held_out_share=SHARE, learning_rate=rate, epochs=23, epochs_retrain=13,
        learning_rate_retrain=rate, **SEARCH,
    )  # fmt: skip
    pipeline.run(settings, "retrain")
    run = prepare(settings, tmp_path / "SST-2")
    # After the best epoch, the first, a quarter of 23; and of 13 a half, as the start is best.
    assert [len(log_of(run, stage)) for stage in ("finetune", "retrain")] == [1 + 6, 0 + 7]
    assert [run.folder.finished(stage)["epoch"] for stage in ("finetune", "retrain")] == [1, 0]
    said = capsys.readouterr().out
    assert "no epoch since epoch 1 was better: training ends here" in said
    assert "no epoch is better: the weights stay as they were" in said


def test_too_few_rows_to_hold_some_out(run):
    with pytest.raises(InputError, match=r"--held_out_share=0\.9.*too few.*expected 0"):
        prepare(run.settings.replace(held_out_share=0.9, train_examples=2), run.folder.root).split("held_out")
