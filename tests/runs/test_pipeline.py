"""The stages on a tiny checkpoint and tiny data: what they leave, what they reuse, what they refuse."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from made_up_rows import token_ids_of
from tiny_task import CONFIG, NUM_ROWS

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import configuration_from_masses
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.stages.search import drop_searched_weights, restore_searched_weights

PAPER = {"search_method": "paper", "learning_rate_soft_extract": 0.05, "lambda_": 0.1}


@pytest.fixture
def settings_for(tiny_run, tmp_path):
    def settings(task="SST-2", **changes):
        output_dir = changes.pop("output_dir", tmp_path / "runs")
        return tiny_run.settings(task, output_dir, **{**PAPER, **changes})

    return settings


@pytest.fixture
def finetuned(tiny_run, tmp_path):
    """The folder of a run that has only been fine-tuned."""
    return tiny_run.copy(tmp_path / "runs")


@pytest.fixture(scope="module")
def finished(tiny_run, tmp_path_factory):
    """A finished run of all stages on SST-2, to read."""
    return tiny_run.copy(tmp_path_factory.mktemp("finished"), stage="all", **PAPER).parent


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs" / "SST-2"


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text())


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_all_stages_leave_the_files_of_the_contract(finished):
    folder = finished / "SST-2"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "finetune/result.json", "finetune/model.weights.h5", "finetune/log.jsonl",
        "search/result.json", "search/model.weights.h5", "search/log.jsonl",
        "retrain/result.json", "retrain/model.weights.h5", "retrain/log.jsonl",
        "evaluate/result.json", "predict/result.json", "predict/SST-2.tsv", "export/result.json",
        "saved_model/1/saved_model.pb",
    }  # fmt: skip
    assert not [name for name in names if "partial" in name]

    for stage in ("finetune", "retrain", "evaluate"):
        found = result(folder, stage)
        assert found["task"] == "SST-2"
        assert found["data"] == "tsv"
        assert found["metric"] == "accuracy"
        assert 0 <= found["metrics"]["accuracy"] <= 1
        assert found["examples"] == NUM_ROWS["dev"]
        assert found["seconds"] > 0

    search = result(folder, "search")
    assert len(search["masses"]) == 2
    # 10 steps of at most 0.05, with warm-up and decay: r falls by at most 0.05 * 10 * 0.55, and by some of it.
    assert all(23 * (1 - 0.275) < mass < 23 for mass in search["masses"])
    assert search["masses"][1] < search["masses"][0] + 1  # lambda * j: the deeper encoder is pushed harder
    configuration = search["retention_configuration"]
    assert configuration == list(configuration_from_masses(search["masses"]))
    assert result(folder, "retrain")["retention_configuration"] == configuration

    evaluated = result(folder, "evaluate")
    assert evaluated["dense"]["metrics"] == result(folder, "finetune")["metrics"]
    assert evaluated["reduced"]["metrics"] == result(folder, "retrain")["metrics"] == evaluated["metrics"]
    assert evaluated["multiply_adds"]["padded"]["saved"] > 1

    config = json.loads((folder / "config.json").read_text())
    assert (config["task"], config["lambda"], config["epochs"], config["data"]) == ("SST-2", 0.1, 2, "tsv")


def test_logs_have_an_object_an_epoch_and_the_best_is_kept(finished):
    for stage in ("finetune", "search", "retrain"):
        lines = (finished / "SST-2" / stage / "log.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        assert [row["epoch"] for row in log] == [1, 2]
        kept = result(finished / "SST-2", stage)["epoch"]
        scores = [row["metrics"]["accuracy"] for row in log]
        if stage == "retrain":  # epoch 0: as it was before
            scores.insert(0, result(finished / "SST-2", stage)["metrics_before"]["accuracy"])
        first = 0 if stage == "retrain" else 1
        assert kept == (2 if stage == "search" else first + scores.index(max(scores)))
        assert all(("masses" in row) == (stage == "search") for row in log)


def test_the_submission_has_a_line_for_every_test_row(finished):
    header, *lines = rows(finished / "SST-2" / "predict" / "SST-2.tsv")
    assert header == ["index", "prediction"]
    assert [index for index, _ in lines] == [str(number) for number in range(NUM_ROWS["test"])]
    assert {prediction for _, prediction in lines} <= {"0", "1"}
    header, *probabilities = rows(finished / "SST-2" / "predict" / "probabilities.tsv")
    assert header == ["index", "0", "1"]
    values = np.array([row[1:] for row in probabilities], "float64")
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=2e-6)
    assert [str(number) for number in values.argmax(axis=1)] == [prediction for _, prediction in lines]


@pytest.mark.slow
def test_the_saved_model_serves_without_this_package(finished, run_python):
    code = """
