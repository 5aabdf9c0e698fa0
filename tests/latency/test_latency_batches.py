import numpy as np
import pytest
from made_up_rows import encoded_rows

from powerbert_tf.latency.costs import grouped_lengths
from powerbert_tf.latency.speed import latency_batches

N = 23

LENGTHS = (3, 17, 5, 9, 2, 21, 4, 11, 13, 7, 19)


@pytest.fixture(scope="module")
def encoded():
    """Row i has the ids 100 * i + position, and two tokens of the first text."""
    rows = [[100 * i + p for p in range(n)] for i, n in enumerate(LENGTHS)]
    return encoded_rows(rows, N, pad_id=97, second=[2] * len(LENGTHS))


def check_batch(inputs, examples, width):
    for name, values in inputs.items():
        assert values.dtype == np.int32, name
        assert values.shape == (len(examples), width), name
    for row, i in enumerate(examples):
        for p in range(width):
            expected = (100 * i + p, int(p >= 2), 1) if p < LENGTHS[i] else (97, 0, 0)
            found = tuple(inputs[name][row, p] for name in ("token_ids", "segment_ids", "padding_mask"))
            assert found == expected


def test_grouped_batches(encoded):
    batches = latency_batches(encoded, batch_size=3)
    # By length: 2 3 4, 5 7 9, 11 13 17, and 19 21, which are left out.
    for inputs, examples, width in zip(batches, ((4, 0, 6), (2, 9, 3), (7, 8, 1)), (4, 9, 17), strict=True):
        check_batch(inputs, examples, width)
    np.testing.assert_array_equal(
        [inputs["token_ids"].shape[1] for inputs in batches], grouped_lengths(np.array(LENGTHS), 3)[:3]
    )


@pytest.mark.parametrize(("padding", "widths"), [("batch", (17, 21, 13)), ("max", (N, N, N))])
def test_batches_in_the_order_of_the_split(encoded, padding, widths):
    batches = latency_batches(encoded, batch_size=3, padding=padding)
    for inputs, examples, width in zip(batches, ((0, 1, 2), (3, 4, 5), (6, 7, 8)), widths, strict=True):
        check_batch(inputs, examples, width)


def test_a_smaller_batch_stays_where_it_is_the_only_one(encoded):
    (inputs,) = latency_batches(encoded, batch_size=13)
    check_batch(inputs, np.argsort(LENGTHS), 21)


def test_many_batches_are_thinned_out_evenly(encoded):
    batches = latency_batches(encoded, batch_size=1, max_batches=3)
    assert [inputs["token_ids"].shape[1] for inputs in batches] == [2, 9, 21]
    (inputs,) = latency_batches(encoded, batch_size=1, max_batches=1)
    assert inputs["token_ids"].shape == (1, 2)


def test_an_unknown_padding_is_refused(encoded):
    with pytest.raises(ValueError, match="padding='longest'; expected one of grouped, batch, max"):
        latency_batches(encoded, 3, padding="longest")


def test_few_lengths_are_those_of_all_batches_however_few_are_measured(encoded):
    # Batches of one: 2 3 4 5 7 9 11 13 17 19 21. Two buckets: up to 9 and up to 21 pad 24 + 24, the least.
    batches = latency_batches(encoded, batch_size=1, max_batches=3, length_buckets=2)
    for inputs, example, width in zip(batches, (4, 3, 5), (9, 9, 21), strict=True):
        check_batch(inputs, (example,), width)
    unpadded = latency_batches(encoded, batch_size=1, length_buckets=11)
    assert [inputs["token_ids"].shape[1] for inputs in unpadded] == sorted(LENGTHS)
