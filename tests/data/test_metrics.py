import dataclasses

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn_metrics

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER
from powerbert_tf.data.metrics import (
    agreement,
    choose_metrics,
    choose_thresholds,
    compare_answers,
    compute_metrics,
    divergence,
    loss_interval,
    per_class,
    predictions_from_logits,
    scaled_divergence,
    with_metrics,
    with_thresholds,
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
    assert choose_metrics(NUMBER, np.array([0.5, 1.0]), 0) == ("spearman", "pearson")
    assert choose_metrics(CLASSES, np.array([0, 1, 1]), 2) == ("accuracy", "mcc")
    assert choose_metrics(CLASSES, np.array([0, 1, 1, 1]), 2) == ("mcc", "accuracy")
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
    found = compare_answers((TASKS["CoLA"],) * 2, one_hot[dense], one_hot[reduced], labels)
    assert [found[key] for key in ("same", "both_right", "lost", "won", "both_wrong")] == [3, 1, 3, 1, 2]
    assert found["chance"] == pytest.approx(2 * (1 + 4) / 2**4)  # at most 1 of 4 coins, either way
    p = special.softmax([1.0, 0.0])
    assert found["divergence"] == pytest.approx(4 / 7 * (p[0] - p[1]))  # log p - log q is 1 or -1
    assert compare_answers((TASKS["CoLA"],) * 2, one_hot[dense], one_hot[dense], labels)["chance"] == 1


# Labels of 5 rows, and probabilities: of a, the rows that have it come first; of b, one row without it is among them;
# no row has c.
HAVING = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]], "uint8")
PROBABILITIES = np.array([[0.9, 0.8, 0.1], [0.7, 0.6, 0.2], [0.3, 0.5, 0.9], [0.2, 0.1, 0.4], [0.1, 0.4, 0.3]])
LOGITS = special.logit(PROBABILITIES)
MULTI = dataclasses.replace(
    TASKS["MNLI"], classes=("a", "b", "c"), is_multi_label=True, metrics=("micro_f1", "macro_f1", "average_precision")
)


def test_thresholds_lie_where_f1_is_largest():
    # a: between 0.7 and 0.3. b: F1 is 2/4 above 0.6, 2*1/(2+3), 4/(3+3) down to 0.5, 6/(4+3) down to 0.4. c: no row.
    assert choose_thresholds(HAVING, LOGITS) == pytest.approx((0.5, 0.25, 0.5))
    assert choose_thresholds(1 - HAVING, -LOGITS)[0] == pytest.approx(0.5)
    assert with_thresholds(MULTI, HAVING, LOGITS).thresholds == pytest.approx((0.5, 0.25, 0.5))
    chosen = dataclasses.replace(MULTI, thresholds=(0.1, 0.2, 0.3))
    assert with_thresholds(chosen, HAVING, LOGITS) is chosen
    assert with_thresholds(TASKS["MNLI"], HAVING, LOGITS) is TASKS["MNLI"]


def test_no_other_threshold_has_a_better_f1():
    random = np.random.default_rng(3)
    having, logits = random.integers(0, 2, (41, 7), "uint8"), random.normal(size=(41, 7))
    for label, threshold in enumerate(choose_thresholds(having, logits)):
        probabilities = special.expit(logits[:, label])
        reached = sklearn_metrics.f1_score(having[:, label], probabilities >= threshold)
        others = [sklearn_metrics.f1_score(having[:, label], probabilities >= one) for one in np.linspace(0, 1, 503)]
        assert reached >= max(others)


def test_metrics_of_labels_are_those_of_scikit_learn():
    random = np.random.default_rng(5)
    having, logits = random.integers(0, 2, (53, 7), "uint8"), random.normal(size=(53, 7))
    thresholds = tuple(random.uniform(0.2, 0.8, 7))
    task = dataclasses.replace(MULTI, classes=tuple("abcdefg"), thresholds=thresholds)
    answers = special.expit(logits) >= thresholds
    np.testing.assert_array_equal(predictions_from_logits(task, logits), answers)
    assert compute_metrics(task, having, logits) == pytest.approx(
        {
            "micro_f1": sklearn_metrics.f1_score(having, answers, average="micro"),
            "macro_f1": sklearn_metrics.f1_score(having, answers, average="macro"),
            "average_precision": sklearn_metrics.average_precision_score(having, special.expit(logits)),
        }
    )
    at_best = compute_metrics(dataclasses.replace(task, thresholds=()), having, logits)
    assert at_best["macro_f1"] > compute_metrics(task, having, logits)["macro_f1"]
    assert per_class(task, having, logits)["c"] == {
        "precision": pytest.approx(sklearn_metrics.precision_score(having[:, 2], answers[:, 2])),
        "recall": pytest.approx(sklearn_metrics.recall_score(having[:, 2], answers[:, 2])),
        "f1": pytest.approx(sklearn_metrics.f1_score(having[:, 2], answers[:, 2])),
        "examples": having[:, 2].sum(),
        "threshold": thresholds[2],
    }