import glob, importlib.util, sys
sys.modules["powerbert_tf"] = sys.modules["keras"] = None  # importing them raises ImportError
import numpy as np, tensorflow as tf
folder = importlib.util.find_spec("tensorflow_text").submodule_search_locations[0]
for library in glob.glob(folder + "/python/ops/*.so"):
    tf.load_op_library(library)
signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
for batch in (1, 5):
    ids = np.full((batch, 23), 6, "int32")
    mask = (np.arange(23) < 9).astype("int32") * np.ones((batch, 1), "int32")
    out = signature(token_ids=tf.constant(ids), segment_ids=tf.zeros_like(ids), padding_mask=tf.constant(mask))
    assert out["probabilities"].shape == (batch, 2), out
    assert np.allclose(np.sum(out["probabilities"], axis=1), 1), out
print(out["probabilities"][0].numpy().tolist())
"""
    served = json.loads(run_python(code, finished / "SST-2" / "saved_model" / "1").stdout)
    assert served[0] != served[1]


def test_finished_stages_are_reused(settings_for, copied, capsys):
    before = snapshot(copied)
    pipeline.run(settings_for())
    out = capsys.readouterr().out
    for stage in ("finetune", "search", "retrain", "evaluate", "predict", "export"):
        assert f"{stage}: already there, reused" in out
    after = snapshot(copied)
    after.pop(copied / "config.json"), before.pop(copied / "config.json")
    assert after == before


def test_without_verbose_nothing_is_printed(settings_for, copied, capfd):
    pipeline.run(settings_for(), "retrain", overwrite=True, verbose=0)
    pipeline.run(settings_for(), "evaluate", verbose=0)
    assert tuple(capfd.readouterr()) == ("", "")


def test_the_closing_table_tells_before_after_and_savings(settings_for, copied, capsys):
    pipeline.run(settings_for(), "evaluate")
    out = capsys.readouterr().out
    for words in ("fine-tuned", "reduced", "accuracy", "mean tokens kept", "both without padding", "padded to N = 23"):
        assert words in out


def test_other_settings_are_refused_and_named(settings_for, copied):
    before = snapshot(copied)
    with pytest.raises(
        InputError, match=r"search was made with other settings: lambda was 0\.1, is 0\.2\. .*--overwrite"
    ):
        pipeline.run(settings_for(lambda_=0.2))
    with pytest.raises(
        InputError, match=r"finetune was made with other settings: epochs was 2, is 1; seed was 0, is 3"
    ):
        pipeline.run(settings_for(epochs=1, seed=3), "evaluate")
    assert snapshot(copied) == before


def test_other_settings_are_refused_where_an_earlier_stage_is_missing(settings_for, copied):
    """A finished stage is not redone silently because what it needs must be made first."""
    shutil.rmtree(copied / "search")
    before = snapshot(copied)
    with pytest.raises(InputError, match=r"retrain is there, but not the search that it was made from"):
        pipeline.run(settings_for(), "evaluate")
    with pytest.raises(
        InputError, match=r"retrain was made with other settings: .*retention_configuration was '', is '9,5'"
    ):
        pipeline.run(settings_for(retention_configuration="9,5", distillation="none"), "evaluate")
    assert snapshot(copied) == before


def test_other_data_is_noticed(settings_for, copied, tiny_run, tmp_path):
    shutil.copytree(tiny_run.data, tmp_path / "data")
    pipeline.run(settings_for(data_dir=str(tmp_path / "data")), "finetune")  # the same data elsewhere is the same
    path = tmp_path / "data" / "SST-2" / "train.tsv"
    path.write_text(path.read_text().replace(" a ", " b ", 1))
    with pytest.raises(InputError, match=r"finetune was made with other settings: data_sha256 was "):
        pipeline.run(settings_for(data_dir=str(tmp_path / "data")), "finetune")


def test_an_interrupted_overwrite_leaves_no_result_of_the_run_before(settings_for, copied, monkeypatch):
    from powerbert_tf.runs import stage_runner

    def interrupted(run, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(stage_runner.STAGE_FUNCTIONS, "search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings_for(), overwrite=True)
    assert (copied / "finetune" / "result.json").exists()
    for stage in ("search", "retrain", "evaluate", "predict", "export"):
        assert not (copied / stage).exists()


@pytest.mark.parametrize("damage", ["result.json", "model.weights.h5"])
def test_a_damaged_stage_is_named_and_made_again_on_request(settings_for, copied, damage):
    path = copied / "search" / damage
    path.unlink() if damage.endswith("h5") else path.write_text("{")
    with pytest.raises(InputError, match=rf"{damage}: .*pass --stage=search --overwrite to run the stage again"):
        pipeline.run(settings_for(), "search")
    pipeline.run(settings_for(), "search", overwrite=True)
    assert result(copied, "search")["masses"]


def test_results_do_not_mix_with_data(settings_for, tiny_run):
    with pytest.raises(InputError, match=r"would mix with the data there"):
        pipeline.run(settings_for(output_dir=str(tiny_run.data)))


def test_overwrite_runs_a_stage_again_and_removes_what_was_made_from_it(settings_for, copied, capsys):
    finetuned = (copied / "finetune" / "model.weights.h5").stat().st_mtime_ns
    pipeline.run(settings_for(lambda_=0.2), "search", overwrite=True)
    out = capsys.readouterr().out
    assert "search: running" in out
    assert "retrain: removed, as it was made from the previous search" in out
    assert not (copied / "retrain").exists()
    assert (copied / "saved_model" / "1").is_dir()  # a served model is nobody's to remove
    assert (copied / "finetune" / "model.weights.h5").stat().st_mtime_ns == finetuned
    assert result(copied, "search")["settings"]["lambda"] == 0.2


def test_another_export_is_another_version(settings_for, copied):
    pipeline.run(settings_for(), "export", overwrite=True)
    names = sorted(path.name for path in (copied / "saved_model").iterdir())
    assert names == ["1", "2", "batching.config", "model.config"]
    assert result(copied, "export")["version"] == 2


def test_an_export_whose_files_are_gone_is_made_again(settings_for, copied):
    shutil.rmtree(copied / "saved_model")
    with pytest.raises(InputError, match=r"saved_model/1: no such folder; pass --stage=export --overwrite"):
        pipeline.run(settings_for(), "export")
    pipeline.run(settings_for(), "export", overwrite=True)
    assert (copied / "saved_model" / "1").is_dir()


def test_a_given_configuration_takes_the_place_of_a_search(settings_for, tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path / "runs", "QNLI")
    settings = settings_for("QNLI", retention_configuration="11,5", epochs_retrain=1)
    pipeline.run(settings, "predict")
    assert not (folder / "search").exists()
    assert result(folder, "retrain")["retention_configuration"] == [11, 5]
    assert {prediction for _, prediction in rows(folder / "predict" / "QNLI.tsv")[1:]} <= {
        "entailment",
        "not_entailment",
    }
    with pytest.raises(InputError, match=r"--stage=search: --retention_configuration is given"):
        pipeline.run(settings, "search")


@pytest.mark.slow
def test_a_regression_goes_through_all_stages(settings_for, tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path / "runs", "STS-B")
    settings = settings_for("STS-B", epochs_retrain=1)
    pipeline.run(settings, "evaluate")
    pipeline.run(settings, "predict")
    assert set(result(folder, "evaluate")["dense"]["metrics"]) == {"spearman", "pearson"}
    predictions = [float(prediction) for _, prediction in rows(folder / "predict" / "STS-B.tsv")[1:]]
    assert len(predictions) == NUM_ROWS["test"]
    assert all(0 <= value <= 5 for value in predictions)


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["head", "random"])
def test_static_strategies_go_through_retraining(settings_for, finetuned, selection):
    pipeline.run(settings_for(selection=selection, retention_configuration="11,5", epochs_retrain=1), "evaluate")
    assert result(finetuned, "evaluate")["retention_configuration"] == [11, 5]


def test_a_stage_runs_what_it_needs_and_leaves_nothing_where_it_is_interrupted(
    settings_for, tmp_path, monkeypatch, capsys
):
    from powerbert_tf.runs import stage_runner

    def interrupted(run, folder):
        (folder / "model.weights.h5").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(stage_runner.STAGE_FUNCTIONS, "search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings_for(), "search")
    out = capsys.readouterr().out
    assert "finetune: running (needed for search, and not there)" in out
    assert "search: running (asked for)" in out
    folder = tmp_path / "runs" / "SST-2"
    assert not (folder / "search").exists()
    pipeline.run(settings_for(), "search")
    assert "finetune: running" not in capsys.readouterr().out  # the interrupted run's
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "finetune", "search"]


def test_a_stage_does_not_depend_on_which_stages_ran_before_it_in_the_process(settings_for, copied):
    def losses():
        return [json.loads(line)["loss"] for line in (copied / "retrain" / "log.jsonl").read_text().splitlines()]

    before, losses_before = result(copied, "retrain"), losses()
    shutil.rmtree(copied / "retrain")
    pipeline.run(settings_for(), "retrain")
    assert result(copied, "retrain")["metrics_before"] == before["metrics_before"]
    np.testing.assert_allclose(losses(), losses_before, rtol=1e-4)  # the same dropout, order and start


def test_a_loss_that_is_no_number_stops_the_run(settings_for):
    with pytest.raises(
        InputError, match=r"finetune: the loss is (nan|inf) at step \d+, at rate .*; lower --learning_rate"
    ):
        pipeline.run(settings_for("STS-B", learning_rate=1e30), "finetune")


CURVES = {"search_method": "calibrate", "target_speedups": "1.3,1.8", "search_over": "rows,neurons"}


def test_a_search_to_a_target_needs_no_training_and_keeps_fractions(settings_for, finetuned):
    folder = finetuned
    pipeline.run(settings_for(search_method="calibrate", target_speedup=1.7), "evaluate")
    search = result(folder, "search")
    assert not (folder / "search" / "model.weights.h5").exists()
    assert search["predicted_speedup"] == pytest.approx(1.7, rel=0.1)
    profile = search["profile"]
    assert np.shape(profile["damages"]) == (CONFIG["num_hidden_layers"] - 1, len(profile["fractions"]))
    assert (profile["fractions"][-1], profile["damages"][0][-1]) == (1.0, 0.0)  # keeping all changes nothing
    assert search["measured_speedup"] is None  # --cost_model=multiply_adds
    assert all(isinstance(kept, float) for kept in search["retention_configuration"])
    retrained = result(folder, "retrain")
    assert retrained["retention_configuration"] == search["retention_configuration"]
    assert retrained["metrics_before"] == search["metrics"]
    assert retrained["metrics"]["accuracy"] >= retrained["metrics_before"]["accuracy"]
    speedup = result(folder, "evaluate")["speedup"]
    assert speedup["predicted"] == search["predicted_speedup"]
    assert speedup["batch_size"] == 5
    assert {"grouped", "batch", "padded"} <= speedup.keys()


@pytest.mark.parametrize(
    "target_flag", [{"target_latency_ms": 1e-9}, {"target_speedup": 100.0}, {"target_speedup": 0.5}]
)
def test_targets_out_of_reach_are_refused_before_anything_runs(settings_for, tmp_path, target_flag):
    with pytest.raises(InputError, match=r"out of reach; expected a speed-up from 1 to \d|needs measured times"):
        pipeline.run(settings_for(search_method="calibrate", **target_flag))
    assert not (tmp_path / "runs" / "SST-2" / "finetune").exists()


@pytest.mark.slow
def test_the_largest_loss_finds_the_fastest_configuration_within(settings_for, finetuned):
    pipeline.run(settings_for(search_method="calibrate", max_loss=0.9), "search")
    search = result(finetuned, "search")
    assert search["target_speedup"] is None
    assert search["predicted_speedup"] > 1.5  # nothing is lost that is not allowed to be
    assert search["metrics"]["accuracy"] >= result(finetuned, "finetune")["metrics"]["accuracy"] - 0.9


@pytest.mark.slow
def test_a_soft_search_meets_its_target_whatever_its_steps(settings_for, finetuned):
    folder = finetuned
    pipeline.run(settings_for(search_method="soft", target_speedup=1.7, epochs_retrain=1), "retrain")
    search = result(folder, "search")
    assert search["predicted_speedup"] == pytest.approx(1.7, rel=0.1)
    assert not search["converged"]  # 10 steps
    _, row = [json.loads(line) for line in (folder / "search" / "log.jsonl").read_text().splitlines()]
    assert row["retention_configuration"] == search["retention_configuration"]
    assert result(folder, "retrain")["retention_configuration"] == search["retention_configuration"]


def test_a_search_narrows_encoders_and_its_weights_go_through_all_stages(settings_for, finetuned):
    folder = finetuned
    pipeline.run(settings_for(search_method="calibrate", target_speedup=1.7, search_over=""), "evaluate")
    search, retrained, evaluated = (result(folder, stage) for stage in ("search", "retrain", "evaluate"))
    weights = folder / "search" / "model.weights.h5"
    assert weights.exists()
    # A finished run keeps no weights that can be made again, and makes them where they are needed again.
    run = prepare(settings_for(search_method="calibrate", target_speedup=1.7, search_over=""), folder)
    before = run.searched_model().get_weights()
    drop_searched_weights(run)
    assert not weights.exists()
    assert run.folder.result("search") == search
    restore_searched_weights(run)
    for one, again in zip(before, run.searched_model().get_weights(), strict=True):
        np.testing.assert_allclose(again, one, atol=1e-5)
    assert search["predicted_speedup"] == pytest.approx(1.7, rel=0.1)
    widths = {name for name in ("neurons", "heads") if name in search}
    assert widths
    for one in (retrained, evaluated):
        for name in ("retention_configuration", *widths):
            assert one[name] == search[name]
    assert evaluated["weights"]["reduced"] < evaluated["weights"]["dense"]
    assert retrained["metrics_before"] == search["metrics"]  # it starts from the rebuilt weights
    assert search["profile"]["neurons"][-1] == CONFIG["intermediate_size"]


def test_widths_can_be_given_instead_of_a_search(settings_for, finetuned):
    folder = finetuned
    given = {"neurons": "17,29", "heads": "2,5", "retention_configuration": "0.5,0.1"}
    pipeline.run(settings_for(**given), "evaluate")
    evaluated = result(folder, "evaluate")
    assert evaluated["retention_configuration"] == [0.5, 0.1]
    assert (evaluated["neurons"], evaluated["heads"]) == ([17, 29], [2, 5])
    with pytest.raises(InputError, match="retrain was made with other settings: heads was '2,5'"):
        pipeline.run(settings_for(**{**given, "heads": "3,5"}), "retrain")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"neurons": "17,7,29"}, "--neurons=17,7,29: 3 entries; expected 2"),
        ({"heads": "5,6"}, "--heads=5,6: has 6; expected whole numbers from 1 to 5"),
        ({"heads": "5,x"}, "--heads=5,x: expected whole numbers"),
        ({"neurons": "17,29", "target_speedup": 2.0}, "--target_speedup and --neurons are given"),
        ({"search_over": "rows,rows"}, "--search_over=rows,rows: expected some of rows, neurons, heads, each once"),
        ({"search_over": "columns"}, "--search_over=columns: expected some of"),
        ({"search_over": "heads", "search_method": "soft"}, "the soft search needs rows"),
        ({"search_over": "rows,heads", "search_method": "paper"}, "the paper's search eliminates word-vectors only"),
    ],
)
def test_widths_that_do_not_fit_are_refused_before_anything_runs(settings_for, given, message):
    with pytest.raises(InputError, match=message):
        pipeline.run(settings_for(**{"search_over": "", "search_method": "calibrate", **given}), "retrain")


@pytest.mark.slow
def test_elastic_weights_serve_every_budget_and_pareto_draws_them(settings_for, tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path / "runs", stage="elastic", **CURVES)
    pipeline.run(settings_for(**CURVES, epochs_retrain=1), "pareto")
    budgets = result(folder, "elastic")["budgets"]
    assert [budget["target_speedup"] for budget in budgets] == [1.3, 1.8]
    assert budgets[0]["predicted_speedup"] < budgets[1]["predicted_speedup"]
    found = result(folder, "pareto")
    strategies = {point["strategy"] for point in found["points"]}
    assert strategies == {
        "calibrate", "calibrate, re-trained", "elastic", "geometric", "head", "random", "uniform",
    }  # fmt: skip
    assert len(found["points"]) == 2 * len(strategies)
    for name in ("pareto.csv", "pareto.md", "pareto.png", "pareto.svg", "1.3x/model.weights.h5"):
        assert (folder / "pareto" / name).stat().st_size > 0, name
    kept = {
        str([p["configuration"], p["neurons"], p["heads"]])
        for p in found["points"]
        if p["strategy"] in ("calibrate", "head", "random")
    }
    assert len(kept) == 2  # the static strategies keep as many


@pytest.mark.slow
def test_elastic_weights_are_exported_with_signatures_for_each_budget(settings_for, tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path / "runs", stage="elastic", **CURVES)
    pipeline.run(settings_for(**CURVES, export_model="elastic"), "export")
    assert not (folder / "retrain").exists()
    expected = json.loads((folder / "saved_model" / "1" / "assets.extra" / "expected.json").read_text())
    assert list(expected["answers"]) == ["", "_1.3x", "_1.8x"]
    card = (folder / "saved_model" / "1" / "README.md").read_text()
    for budget in result(folder, "elastic")["budgets"]:
        kept = Reduction.from_json(budget, CONFIG["num_hidden_layers"], 23)
        assert f"| `serve_text_{budget['target_speedup']:g}x` | `text` | {kept} |" in card
    with pytest.raises(InputError, match=r"export was made with other settings: .*export_model was 'elastic'"):
        pipeline.run(settings_for(**CURVES), "export")


def test_the_model_card_tells_figures_of_the_run(finished):
    card = (finished / "SST-2" / "saved_model" / "1" / "README.md").read_text()
    evaluated = result(finished / "SST-2", "evaluate")
    for kind, name in (("dense", "fine-tuned"), ("reduced", "this model")):
        assert f"| {name} | dev accuracy {evaluated[kind]['metrics']['accuracy']:.4f} |" in card
    assert f"{evaluated['speedup']['grouped']:.2f} times faster than the fine-tuned model" in card
    assert evaluated["speedup"]["device"] in card
    assert "classes, in this order: 0, 1" in card


@pytest.mark.slow
def test_seeds_have_a_folder_each_and_a_summary(settings_for, tmp_path, capsys):
    settings = settings_for(search_method="calibrate", target_speedup=1.5, epochs=1, epochs_retrain=1)
    pipeline.run(settings, "evaluate", seeds=2)
    folder = tmp_path / "runs" / "SST-2"
    summary = json.loads((folder / "seeds.json").read_text())
    assert summary["seeds"] == [0, 1]
    accuracies = [result(folder / f"seed-{seed}", "evaluate")["metrics"]["accuracy"] for seed in (0, 1)]
    assert summary["reduced"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert "mean ± standard deviation over 2 seeds" in capsys.readouterr().out

    pipeline.run(settings, "search", seeds=2)
    assert "SST-2, after search, mean ± standard deviation over 2 seeds" in capsys.readouterr().out
    searched = json.loads((folder / "seeds-search.json").read_text())
    found = [result(folder / f"seed-{seed}", "search") for seed in (0, 1)]
    assert searched["speedup"]["predicted"]["mean"] == pytest.approx(
        np.mean([one["predicted_speedup"] for one in found])
    )
    lost = [
        one["metrics"]["accuracy"] - result(folder / f"seed-{seed}", "finetune")["metrics"]["accuracy"]
        for seed, one in enumerate(found)
    ]
    assert searched["difference"]["accuracy"]["mean"] == pytest.approx(np.mean(lost))

    with pytest.raises(InputError, match=r"--seeds=0: expected at least 1"):
        pipeline.run(settings_for(), seeds=0)


def test_the_log_tells_the_wait_for_input(finished, settings_for, monkeypatch, capsys):
    rows_of = [json.loads(line) for line in (finished / "SST-2" / "finetune" / "log.jsonl").read_text().splitlines()]
    assert len(rows_of) == 2
    assert all(0 < row["input_wait_share"] < 1 for row in rows_of)
    monkeypatch.setattr("powerbert_tf.training.train.InputWait.take", lambda wait: 1e6)  # seconds: longer than all
    pipeline.run(settings_for(epochs=1), "finetune")
    assert re.search(r"epoch 1: .*; \d+% of the training time waited for input", capsys.readouterr().out)


def test_word_pieces_are_kept_where_the_flag_says(settings_for, tmp_path, monkeypatch):
    monkeypatch.setenv("POWERBERT_TF_CACHE", str(tmp_path / "auto"))

    def dev(name, **changes):
        split = prepare(settings_for(**changes), tmp_path / "runs").split("dev")
        return token_ids_of(split), len(list((tmp_path / name).glob("encoded-*")))

    texts, kept = dev("given", cache_dir=str(tmp_path / "given"))
    assert (len(texts), kept) == (NUM_ROWS["dev"], 1)
    assert not (tmp_path / "auto").exists()
    assert dev("auto", cache_dir="") == (texts, 0)
    assert dev("auto") == (texts, 1)
