import json

import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.reports.seeds import format_seeds, judge_seeds, summarize_seeds

DENSE = {11: 0.83, 3: 0.87, 7: 0.79}
REDUCED = {11: 0.81, 3: 0.88, 7: 0.76}


def a_result(seed, speedup=None):
    result = {
        "task": "MRPC",
        "metric": "f1",
        "dense": {"metrics": {"f1": DENSE[seed], "accuracy": DENSE[seed] - 0.1}},
        "reduced": {"metrics": {"f1": REDUCED[seed], "accuracy": REDUCED[seed] - 0.1}},
        "retention_configuration": [0.7, 0.5],
        "multiply_adds": {},
    }
    return result if speedup is None else {**result, "speedup": speedup}


def three_seeds():
    return {seed: a_result(seed) for seed in DENSE}


def test_mean_and_spread_of_each_metric():
    summary = summarize_seeds(three_seeds())
    assert summary["seeds"] == [3, 7, 11]
    assert summary["metric"] == "f1"
    assert list(summary["reduced"]) == ["f1", "accuracy"]
    values = np.array(list(REDUCED.values()))
    assert summary["reduced"]["f1"] == {
        "mean": pytest.approx(values.mean()),
        "std": pytest.approx(values.std(ddof=1)),
        "minimum": 0.76,
        "maximum": 0.88,
        "runs": 3,
    }
    assert summary["dense"]["accuracy"]["mean"] == pytest.approx(np.mean(list(DENSE.values())) - 0.1)


def test_the_verdict_is_on_means():
    results = {
        seed: {**a_result(seed, {"grouped": grouped}), "settings": {"target_speedup": 2.0}, "constant": 0.51}
        for seed, grouped in ((3, 2.1), (7, 1.9), (11, 2.0))
    }
    speed, loss, worth = judge_seeds(results).lines
    assert speed == "2.00 times faster than the fine-tuned model (asked 2x)"
    # Of +0.01, -0.03 and -0.02: mean -0.01333, deviation 0.02082; Student's t with 2 degrees of freedom is 4.3027.
    half = 4.3027 * 2.0817 / np.sqrt(3)
    assert loss == (f"1.3 points of f1 lost (0.8300 → 0.8167), 95% interval {1.3333 - half:.1f} to {1.3333 + half:.1f}")
    assert worth == "Worth having: faster, and the loss may be chance (3 seeds)."
    assert format_seeds(summarize_seeds(results), "MRPC", [speed, loss, worth]).splitlines()[1:4] == [
        speed,
        loss,
        worth,
    ]


def test_one_seed_has_its_own_verdict_and_unmeasured_ones_have_none():
    one = {**a_result(3, {"grouped": 2.1}), "examples": 17}
    assert judge_seeds({3: one}).lines[0] == "2.10 times faster than the fine-tuned model"
    assert judge_seeds(three_seeds()) is None


def test_differences_are_paired_by_seed():
    """-0.02, +0.01 and -0.03, whose spread is far below that of either model."""
    difference = summarize_seeds(three_seeds())["difference"]["f1"]
    assert difference["mean"] == pytest.approx(-0.04 / 3)
    assert difference["std"] == pytest.approx(np.sqrt((0.02**2 + 0.07**2 + 0.05**2) / 9 / 2))
    assert (difference["minimum"], difference["maximum"]) == (pytest.approx(-0.03), pytest.approx(0.01))


def test_speedups_are_those_that_were_measured():
    results = {
        3: a_result(3, {"grouped": 2.9, "predicted": 3.1}),
        7: a_result(7, {"grouped": 2.3, "predicted": None}),
        11: {**a_result(11), "speedup": None},
    }
    speedup = summarize_seeds(results)["speedup"]
    assert list(speedup) == ["grouped", "predicted"]
    assert speedup["grouped"]["mean"] == pytest.approx(2.6)
    assert speedup["grouped"]["std"] == pytest.approx(0.3 * 2**0.5)
    assert (speedup["grouped"]["runs"], speedup["predicted"]["runs"]) == (2, 1)
    assert speedup["predicted"]["std"] is None


@pytest.mark.parametrize("seeds", [[7], [3, 7], [3, 7, 11]])
def test_the_summary_is_plain_json(seeds):
    summary = summarize_seeds({seed: a_result(seed, {"grouped": 2.9}) for seed in seeds})
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_table_of_several_seeds():
    summary = summarize_seeds({seed: a_result(seed, {"grouped": 2.9, "padded": 7.1}) for seed in DENSE})
    lines = [" ".join(line.split()) for line in format_seeds(summary, "MRPC").splitlines()]
    assert lines == [
        "MRPC, mean ± standard deviation over 3 seeds (3, 7, 11)",
        "",
        "dev metric fine-tuned reduced difference lowest to highest",
        "f1 0.8300 ± 0.0400 0.8167 ± 0.0603 -0.0133 ± 0.0208 -0.0300 to +0.0100",
        "accuracy 0.7300 ± 0.0400 0.7167 ± 0.0603 -0.0133 ± 0.0208 -0.0300 to +0.0100",
        "",
        "speed-up times faster lowest to highest seeds",
        "both grouped by length 2.90 ± 0.00 2.90 to 2.90 3",
        "dense padded to N 7.10 ± 0.00 7.10 to 7.10 3",
    ]


def test_one_seed_has_no_spread():
    summary = summarize_seeds({7: a_result(7)})
    assert summary["difference"]["f1"]["std"] is None
    assert summary["speedup"] == {}
    lines = [" ".join(line.split()) for line in format_seeds(summary, "MRPC").splitlines()]
    assert lines[0] == "MRPC, seed 7 only: spread unknown"
    assert lines[3] == "f1 0.7900 0.7600 -0.0300 -"
    assert len(lines) == 5


def test_no_results_are_refused():
    with pytest.raises(InputError, match="no results; expected the result of at least one seed"):
        summarize_seeds({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "mcc"}, "seed 7 has the metrics mcc; expected f1, as the first seed has"),
        ({"dense": {"metrics": {"f1": 0.5}}}, r"seed 7 has the metrics \['f1'\]; expected \['f1', 'accuracy'\]"),
        ({"reduced": {"metrics": {"mcc": 0.5}}}, r"seed 7 has the metrics \['mcc'\]; expected \['f1', 'accuracy'\]"),
    ],
)
def test_results_of_different_tasks_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        summarize_seeds({3: a_result(3), 7: {**a_result(7), **change}})
