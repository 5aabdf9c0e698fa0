"""Results in memory: who trains a model gets a copy, and what is forgotten is said."""

import numpy as np
import pytest
from tiny_bert import tiny_config

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import config_of
from powerbert_tf.models.precision import computing_in
from powerbert_tf.runs.results import MemoryResults


def make_model():
    config = config_of("bert", tiny_config(num_hidden_layers=2))
    return BertClassifier(config, 3, 23)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def results(model):
    found = MemoryResults()
    found.keep("finetune", model)
    return found


def test_a_model_is_handed_out_as_it_is_and_as_a_copy_to_train(results, model):
    assert results.model("finetune", make_model) is model
    own = results.model("finetune", make_model, own=True)
    for ours, theirs in zip(own.weights, model.weights, strict=True):
        assert ours is not theirs
        np.testing.assert_array_equal(ours, theirs)


def test_another_precision_is_a_model_of_its_own_with_the_same_weights(results, model):
    with computing_in("mixed_bfloat16"):
        half = results.model("finetune", make_model)
    assert half.encoders[0].compute_dtype == "bfloat16"
    np.testing.assert_array_equal(half.get_weights()[0], model.get_weights()[0])


def test_results_are_those_of_stages_that_ran(results):
    with results.writing("search", {}) as folder:
        assert folder is None
        results.record("search", {"metric": "accuracy"})
    assert results.finished("search") == results.result("search") == {"metric": "accuracy"}
    assert results.begun("search") is None
    assert results.result("retrain") is None
    with pytest.raises(InputError, match="retrain: there is no result of this stage"):
        results.finished("retrain")


def test_what_was_trained_in_place_or_forgotten_is_no_longer_there(results, model):
    results.keep("search", model)
    results.keep("retrain", model)
    for stage in ("search", "evaluate"):
        with pytest.raises(InputError, match=f"{stage}: its model is no longer in memory"):
            results.model(stage, make_model)
    results.forget("retrain")
    with pytest.raises(InputError, match="retrain: its model is no longer in memory"):
        results.model("retrain", make_model)
