import dataclasses

import numpy as np
import pytest
from scipy import special

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.metrics import (
    choose_metrics,
    compare_answers,
    compute_metrics,
    divergence,
    loss_interval,
    per_class,
    predictions_from_logits,
    with_metrics,
)
from powerbert_tf.data.tasks import TASKS


def test_classification_metrics_by_hand():
    # 3 true positives, 1 false positive, 2 false negatives, 5 true negatives.
    labels = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0])
    guesses = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    logits = np.stack([0.3 - guesses, guesses - 0.3], axis=-1)
    assert compute_metrics(TASKS["MRPC"], labels, logits) == pytest.approx({"f1": 6 / 9, "accuracy": 8 / 11})
    mcc = (3 * 5 - 1 * 2) / np.sqrt(4 * 5 * 6 * 7)
    assert compute_metrics(TASKS["CoLA"], labels, logits) == pytest.approx({"mcc": mcc, "accuracy": 8 / 11})


def test_correlations_by_hand():
    labels = np.array([0.0, 1.0, 2.0, 4.0], "float32")
    logits = np.array([[1.0], [3.0], [2.0], [9.0]])
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    pearson = np.corrcoef(labels, logits[:, 0])[0, 1]
    expected = {"spearman": 0.8, "pearson": pearson}
    assert compute_metrics(TASKS["STS-B"], labels, logits) == pytest.approx(expected)


def test_a_constant_prediction_scores_0():
    labels, logits = np.array([0, 1, 1]), np.array([[1.0, 0.0]] * 3)
    assert compute_metrics(TASKS["CoLA"], labels, logits)["mcc"] == 0
    assert compute_metrics(TASKS["MRPC"], labels, logits)["f1"] == 0
    assert compute_metrics(TASKS["STS-B"], labels, logits[:, :1]) == {"spearman": 0, "pearson": 0}


def test_the_main_metric_comes_first():
    main = {name: next(iter(task.metrics)) for name, task in TASKS.items()}
    assert main == {
        "CoLA": "mcc", "RTE": "accuracy", "QQP": "f1", "MRPC": "f1", "SST-2": "accuracy", "MNLI": "accuracy",
        "MNLI-m": "accuracy", "MNLI-mm": "accuracy", "QNLI": "accuracy", "STS-B": "spearman", "WNLI": "accuracy",
    }  # fmt: skip


def test_predictions():
    logits = np.array([[0.1, 0.5, 0.2], [3.0, -1.0, 2.0]])
    np.testing.assert_array_equal(predictions_from_logits(TASKS["MNLI-m"], logits), [1, 0])
    np.testing.assert_array_equal(predictions_from_logits(TASKS["STS-B"], logits[:, :1]), [0.1, 3.0])


def test_three_classes_by_hand():
    task = with_metrics(TASKS["MNLI"], "macro_f1, accuracy")
    labels, guesses = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
    logits = np.eye(3)[guesses]
    # F1 of each: 4 / 7 (2 hits, 4 guessed, 3 there), 2 / 4, 0.
    assert compute_metrics(task, labels, logits) == pytest.approx({"macro_f1": (4 / 7 + 1 / 2) / 3, "accuracy": 0.5})
    found = per_class(task, labels, logits)
    assert list(found) == ["contradiction", "entailment", "neutral"]
    assert found["contradiction"] == pytest.approx({"precision": 0.5, "recall": 2 / 3, "f1": 4 / 7, "examples": 3})
    assert found["neutral"] == {"precision": 0, "recall": 0, "f1": 0, "examples": 1}
    assert per_class(TASKS["STS-B"], labels, logits) == {}


def test_metrics_that_fit():
    assert choose_metrics(np.array([0.5, 1.0]), 0) == ("spearman", "pearson")
    assert choose_metrics(np.array([0, 1, 1]), 2) == ("accuracy", "mcc")
    assert choose_metrics(np.array([0, 1, 1, 1]), 2) == ("mcc", "accuracy")
    assert with_metrics(TASKS["MRPC"], "") is TASKS["MRPC"]
    assert with_metrics(TASKS["MRPC"], "mcc").metrics == ("mcc",)
    for task, given in (("MNLI", "f1"), ("STS-B", "accuracy"), ("MRPC", "spearman"), ("MRPC", "speed")):
        with pytest.raises(InputError, match=f"--metric={given}: '{given}' does not fit; expected of "):
            with_metrics(TASKS[task], given)


def test_how_answers_differ():
    labels = np.array([0, 0, 1, 1, 1, 0, 1])
    dense = np.array([0, 0, 1, 1, 0, 1, 0])
    reduced = np.array([0, 1, 0, 0, 1, 1, 0])
    one_hot = np.eye(2)
    found = compare_answers(one_hot[dense], one_hot[reduced], labels)
    assert [found[key] for key in ("same", "both_right", "lost", "won", "both_wrong")] == [3, 1, 3, 1, 2]
    assert found["chance"] == pytest.approx(2 * (1 + 4) / 2**4)  # at most 1 of 4 coins, either way
    p = special.softmax([1.0, 0.0])
    assert found["divergence"] == pytest.approx(4 / 7 * (p[0] - p[1]))  # log p - log q is 1 or -1
    assert compare_answers(one_hot[dense], one_hot[dense], labels)["chance"] == 1


def test_outputs_differ_by_the_mean_divergence():
    # softmax(ln 3, 0) = (3/4, 1/4) against (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2); the second example does not move.
    full = np.array([[np.log(3.0), 0.0], [5.0, 5.0]])
    reduced = np.array([[2.0, 2.0], [-1.0, -1.0]])
    expected = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert divergence(full, reduced, is_regression=False) == pytest.approx(expected)
    values, others = np.array([[1.0], [3.0]]), np.array([[2.0], [1.0]])
    assert divergence(values, others, is_regression=True) == pytest.approx((1 + 4) / 2)


def test_the_interval_of_a_loss_is_that_of_a_mean_of_differences():
    # Of 101 examples, the dense model is right on 89, the other on 10 fewer and 3 more. Accuracy lost is the mean of
    # differences of 1, 0 and -1: 7 / 101, with the standard error sqrt((13 / 101 - (7 / 101)^2) / 101).
    labels = np.zeros(101, "int32")
    dense, reduced = np.tile([1.0, 0.0], (101, 1)), np.tile([1.0, 0.0], (101, 1))
    dense[89:] = reduced[79:98] = [0.0, 1.0]
    reduced[98:] = [1.0, 0.0]
    task = dataclasses.replace(TASKS["SST-2"], metrics=("accuracy",))
    low, high = loss_interval(task, labels, dense, reduced, resamples=2003)
    error = np.sqrt((13 / 101 - (7 / 101) ** 2) / 101)
    assert low == pytest.approx(7 / 101 - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(7 / 101 + 1.96 * error, abs=0.3 * error)
    assert loss_interval(task, labels, dense, dense, resamples=11) == (0.0, 0.0)
