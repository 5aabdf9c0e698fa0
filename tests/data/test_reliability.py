import numpy as np
import pytest

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
