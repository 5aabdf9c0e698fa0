"""The order of batches by other routes: as lists of all epochs at once, and as NumPy sorts."""

import numpy as np
import pytest

from powerbert_tf.batches import order
from powerbert_tf.batches.order import (
    EpochsInOrder,
    RowsOfBatches,
    cut,
    cut_from_the_end,
    epoch_order,
    longest_of,
    order_by_length,
)


def by_hand(lengths, batch_size, seed, epoch, grouped):
    """All batches as lists; the order that interrupted trainings of earlier versions are in."""
    draw = np.random.default_rng((seed, epoch))
    rows = draw.permutation(len(lengths))
    if not grouped:
        return [rows[at : at + batch_size].tolist() for at in range(0, len(rows), batch_size)]
    ordered = []
    for at in range(0, len(rows), 16 * batch_size):
        ordered += sorted(rows[at : at + 16 * batch_size].tolist(), key=lambda row: lengths[row])
    batches = [ordered[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [batches[number] for number in draw.permutation(len(batches))]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["int64", "uint16"])
def test_the_order_of_an_epoch(grouped, kind):
    lengths = np.random.default_rng(3).integers(2, 31, size=997).astype(kind)
    for seed, epoch in ((0, 0), (0, 1), (5, 0)):
        found = [rows.tolist() for rows in epoch_order(lengths, 7, seed, epoch, grouped)]
        assert found == by_hand(lengths, 7, seed, epoch, grouped)


@pytest.mark.parametrize("grouped", [False, True])
def test_epochs_one_after_the_other_and_in_any_order(grouped):
    lengths = np.random.default_rng(3).integers(2, 31, size=211).astype("uint16")
    epochs = 5
    expected = [batch for epoch in range(epochs) for batch in by_hand(lengths, 13, 2, epoch, grouped)]
    order = EpochsInOrder(lengths, 13, seed=2, grouped=grouped)
    assert order.batches * epochs == len(expected)
    longest = order.longest(epochs)
    np.testing.assert_array_equal(longest, [max(lengths[row] for row in rows) for rows in expected])
    for number in np.random.default_rng(0).permutation(len(expected)):
        assert order.rows(int(number)).tolist() == expected[number]
    assert order.rows(0).dtype == np.int32


@pytest.mark.parametrize("block", [7, 97, 1 << 20])
def test_rows_by_length(monkeypatch, block):
    monkeypatch.setattr(order, "_BLOCK", block)
    draw = np.random.default_rng(0)
    for count in (1, 7, 211):
        lengths = draw.integers(2, 19, size=count).astype("uint16")
        np.testing.assert_array_equal(order_by_length(lengths), np.argsort(lengths, kind="stable"))


@pytest.mark.parametrize("count", [1, 5, 6, 13, 15])
def test_batches_are_cut_from_either_end(count):
    order = np.random.default_rng(count).permutation(count)
    lengths = np.arange(count)
    for batches, first in ((cut(order, 5), 5), (cut_from_the_end(order, 5), count % 5 or 5)):
        assert np.concatenate(batches).tolist() == order.tolist()
        expected = [first, *[5] * count][: len(batches)]
        expected[-1] = min(expected[-1], count - sum(expected[:-1]))
        assert [len(rows) for rows in batches] == expected
        longest = longest_of(lengths, order, first, 5)
        assert longest.tolist() == [rows.max() for rows in batches]


def test_some_of_the_batches():
    rows = RowsOfBatches(lambda number: np.array([number]), np.array([3, 1, 7, 5]))
    assert [int(one[0]) for one in rows] == [3, 1, 7, 5]
    assert [int(one[0]) for one in rows[2:]] == [7, 5]
    assert len(rows[2:]) == 2
    with pytest.raises(IndexError):
        rows[4]
