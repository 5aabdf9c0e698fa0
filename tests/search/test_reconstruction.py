"""Least squares against NumPy's solver, and the orders in which columns leave against brute force."""

import itertools

import numpy as np
import pytest

from powerbert_tf.search.importance import order_by_reconstruction
from powerbert_tf.search.reconstruction import Moments, rebuild

ROWS, COLUMNS, OUTPUTS = 53, 11, 7


def _draw(seed=0):
    random = np.random.default_rng(seed)
    # Columns that depend on each other, with means that are not 0.
    inputs = random.normal(0.3, 1.0, (ROWS, 5)) @ random.normal(0, 1, (5, COLUMNS)) + random.normal(1, 0.2, COLUMNS)
    inputs += 0.1 * random.normal(0, 1, inputs.shape)
    kernel, bias = random.normal(0, 1, (COLUMNS, OUTPUTS)), random.normal(0, 1, OUTPUTS)
    return inputs, kernel, bias


def _moments(inputs, targets):
    moments = Moments.zeros(inputs.shape[1], targets.shape[1])
    for part in np.array_split(np.arange(len(inputs)), 3):
        moments.add(inputs[part], targets[part])
    return moments


def test_a_rebuilt_product_is_the_least_squares_solution():
    inputs, kernel, bias = _draw()
    targets = inputs @ kernel + bias
    kept = np.array([2, 3, 7])

    rebuilt, shift = rebuild(_moments(inputs, targets).of(kept), kernel[kept], ridge=0.0)

    with_ones = np.column_stack([inputs[:, kept], np.ones(ROWS)])
    solution, *_ = np.linalg.lstsq(with_ones, targets, rcond=None)
    np.testing.assert_allclose(np.vstack([rebuilt, shift]), solution, rtol=1e-6, atol=1e-8)


def test_the_ridge_is_towards_the_old_kernel():
    inputs, kernel, bias = _draw()
    targets = inputs @ kernel + bias
    kept = np.array([0, 5, 6, 10])

    rebuilt, shift = rebuild(_moments(inputs, targets).of(kept), kernel[kept], ridge=0.01)

    # The same as rows of its own: sqrt(c) (W' - W_K) = 0, with centred inputs and targets.
    centred = inputs[:, kept] - inputs[:, kept].mean(axis=0)
    weight = np.sqrt(0.01 * np.mean(np.sum(centred**2, axis=0)))
    left = np.vstack([centred, weight * np.eye(len(kept))])
    right = np.vstack([targets - targets.mean(axis=0), weight * kernel[kept]])
    solution, *_ = np.linalg.lstsq(left, right, rcond=None)
    np.testing.assert_allclose(rebuilt, solution, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(shift, targets.mean(axis=0) - inputs[:, kept].mean(axis=0) @ solution, atol=1e-8)


def test_all_columns_are_rebuilt_as_they_were():
    inputs, kernel, bias = _draw()

    rebuilt, shift = rebuild(_moments(inputs, inputs @ kernel + bias), kernel)

    np.testing.assert_allclose(rebuilt, kernel, atol=1e-9)
    np.testing.assert_allclose(shift, bias, atol=1e-9)


def test_columns_that_are_never_active_change_nothing():
    inputs, kernel, bias = _draw()
    inputs[:, 4] = 0.0

    rebuilt, shift = rebuild(_moments(inputs, inputs @ kernel + bias), kernel)

    np.testing.assert_allclose(rebuilt, kernel, atol=1e-9)
    np.testing.assert_allclose(shift, bias, atol=1e-9)


def test_without_rows_nothing_can_be_rebuilt():
    with pytest.raises(ValueError, match="no rows"):
        rebuild(Moments.zeros(3, 2), np.zeros((3, 2)))


def _error(inputs, kernel, kept):
    """Squared error of the best product with some columns, by NumPy's solver."""
    centred = inputs - inputs.mean(axis=0)
    targets = centred @ kernel
    solution, *_ = np.linalg.lstsq(centred[:, kept], targets, rcond=None)
    return np.sum((centred[:, kept] @ solution - targets) ** 2)


@pytest.mark.parametrize("group_size", [1, 3])
def test_the_group_that_leaves_is_the_one_whose_removal_rebuilds_best(group_size):
    random = np.random.default_rng(1)
    inputs = random.normal(0, 1, (ROWS, 4)) @ random.normal(0, 1, (4, 12)) + 0.3 * random.normal(0, 1, (ROWS, 12))
    kernel = random.normal(0, 1, (12, OUTPUTS)) * random.uniform(0.2, 2, (12, 1))
    groups = np.arange(12).reshape(-1, group_size)

    order = order_by_reconstruction(_moments(inputs, inputs @ kernel).gram, kernel, group_size, ridge=1e-9)

    staying = list(range(len(groups)))
    for leaves in reversed(order[1:].tolist()):
        errors = {
            one: _error(inputs, kernel, groups[[other for other in staying if other != one]].ravel()) for one in staying
        }
        assert leaves == min(errors, key=errors.get)
        staying.remove(leaves)
    assert staying == [order[0]]


def test_each_prefix_is_nearly_the_best_set_of_its_size():
    inputs, kernel, _ = _draw(2)
    order = order_by_reconstruction(_moments(inputs, inputs @ kernel).gram, kernel, ridge=1e-9)

    for size in (4, 8):
        best = min(_error(inputs, kernel, list(kept)) for kept in itertools.combinations(range(COLUMNS), size))
        # The crude way: mean activation times the norm of the outgoing weights.
        magnitudes = np.argsort(-np.abs(inputs).mean(axis=0) * np.linalg.norm(kernel, axis=1))
        found, by_magnitude = (_error(inputs, kernel, way[:size]) for way in (order, magnitudes))
        assert best * (1 - 1e-9) <= found <= 2 * best
        assert found <= by_magnitude
