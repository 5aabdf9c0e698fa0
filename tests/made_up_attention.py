"""Attention probabilities that give padding nothing, for the tests of the method."""

import numpy as np
import pytest

BATCH, HEADS, LENGTH = 3, 5, 13
REAL = (13, 2, 11)


@pytest.fixture
def attention():
    """Attention probabilities [B, A, T, T] and padding mask [B, T]."""
    random = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < np.array(REAL)[:, None]).astype("int32")
    weights = np.exp(random.normal(size=(BATCH, HEADS, LENGTH, LENGTH))) * mask[:, None, None, :]
    return (weights / weights.sum(-1, keepdims=True)).astype("float32"), mask
