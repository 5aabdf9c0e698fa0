"""How `benchmarks.reliability.kill` compares a run that was killed with another; nothing is killed here."""

import json

import h5py
import numpy as np

from benchmarks.reliability.kill import changes_of_files
from benchmarks.reliability.run_state import differences, state_of


def write(folder, **changes):
    stage = folder / "SST-2" / "finetune"
    stage.mkdir(parents=True)
    result = {
        "metrics": {"f1": 0.5},
        "seconds": 3.5,
        "points": [{"speedup": 1.5, "speedup_padded": 2.5, "metric": 0.5}],
    }
    (stage / "result.json").write_text(json.dumps({**result, **changes.get("result", {})}))
    (stage / "log.jsonl").write_text(json.dumps({"epoch": 1, "loss": 0.5, "train_seconds": changes.get("time", 1.5)}))
    (stage / "table.tsv").write_text(changes.get("table", "a\tb\n"))
    with h5py.File(stage / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.arange(5, dtype="float32") + changes.get("weight", 0.0)
    return state_of(folder)


def test_times_do_not_count(tmp_path):
    expected = write(tmp_path / "a")
    measured = [{"speedup": 3.5, "speedup_padded": 5.5, "metric": 0.5}]
    found = write(tmp_path / "b", time=7.5, result={"seconds": 9.5, "resumed": True, "points": measured})
    assert differences(expected, found) == []


def test_all_else_counts(tmp_path):
    expected = write(tmp_path / "a")
    changes = {"result": {"metrics": {"f1": 0.75}}, "table": "a\tc\n", "weight": 1e-7}
    found = write(tmp_path / "b", **changes)
    (tmp_path / "b" / ".result.json.writing-x").touch()
    found = state_of(tmp_path / "b")
    assert differences(expected, found, frozenset({"SST-2/finetune/table.tsv"})) == [
        ".result.json.writing-x: left behind",
        "SST-2/finetune/model.weights.h5: not the same",
        "SST-2/finetune/result.json: not the same",
    ]
    assert differences(found, expected)[0] == ".result.json.writing-x: missing"
    assert "SST-2/finetune/table.tsv: not the same" in differences(expected, found)


def test_a_search_is_told_by_its_predicted_speed_up(tmp_path):
    expected = write(tmp_path / "a", result={"speedup": 2.0})  # of a log: predicted, as nothing else was measured
    assert differences(expected, write(tmp_path / "b", result={"speedup": 3.0})) != []


def test_changes_are_counted_by_the_last_process(tmp_path):
    (tmp_path / "log").write_text("changes of files: 3\nfinetune: running (asked for)\nchanges of files: 17\n")
    assert changes_of_files(tmp_path / "log") == 17
