import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.elimination.significance import score_names
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.elimination_trace import trace_elimination

CONFIG = tiny_config()  # 3 encoders
N = 23


@pytest.fixture(scope="module")
def dense():
    return BertClassifier(BertConfig(**CONFIG), 7, N)


@pytest.fixture(scope="module")
def inputs():
    return random_inputs(CONFIG, batch=5, length=19)


@pytest.mark.parametrize("configuration", [None, (11, 5, 1), (0.61, 0.29, 0.0001), (1.0, 0.43, 0.0001)])
def test_the_logits_are_the_models(dense, inputs, configuration):
    model = with_retention(dense, configuration)
    traced = trace_elimination(model, inputs)
    np.testing.assert_allclose(traced.logits, ops.convert_to_numpy(model(inputs)), atol=1e-6)


@pytest.mark.parametrize(
    ("configuration", "kept"),
    [
        (None, lambda n: (n, n)),
        ((11, 5, 1), lambda n: (min(11, n), min(5, n))),
        ((0.61, 0.29, 0.0001), lambda n: (np.ceil(0.61 * n), np.ceil(0.29 * n))),
    ],
)
def test_as_many_outlive_an_encoder_as_the_configuration_says(dense, inputs, configuration, kept):
    traced = trace_elimination(with_retention(dense, configuration), inputs)
    for outlives, mask in zip(traced.outlives, inputs["padding_mask"], strict=True):
        assert tuple(np.sum(outlives > encoder) for encoder in range(3)) == (*kept(mask.sum()), 1)
        assert outlives[0] == 3  # [CLS]
        assert not outlives[mask == 0].any()


@pytest.mark.parametrize(
    "kwargs", [*({"selection": name} for name in score_names()), {"padding_queries_vote": True}], ids=str
)
def test_those_of_the_highest_scores_outlive(dense, inputs, kwargs):
    """Whatever the selection, the scores that the trace shows are those that decide."""
    traced = trace_elimination(with_retention(dense, (7, 3, 1), **kwargs), inputs)
    mask = inputs["padding_mask"] == 1
    for encoder in range(2):
        reached = mask & (traced.outlives >= encoder)
        np.testing.assert_array_equal(~np.isnan(traced.scores[:, encoder]), reached)
        for scores, outlives in zip(traced.scores[:, encoder, 1:], traced.outlives[:, 1:], strict=True):
            stays, leaves = scores[outlives > encoder], scores[outlives == encoder]
            assert not len(leaves) or np.min(stays) >= np.nanmax(leaves, initial=0)


def test_scores_are_what_is_received_from_others(dense, inputs):
    # Each of n queries of 5 heads pays 1; what it pays to itself is not received. So the sum is below 5 n.
    traced = trace_elimination(dense, inputs)
    lengths = inputs["padding_mask"].sum(axis=1)
    total = np.nansum(traced.scores, axis=-1)
    assert (total[:, :2] < 5 * lengths[:, None]).all()
    assert (total[:, :2] > 0.5 * 5 * (lengths[:, None] - 1)).all()
    # [CLS], the only query of the last encoder, pays 5 in all, and nothing of it counts for itself.
    assert (total[:, 2] < 5).all()
    assert not traced.scores[:, 2, 0].any()
