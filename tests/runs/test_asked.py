"""A finished run remembers: its folder is enough for every stage, and stages that read it cost it nothing."""

import json
import os

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.asked import check_values, remember
from powerbert_tf.runs.request import read_request

PAPER = {"search_method": "paper", "learning_rate_soft_extract": 0.05, "lambda_": 0.1}


@pytest.fixture
def run_folder(tiny_run, tmp_path):
    return tiny_run.copy(tmp_path / "runs", stage="all", **PAPER)


def ask(stage, overwrite=False, **given):
    """Runs a stage as the command line does."""
    asked = remember(given, stage, given.pop("config", ""))
    check_values(asked.given)
    settings, own = read_request(asked.given)
    pipeline.run(settings, stage, overwrite, own=own, recorded=asked.recorded, root=asked.root)


def times(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def results(folder, *stages):
    return {stage: (folder / stage / "result.json").read_bytes() for stage in stages}


TRAINED = ("finetune", "search", "retrain")


def test_a_folder_is_enough_to_read_a_run_wherever_it_was_moved(run_folder, tmp_path, capsys):
    moved = tmp_path / "best"
    run_folder.rename(moved)
    before = results(moved, *TRAINED, "evaluate")
    ask("report", task=str(moved))
    assert results(moved, *TRAINED, "evaluate") == before
    assert f"report: done, {moved}/report/index.html" in capsys.readouterr().out
    assert not (tmp_path / "runs" / "SST-2").exists()


@pytest.mark.parametrize("name", ["folder", "config", "task"])
def test_names_of_a_run(run_folder, name):
    given, config = {
        "folder": ({"task": str(run_folder)}, ""),
        "config": ({}, str(run_folder / "config.json")),
        "task": ({"task": "SST-2", "output_dir": str(run_folder.parent)}, ""),
    }[name]
    asked = remember(given, "report", config)
    assert asked.root == run_folder
    settings, _ = read_request(asked.given)
    assert (settings.search.lambda_, settings.inputs.max_seq_length) == (0.1, 23)


def test_a_task_whose_run_is_not_asked_for_has_its_own_settings(run_folder):
    asked = remember({"task": "SST-2", "output_dir": str(run_folder.parent)}, "finetune")
    assert (asked.root, asked.given["task"]) == (None, "SST-2")
    assert read_request(asked.given)[0].inputs.max_seq_length == 64


def test_another_output_folder_is_a_run_of_its_own(run_folder, tmp_path):
    asked = remember({"task": str(run_folder), "output_dir": str(tmp_path / "others")}, "all")
    assert asked.root is None
    assert read_request(asked.given)[0].search.lambda_ == 0.1


def test_stages_that_read_add_flags_and_never_train(run_folder, capsys):
    before = times(run_folder)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"finetune was made with other settings: epochs was 2, is 3\. Leave th"):
            ask("explain", overwrite, task=str(run_folder), epochs=3)
    assert times(run_folder) == before
    ask("explain", task=str(run_folder), format="text", explain_text="a b c")
    changed = {name for name, time in times(run_folder).items() if before.get(name) != time}
    assert {name.split(os.sep)[0] for name in changed} == {"explain", "config.json"}
    assert json.loads((run_folder / "config.json").read_text())["format"] == "html"  # of the run, not of one page


def test_what_is_out_of_date_is_named_first_and_made_again_when_asked_for(run_folder, capsys):
    task = {"task": str(run_folder)}
    ask("report", **task)
    page = (run_folder / "report" / "index.html").read_bytes()
    capsys.readouterr()
    ask("evaluate", True, **task)
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("evaluate: running"))
    assert f"{run_folder}: evaluate will be replaced" in lines[:first]
    assert f"{run_folder}: report will be out of date" in lines[:first]
    assert (run_folder / "report" / "index.html").read_bytes() == page
    ask("report", **task)
    assert "report: running (asked for; out of date, as evaluate ran again)" in capsys.readouterr().out
    ask("report", **task)
    assert "report: already there" in capsys.readouterr().out


def test_overwrite_lists_what_it_removes(run_folder, capsys):
    ask("report", task=str(run_folder))
    capsys.readouterr()
    ask("retrain", True, task=str(run_folder))
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("retrain: running"))
    expected = "evaluate, predict, export, report will be removed, as they were made from what is replaced; what the"
    assert [line for line in lines[:first] if line.startswith(f"{run_folder}: {expected}")]
    assert (run_folder / "saved_model" / "1").is_dir()


def test_advice_costs_no_work_unsaid(run_folder):
    with pytest.raises(InputError) as caught:
        ask("retrain", task=str(run_folder), epochs_retrain=1)
    assert f"Leave these flags out: --task={run_folder} takes the run's own settings" in str(caught.value)
    assert "--overwrite runs retrain again and removes evaluate, predict, export." in str(caught.value)


def test_a_run_is_proposed_where_a_task_is_unknown(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=rf"no such task, but there is a run of this name; pass --task={tmp_path}/mi"):
        remember({"task": "mine", "output_dir": str(tmp_path)}, "all")
    with pytest.raises(InputError, match=r"has no config\.json; expected the folder of a run"):
        remember({"task": f"{tmp_path}"}, "report")


def test_a_run_of_own_data_is_read_with_its_columns(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "task.json").write_text(json.dumps({"name": "mine", "train_file": "rows.csv", "text_column": "words"}))
    (folder / "config.json").write_text(json.dumps({"task": "mine", "own_data": True, "epochs": 7}))
    for task in (folder, folder / "task.json"):
        asked = remember({"task": str(task)}, "report")
        assert (asked.root, asked.given["task"], asked.given["epochs"]) == (folder, str(folder / "task.json"), 7)
