"""What is read of the results of earlier stages is checked where it is read."""

import copy
import json

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.result_schema import RESULT_SCHEMAS, result_problem

ELASTIC = {
    "metric": "f1",
    "metrics": {"f1": 0.5},
    "budgets": [{"target_speedup": 2.0, "metrics": {"f1": 0.5}, "retention_configuration": [0.5, 0.25]}],
}
COST = {"dense": 5, "reduced": 3, "saved": 1.5}
EVALUATE = {
    "metric": "f1",
    "metrics": {"f1": 0.5},
    "dense": {"metrics": {"f1": 0.5}},
    "reduced": {"metrics": {"f1": 0.5}},
    "agreement": 0.75,
    "examples": 7,
    "retention_configuration": [3, 2],
    "multiply_adds": {
        "padded": COST, "unpadded": COST, "padded_to_unpadded": COST, "kept": [2.5, 1.5], "mean_length": 5.5,
    },
    "speedup": {
        "grouped": 1.5, "batch": 2, "padded": 3.5, "predicted": 1.25, "batch_size": 5, "device": "a processor",
        "milliseconds": {
            "dense, grouped by length": 2, "dense, padded to the batch": 3, "dense, padded to N": 5,
            "reduced, grouped by length": 1,
        },
    },
}  # fmt: skip


def changed(content, place, value):
    content = copy.deepcopy(content)
    *before, last = place
    holder = content
    for key in before:
        holder = holder[key]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (["budgets"], None, "lacks budgets"),
        (["budgets"], {}, "budgets is {}; expected a list"),
        (["budgets", 0], 3, "budgets.0 is 3; expected an object"),
        (["budgets", 0, "target_speedup"], None, "budgets.0.target_speedup is missing"),
        (["budgets", 0, "target_speedup"], True, "budgets.0.target_speedup is True; expected a number"),
        (["budgets", 0, "target_speedup"], 10**400, "; expected a number"),
        (["budgets", 0, "target_speedup"], float("nan"), "budgets.0.target_speedup is nan; expected a number"),
        (["budgets", 0, "retention_configuration"], [0.25, 0.5], "expected a retention configuration"),
        (["budgets", 0, "retention_configuration"], [], "expected a retention configuration"),
        (["budgets", 0, "retention_configuration"], "ab", "expected a retention configuration"),
        (["budgets", 0, "retention_configuration"], {"a": 0.5}, "expected a retention configuration"),
        (["metrics"], {"f1": "0.5"}, "metrics.f1 is '0.5'; expected a number"),
        (["metric"], "a\0", "expected a text"),
        (["budgets", 0, "measured_speedup"], "fast", "budgets.0.measured_speedup is 'fast'; expected a number"),
    ],
)
def test_values_that_are_none(place, value, problem):
    assert result_problem("elastic", ELASTIC) == ""
    assert problem in result_problem("elastic", changed(ELASTIC, place, value))


def test_the_parts_of_an_evaluation_fit_each_other():
    assert result_problem("evaluate", EVALUATE) == ""
    for place, value in ((["metric"], "mcc"), (["reduced", "metrics"], {"mcc": 0.5})):
        assert "main metric" in result_problem("evaluate", changed(EVALUATE, place, value))
    assert "different numbers of entries" in result_problem(
        "evaluate", changed(EVALUATE, ["multiply_adds", "kept"], [2.5])
    )


def test_a_point_of_a_pareto_front_is_there_once():
    point = {
        "strategy": "calibrate", "target_speedup": 2.0, "configuration": [0.5, 0.25], "predicted_speedup": 2.0,
        "speedup": 1.5, "speedup_padded": 3.5, "metric": 0.5, "seed": 3,
    }  # fmt: skip
    points = [{**point, name: value} for name, value in (("seed", 5), ("target_speedup", 3.0), ("strategy", "soft"))]
    result = {"metric": "f1", "metrics": {"f1": 0.5}, "points": [point, *points], "baselines": [], "measured_on": "it"}
    assert result_problem("pareto", result) == ""
    problem = result_problem("pareto", {**result, "points": [point, *points, {**point, "metric": 0.25}]})
    assert problem == "points has ('calibrate', 2.0, 3) twice (strategy, target_speedup and seed)"


def test_what_nothing_reads_is_not_checked():
    assert result_problem("explain", {}) == ""
    assert result_problem("elastic", {**ELASTIC, "seconds": "many", "measured_speedup": None}) == ""
    assert "explain" not in RESULT_SCHEMAS


def test_the_message_names_the_file_and_what_to_do(tmp_path):
    folder = tmp_path / "elastic"
    folder.mkdir()
    (folder / "model.weights.h5").touch()
    path = folder / "result.json"
    path.write_text(json.dumps({**ELASTIC, "settings": {}}))
    assert RunFolder(tmp_path).result("elastic")["budgets"] == ELASTIC["budgets"]
    for content in (json.dumps({**ELASTIC, "settings": {}, "metric": 3}), "[" * 100_000):
        path.write_text(content)
        with pytest.raises(
            InputError, match=r"result\.json: .*pass --stage=elastic --overwrite to run the stage again"
        ):
            RunFolder(tmp_path).result("elastic")
