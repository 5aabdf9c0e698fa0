"""Padded lengths that batches share, so that there are few shapes and little padding: plain arithmetic, no tensors.

Each length is padded to the shortest bucket that holds it. Which K buckets pad least is found exactly: of the distinct
lengths u_1 < ... < u_m, n_i times each, a bucket u_j that takes those above u_i costs

    cost(i, j) = u_j (n_{i+1} + ... + n_j)

rows, so that the least for the first j lengths in k buckets is

    best_k(j) = min_{i < j} best_{k-1}(i) + cost(i, j),    best_0(0) = 0, and no buckets hold no other j

A bucket between two lengths would only pad more than the one below it, so that all buckets are lengths of the data.
"""

import numpy as np


def choose_buckets(lengths: np.ndarray, max_buckets: int) -> np.ndarray:
    """The padded lengths, at most `max_buckets`, with the least padding in total.

    Args:
        lengths: What is to be padded, at least one, `[n]` positive integers in any order.
        max_buckets: K, at least 1.

    Returns:
        Increasing padded lengths, the last one the longest of `lengths`, `[k]` with k <= K; no bucket is empty.

    Raises:
        ValueError: There is no length, or `max_buckets` is below 1.
    """
    if not len(lengths):
        raise ValueError("lengths: none; expected at least one.")
    if max_buckets < 1:
        raise ValueError(f"max_buckets={max_buckets}; expected at least 1.")
    distinct, counts = np.unique(lengths, return_counts=True)
    if len(distinct) <= max_buckets:
        return distinct
    num_below = np.concatenate([[0], np.cumsum(counts)])  # lengths among the first j distinct ones, [m + 1]
    ends = np.concatenate([[0], distinct]).astype("float64")
    cost = ends * (num_below - num_below[:, None])  # [i, j]
    cost[np.tril_indices(len(ends))] = np.inf  # a bucket takes at least one length
    best = np.full(len(ends), np.inf)
    best[0] = 0.0
    before = []
    for _ in range(max_buckets):
        total = best[:, None] + cost
        before.append(np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    buckets, end = [], len(distinct)
    for chosen in reversed(before):
        buckets.append(distinct[end - 1])
        end = chosen[end]
    return np.array(buckets[::-1])


def padded_lengths(lengths: np.ndarray, buckets: np.ndarray) -> np.ndarray:
    """The shortest bucket that holds each length, `[n]`; no length is above the last bucket."""
    return buckets[np.searchsorted(buckets, lengths)]
