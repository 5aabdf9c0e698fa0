"""The verdict: two numbers and a sentence, from the values of `evaluate/result.json`."""

import numpy as np
import pytest

from powerbert_tf.reports.verdict import commonest_share, judge


def test_the_commonest_answer():
    assert commonest_share(np.array([2, 2, 1, 2, 0])) == 0.6
    assert commonest_share(np.array([[0, 1], [0, 1], [0, 1]])) == 1


def evaluated(before=0.8684, after=0.8591, grouped=2.04, interval=(-0.0174, 0.0003), **changes):
    return {
        "metric": "accuracy",
        "dense": {"metrics": {"accuracy": before}},
        "reduced": {"metrics": {"accuracy": after}},
        "speedup": {"grouped": grouped, "milliseconds": {"reduced, grouped by length": 9.14}},
        "interval": interval,
        "commonest": {"dense": 0.51, "reduced": 0.53},
        "constant": 0.51,
        "examples": 872,
        "settings": {"target_speedup": 2.0},
        **changes,
    }


def test_a_target_that_is_met():
    verdict = judge(evaluated())
    assert verdict.lines == (
        "2.04 times faster than the fine-tuned model (asked 2x)",
        "0.9 points of accuracy lost (0.8684 → 0.8591), 95% interval 0.0 to 1.7",
        "Worth having: faster, and the loss may be chance (872 dev examples).",
    )
    assert verdict.is_worth


@pytest.mark.parametrize(
    ("changes", "line", "expected"),
    [
        ({"grouped": 1.42}, 0, "asked 2x, got 1.42x: the target is missed"),
        ({"grouped": 1.42}, 2, "Worth having, though slower than asked: faster, and the loss may be chance"),
        ({"settings": {"target_latency_ms": 8.0}}, 0, "asked 8 ms, got 9.1 ms: the target is missed; 2.04 times fas"),
        ({"settings": {"target_latency_ms": 9.0}}, 0, "2.04 times faster than the fine-tuned model; 9.1 ms (asked 9"),
        ({"settings": {"max_loss": 0.01}}, 0, "2.04 times faster than the fine-tuned model"),
        ({"after": 0.8721, "interval": (-0.005, 0.012)}, 1, "0.4 points of accuracy gained (0.8684 → 0.8721), 95%"),
        ({"after": 0.8721, "interval": (-0.005, 0.012)}, 1, "interval -0.5 to 1.2"),
        ({"after": 0.8721}, 2, "Worth having: faster, and no worse."),
        ({"interval": (-0.0174, -0.001)}, 2, "Worth having: faster, and 0.9 points are a small loss."),
        ({"after": 0.82, "interval": (-0.06, -0.03)}, 2, "Worth having: if 4.8 points are a fair price for the speed."),
        ({"interval": None}, 1, "0.9 points of accuracy lost (0.8684 → 0.8591)"),
        ({"grouped": 1.02}, 2, "Not worth having: it is no faster on the same batches grouped by length."),
        ({"commonest": {"dense": 1.0, "reduced": 1.0}}, 2, "Not worth having: the fine-tuned model gives one answer"),
        ({"commonest": {"dense": 0.5, "reduced": 1.0}}, 2, "Not worth having: it gives one answer to everything"),
        ({"after": 0.51}, 2, "Not worth having: it is no better than chance: accuracy 0.5100, where one answer to ev"),
        # A tenth of the way from 0.51 to 1 is 0.559.
        ({"after": 0.5589}, 2, "Not worth having: it is barely better than chance: accuracy 0.5589, where one answer"),
        ({"after": 0.5591, "interval": None}, 2, "Worth having: if 30.9 points are a fair price"),
        (
            {"before": 0.5589, "after": 0.62},
            2,
            "Not worth having: the fine-tuned model is barely better than chance: accuracy 0.5589, where one answer to "
            "everything has 0.5100; train it longer (--epochs), at another --learning_rate, or look at the labels.",
        ),
        ({"before": 0.08, "after": 0.07, "constant": 0.0}, 2, "the fine-tuned model is barely better than chance"),
    ],
)
def test_what_is_said(changes, line, expected):
    assert expected in judge(evaluated(**changes)).lines[line]


def test_what_an_earlier_version_did_not_record_is_left_out():
    old = evaluated()
    for key in ("interval", "commonest", "constant", "settings"):
        del old[key]
    assert judge(old).lines[:2] == (
        "2.04 times faster than the fine-tuned model",
        "0.9 points of accuracy lost (0.8684 → 0.8591)",
    )
