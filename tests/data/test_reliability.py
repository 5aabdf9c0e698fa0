import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from powerbert_tf.data.kinds import CLASSES, LABELS
from powerbert_tf.data.metrics import choose_thresholds, fitted_task, predictions_from_logits
from powerbert_tf.data.reliability import calibration_error, fit_temperature, reliability
from powerbert_tf.data.tasks import get_task


def test_reliability_against_a_loop():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((211, 3)), rng.integers(0, 3, 211)
    found = reliability(logits, labels)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bins = {}
    for row, label in zip(probabilities, labels, strict=True):
        bins.setdefault(int(row.max() * 10), []).append((row.max(), row.argmax() == label))
    means = [np.mean(bins[number], axis=0) for number in sorted(bins)]
    np.testing.assert_allclose(found["confidence"], [confidence for confidence, _ in means])
    np.testing.assert_allclose(found["accuracy"], [accuracy for _, accuracy in means])
    assert found["counts"] == [len(bins[number]) for number in sorted(bins)]
    error = sum(len(bins[number]) * abs(a - c) for number, (c, a) in zip(sorted(bins), means, strict=True)) / 211
    assert found["error"] == pytest.approx(error)
    right = [row[label] for row, label in zip(probabilities, labels, strict=True)]
    assert found["log_loss"] == pytest.approx(-np.mean(np.log(right)))


def test_one_that_is_sure_and_right_has_no_error():
    labels = np.array([0, 1, 1, 0, 1])
    found = reliability(np.where(np.arange(2) == labels[:, None], 1000.0, -1000.0), labels)
    assert (found["error"], found["log_loss"], found["counts"]) == (0.0, 0.0, [5])


def drawn(rows, classes, by, seed=0):
    """Logits that are `by` times as large as those that the labels were drawn with."""
    rng = np.random.default_rng(seed)
    logits = 1.7 * rng.standard_normal((rows, classes))
    labels = np.array([rng.choice(classes, p=row / row.sum()) for row in np.exp(logits)])
    return by * logits, labels


@pytest.mark.parametrize("by", [0.37, 2.3])
def test_a_temperature_is_the_reciprocal_of_a_logistic_regressions_weight(by):
    # Of two classes, the softmax of z / T is the sigmoid of (z_1 - z_0) / T: a regression on one number without a bias.
    # The prior hardly matters beside so many rows.
    logits, labels = drawn(4999, 2, by)
    weight = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logits @ [[-1], [1]], labels).coef_
    assert fit_temperature(logits, labels, CLASSES) == pytest.approx(1 / weight.item(), rel=2e-3)
    assert fit_temperature(logits, labels, CLASSES) == pytest.approx(by, rel=0.1)


@pytest.mark.parametrize("rows", [3, 53])
def test_few_rows_are_weighed_against_a_prior(rows):
    logits, labels = drawn(rows, 5, 1.9)

    def loss(log):
        probabilities = np.exp(logits / np.exp(log))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return log[0] ** 2 / 2 + log_loss(labels, probabilities, labels=range(5), normalize=False)

    expected = np.exp(optimize.minimize(loss, [0.0], method="Nelder-Mead", tol=1e-7).x[0])
    assert fit_temperature(logits, labels, CLASSES) == pytest.approx(expected, rel=1e-3)


def test_rows_that_are_all_right_leave_a_temperature():
    logits = np.where(np.arange(3) == np.array([[0], [2], [1]]), 4.0, 0.0)
    assert 0.5 < fit_temperature(logits, np.array([0, 2, 1]), CLASSES) < 1


def test_labels_are_answers_of_their_own():
    logits, labels = drawn(211, 2, 1.9)
    # The sigmoid of one number is the softmax of it and 0, so each label of each row is a row of two classes.
    two = np.stack([np.zeros(422), logits.ravel()], axis=1)
    has = np.eye(2, dtype="uint8")[labels]
    assert fit_temperature(logits, has, LABELS) == fit_temperature(two, has.ravel().astype(int), CLASSES)
    assert calibration_error(logits, has, LABELS) == reliability(two, has.ravel())["error"]


def test_a_temperature_mends_the_calibration_and_keeps_the_answers():
    logits, labels = drawn(4999, 2, 2.9)
    task = get_task("SST-2")
    fitted = fitted_task(task, labels, logits)
    after = calibration_error(logits / fitted.temperature, labels, CLASSES)
    assert after < 0.02 < 0.1 < calibration_error(logits, labels, CLASSES)
    np.testing.assert_array_equal(predictions_from_logits(fitted, logits), predictions_from_logits(task, logits))
    assert fitted_task(task, labels, logits, scales=False) == task


def test_thresholds_belong_to_scaled_probabilities():
    logits = np.log([[0.9, 0.2], [0.6, 0.4], [0.1, 0.7]]) - np.log([[0.1, 0.8], [0.4, 0.6], [0.9, 0.3]])
    has = np.array([[1, 0], [1, 1], [0, 1]])
    # Half the logit of 0.1 and 0.6: odds 1/9 and 3/2 become 1/3 and sqrt(3/2), probabilities 0.25 and 0.550510.
    first, _ = choose_thresholds(has, logits, temperature=2.0)
    assert first == pytest.approx((0.25 + 0.550510) / 2, abs=1e-5)
