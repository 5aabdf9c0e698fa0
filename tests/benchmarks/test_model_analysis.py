"""What the paper's figures are made of, against slower ways of finding the same."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint

from benchmarks.paper.model_analysis import cosine_similarities, first_encoders, logits_without, mutual_information
from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.models.classifier import with_retention

CONFIG = tiny_config()
INNER, CLASSES, LENGTH = 2, 3, 19


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_google_checkpoint(folder, CONFIG, random_weights(CONFIG, CLASSES))
    return load_classifier(folder, CLASSES, 23)


@pytest.fixture(scope="module")
def inputs():
    return random_inputs(CONFIG, batch=7, length=LENGTH)


def logits(model, batch):
    return np.asarray(model(batch, training=False))


def test_cosines_pair_by_pair(dense, inputs):
    """Each example alone, without padding, pair by pair."""
    expected = []
    for row, length in enumerate(inputs["padding_mask"].sum(axis=1)):
        one = {name: values[row : row + 1, :length] for name, values in inputs.items()}
        model = dense.with_slots(soft_extract=True, pin_cls=False)
        state = model.get_layer("embeddings")(one["token_ids"], one["segment_ids"])
        mask = one["padding_mask"]
        layers = [np.asarray(state)[0]]
        for encoder in model.encoders:
            state, _ = encoder(state, mask, mask)
            layers.append(np.asarray(state)[0])
        expected.append(
            [
                np.mean(
                    [
                        np.dot(rows[a], rows[b]) / np.linalg.norm(rows[a]) / np.linalg.norm(rows[b])
                        for a in range(length)
                        for b in range(a)
                    ]
                )
                for rows in layers
            ]
        )
    found = cosine_similarities(dense, [inputs])
    assert len(found) == 4  # embeddings, and three encoders
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


def test_batches_weigh_by_their_examples(dense, inputs):
    parts = [{name: values[rows] for name, values in inputs.items()} for rows in (slice(0, 2), slice(2, 7))]
    np.testing.assert_allclose(cosine_similarities(dense, parts), cosine_similarities(dense, [inputs]), atol=1e-6)


@pytest.mark.parametrize("encoder", range(INNER))
def test_eliminating_the_least_significant_is_keeping_all_others(dense, inputs, encoder):
    """Of an example without padding, retention of n - 1 rows from this encoder on eliminates just the last rank."""
    full = {name: values[:1] for name, values in inputs.items()}
    assert full["padding_mask"].all()
    (found,) = logits_without(dense, full, encoder, [LENGTH - 1])
    kept = [LENGTH] * encoder + [LENGTH - 1] * (3 - encoder)
    # From the encoder on no other row leaves, as none is above the number kept.
    np.testing.assert_allclose(found, logits(with_retention(dense, kept), full), atol=1e-5)
    assert not np.allclose(found, logits(dense, full), atol=1e-5)


def test_without_a_rank_that_no_example_has_nothing_changes(dense, inputs):
    (found,) = logits_without(dense, inputs, 0, [LENGTH + 1])
    np.testing.assert_allclose(found, logits(dense, inputs), atol=1e-5)


def test_each_example_loses_its_own_rank(dense, inputs):
    alone = [
        logits_without(dense, {name: values[row : row + 1, :length] for name, values in inputs.items()}, 1, [1, 3])
        for row, length in enumerate(inputs["padding_mask"].sum(axis=1))
    ]
    for column, together in enumerate(logits_without(dense, inputs, 1, [1, 3])):
        np.testing.assert_allclose(together, np.concatenate([found[column] for found in alone]), atol=1e-5)


def test_mutual_information_against_scikit_learn():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 101)
    second = np.where(rng.random(101) < 0.7, first, rng.integers(0, 3, 101))
    assert mutual_information(first, second) == pytest.approx(mutual_info_score(first, second))
    assert mutual_information(first, np.zeros(101, int)) == pytest.approx(0, abs=1e-12)
    shares = np.bincount(first) / 101
    assert mutual_information(first, first) == pytest.approx(-np.sum(shares * np.log(shares)))


def test_first_encoders_are_those_of_the_model(dense, inputs):
    np.testing.assert_allclose(logits(first_encoders(dense, 3), inputs), logits(dense, inputs), atol=1e-6)
    fewer = first_encoders(dense, 2)
    assert [weight.path for weight in fewer.encoders[1].weights] == [w.path for w in dense.encoders[1].weights]
    assert len(fewer.encoders) == 2
    assert not np.allclose(logits(fewer, inputs), logits(dense, inputs), atol=1e-3)
