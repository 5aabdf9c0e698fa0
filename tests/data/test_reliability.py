import numpy as np
import pytest
from scipy import special

from powerbert_tf.data.metrics import compare_answers
from powerbert_tf.data.reliability import reliability


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
