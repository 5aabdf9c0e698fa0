import itertools

import numpy as np
import pytest

from powerbert_tf.batches.buckets import choose_buckets, padded_lengths

LENGTHS = (3, 17, 5, 5, 2, 23, 4, 11, 13, 7, 19, 3, 3, 17)


def padding(lengths, buckets):
    return sum(min(bucket for bucket in buckets if bucket >= length) - length for length in lengths)


@pytest.mark.parametrize("max_buckets", range(1, 8))
@pytest.mark.parametrize("seed", range(3))
def test_no_other_buckets_pad_less(max_buckets, seed):
    lengths = np.random.default_rng(seed).integers(1, 17, size=13)
    buckets = choose_buckets(lengths, max_buckets)
    # Every choice of buckets below the longest, lengths of the data or not.
    choices = itertools.combinations(range(1, lengths.max()), max_buckets - 1)
    assert padding(lengths, buckets) == min(padding(lengths, (*choice, lengths.max())) for choice in choices)
    assert len(buckets) <= max_buckets
    assert set(buckets) <= set(lengths)
    assert buckets[-1] == lengths.max()
    assert (np.diff(buckets) > 0).all()


def test_many_examples_of_a_length_weigh_more():
    # 2 | 7 11: padding 4 n, or 2 7 | 11: padding 5; alike for one of 7, so that the second 7 decides.
    assert choose_buckets(np.array([2, 7, 7, 11]), 2).tolist() == [7, 11]
    assert choose_buckets(np.array([2, 2, 2, 7, 11]), 2).tolist() == [2, 11]


def test_as_many_buckets_as_lengths_pad_nothing():
    distinct = sorted(set(LENGTHS))
    for max_buckets in (len(distinct), len(distinct) + 1, 512):
        buckets = choose_buckets(np.array(LENGTHS), max_buckets)
        assert buckets.tolist() == distinct
        np.testing.assert_array_equal(padded_lengths(np.array(LENGTHS), buckets), LENGTHS)
    assert padding(LENGTHS, choose_buckets(np.array(LENGTHS), len(distinct) - 1)) > 0


def test_one_bucket_is_the_longest():
    assert choose_buckets(np.array(LENGTHS), 1).tolist() == [23]


def test_more_buckets_never_pad_more():
    found = [padding(LENGTHS, choose_buckets(np.array(LENGTHS), max_buckets)) for max_buckets in range(1, 13)]
    assert found == sorted(found, reverse=True)


def test_each_length_goes_to_the_shortest_bucket_that_holds_it():
    assert padded_lengths(np.array([3, 5, 6, 1, 11]), np.array([5, 11])).tolist() == [5, 5, 11, 5, 11]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="lengths: none; expected at least one"):
        choose_buckets(np.array([], int), 3)
    with pytest.raises(ValueError, match="max_buckets=0; expected at least 1"):
        choose_buckets(np.array([3]), 0)