def test_a_label_that_no_row_has_does_not_count_in_the_average_precision():
    # a: 1; b: precisions 1, 2/3, 3/4 at its three rows; c is not there.
    expected = (1 + (1 + 2 / 3 + 3 / 5 * 0 + 3 / 4) / 3) / 2
    found = compute_metrics(MULTI, HAVING, LOGITS)["average_precision"]
    assert found == pytest.approx(expected)
    assert compute_metrics(MULTI, 0 * HAVING, LOGITS)["average_precision"] == 0


def test_answers_with_labels_agree_if_all_labels_do():
    dense = dataclasses.replace(MULTI, thresholds=(0.5, 0.25, 0.5))
    reduced = dataclasses.replace(MULTI, thresholds=(0.5, 0.7, 0.95))
    assert agreement(dense, LOGITS, LOGITS) == 1
    assert agreement(dense, LOGITS, LOGITS, reduced) == pytest.approx(2 / 5)  # b of rows 2, 3, 5; c of row 3
    found = compare_answers((dense, reduced), LOGITS, LOGITS, HAVING)
    # Rows 2 and 3 are wrong for the dense model (b, c), and right for the reduced one is row 2.
    assert [found[key] for key in ("same", "both_right", "lost", "won", "both_wrong")] == [2, 2, 1, 1, 1]
    assert found["divergence"] == 0


def test_metrics_that_fit_labels():
    assert choose_metrics(LABELS, HAVING, 3) == MULTI.metrics
    assert with_metrics(MULTI, "average_precision,macro_f1").metrics == ("average_precision", "macro_f1")
    with pytest.raises(InputError, match="'accuracy' does not fit; expected of micro_f1, macro_f1, average_precision"):
        with_metrics(MULTI, "accuracy")
    for name in ("micro_f1", "average_precision"):
        with pytest.raises(InputError, match=f"'{name}' does not fit"):
            with_metrics(TASKS["MNLI"], name)


def test_outputs_differ_by_the_mean_divergence():
    # softmax(ln 3, 0) = (3/4, 1/4) against (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2); the second example does not move.
    full = np.array([[np.log(3.0), 0.0], [5.0, 5.0]])
    reduced = np.array([[2.0, 2.0], [-1.0, -1.0]])
    expected = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert divergence(full, reduced, CLASSES) == pytest.approx(expected)
    values, others = np.array([[1.0], [3.0]]), np.array([[2.0], [1.0]])
    assert divergence(values, others, NUMBER) == pytest.approx((1 + 4) / 2)
    # Of labels, each logit is a sigmoid: 3/4 against 1/2, and 1/2 against 1/2; the mean over both.
    of_labels = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert divergence(np.array([[np.log(3.0), 0.0]]), np.zeros((1, 2)), LABELS) == pytest.approx(of_labels / 2)


def test_a_temperature_alone_makes_no_distance():
    draw = np.random.default_rng(7)
    full, other = draw.normal(size=(2, 13, 3))
    values = full[:, :1], other[:, :1]
    assert scaled_divergence(full, 5 * full, CLASSES) == pytest.approx(0, abs=1e-6)
    assert scaled_divergence(full, full / 5, LABELS) == pytest.approx(0, abs=1e-6)
    # What is left of a least-squares line: the variance times 1 - r^2; of a constant, the variance.
    correlation = np.corrcoef(full[:, 0], other[:, 0])[0, 1]
    left = np.var(full[:, 0]) * (1 - correlation**2)
    assert scaled_divergence(*values, NUMBER) == pytest.approx(left)
    assert scaled_divergence(values[0], np.full((13, 1), 5.0), NUMBER) == pytest.approx(np.var(full[:, 0]))
    # By trying all temperatures between 1/20 and 20.
    tried = [divergence(full, other / temperature, CLASSES) for temperature in np.geomspace(0.05, 20, 5001)]
    assert scaled_divergence(full, other, CLASSES) == pytest.approx(min(tried), rel=1e-5)


def test_the_interval_of_a_loss_is_that_of_a_mean_of_differences():
    # Of 101 examples, the dense model is right on 89, the other on 10 fewer and 3 more. Accuracy lost is the mean of
    # differences of 1, 0 and -1: 7 / 101, with the standard error sqrt((13 / 101 - (7 / 101)^2) / 101).
    labels = np.zeros(101, "int32")
    dense, reduced = np.tile([1.0, 0.0], (101, 1)), np.tile([1.0, 0.0], (101, 1))
    dense[89:] = reduced[79:98] = [0.0, 1.0]
    reduced[98:] = [1.0, 0.0]
    task = dataclasses.replace(TASKS["SST-2"], metrics=("accuracy",))
    low, high = loss_interval((task, task), labels, dense, reduced, resamples=2003)
    error = np.sqrt((13 / 101 - (7 / 101) ** 2) / 101)
    assert low == pytest.approx(7 / 101 - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(7 / 101 + 1.96 * error, abs=0.3 * error)
    assert loss_interval((task, task), labels, dense, dense, resamples=11) == (0.0, 0.0)
