import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import Output, check_layer
from scipy import special
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER
from powerbert_tf.data.tasks import get_task
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.narrow import prefix
from powerbert_tf.training.elastic import DrawConfigurations, SandwichModel, draw_configuration, draw_reduction
from powerbert_tf.training.losses import task_loss
from powerbert_tf.training.optimizer import BertAdam

CONFIG = tiny_config(dropout=0.0)
N = 23
SMALLEST = (0.53, 0.29, 0.11)
DRAWN = (0.83, 0.61, 0.61)


NEURONS, HEADS = (17, 29, 7), (5, 2, 3)


def dense_model(num_outputs=11):
    keras.utils.set_random_seed(5)
    model = BertClassifier(BertConfig(**CONFIG), num_outputs, N)
    for variable in model.trainable_variables:  # no attention is uniform, no logit near 0
        variable.assign(variable * 7.0 if "kernel" in variable.name or "embeddings" in variable.name else variable)
    return model


def batch_of(size=7, classes=11, seed=0):
    labels = np.random.default_rng(seed).integers(classes, size=size)
    return random_inputs(CONFIG, batch=size, length=N, seed=seed), labels


KINDS = pytest.mark.parametrize("kind", [CLASSES, LABELS, NUMBER], ids=lambda kind: kind.title)


def task_of(kind):
    classes = () if kind is NUMBER else tuple("abcdefghijk")
    return dataclasses.replace(get_task("SST-2"), classes=classes, is_multi_label=kind is LABELS)


def labels_of(kind, labels):
    """Class numbers or values `[B]`; of labels, 0 and 1 `[B, 11]`."""
    return np.random.default_rng(5).integers(0, 2, (len(labels), 11), "uint8") if kind is LABELS else labels


@KINDS
def test_where_all_is_kept_the_loss_is_the_tasks(kind):
    task = task_of(kind)
    dense = dense_model(task.num_outputs)
    model = SandwichModel(dense, kind.problem_type, (1.0, 1.0, 1.0), num_random=2)
    inputs, labels = batch_of()
    labels = labels_of(kind, labels)
    model.compile(BertAdam(1e-3), task_loss(task))
    logits = model(inputs)
    assert logits.shape == (4, 7, task.num_outputs)
    expected = task_loss(task)(labels, dense(inputs))
    np.testing.assert_allclose(model.compute_loss(y=labels, y_pred=logits), expected, rtol=1e-6)


@KINDS
def test_the_loss_equals_that_of_models_that_extract(kind):
    task = task_of(kind)
    dense = dense_model(task.num_outputs)
    model = SandwichModel(dense, kind.problem_type, SMALLEST)
    model.set_reductions([Reduction(SMALLEST), Reduction(DRAWN)])
    inputs, labels = batch_of()
    labels = labels_of(kind, labels)
    model.compile(BertAdam(1e-3), task_loss(task), run_eagerly=True)

    full, *others = (np.asarray(with_retention(dense, kept)(inputs), "float64") for kept in (None, SMALLEST, DRAWN))
    assert min(np.abs(other - full).max() for other in others) > 0.01  # they do eliminate something
    if kind is NUMBER:
        own = np.mean((full[:, 0] - labels) ** 2)
        distances = [np.mean((other - full) ** 2) for other in others]
    elif kind is CLASSES:
        log_probs, *other_log_probs = (special.log_softmax(logits, axis=-1) for logits in (full, *others))
        own = -np.mean(log_probs[np.arange(7), labels])
        distances = [np.mean(np.sum(np.exp(log_probs) * (log_probs - other), axis=-1)) for other in other_log_probs]
    else:
        p, *of_others = (1 / (1 + np.exp(-logits)) for logits in (full, *others))
        own = -np.mean(np.where(labels == 1, np.log(p), np.log(1 - p)))
        distances = [np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))) for q in of_others]
    loss = model.compute_loss(y=labels, y_pred=model(inputs, training=True))
    np.testing.assert_allclose(loss, own + np.mean(distances), rtol=1e-4)


@KINDS
def test_examples_of_weight_0_are_as_if_they_were_not_there(kind):
    task = task_of(kind)
    model = SandwichModel(dense_model(task.num_outputs), kind.problem_type, SMALLEST)
    model.compile(BertAdam(1e-3), task_loss(task))
    inputs, labels = batch_of()
    labels = labels_of(kind, labels)
    first = {name: values[:5] for name, values in inputs.items()}
    weights = np.array([1, 1, 1, 1, 1, 0, 0], "float32")
    expected = model.compute_loss(y=labels[:5], y_pred=model(first))
    found = model.compute_loss(y=labels, y_pred=model(inputs), sample_weight=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_full_model_learns_nothing_from_the_others():
    model = SandwichModel(dense_model(), CLASSES.problem_type, SMALLEST)
    model.compile(BertAdam(1e-3), task_loss(task_of(CLASSES)))
    labels = np.array([3, 1])
    logits = np.random.default_rng(1).normal(size=(3, 2, 11)).astype("float32")
    other = logits.copy()
    other[1:] *= 5.0
    gradients = []
    for values in (logits, other):
        predicted = tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(predicted)
            loss = model.compute_loss(y=labels, y_pred=predicted)
        gradients.append(tape.gradient(loss, predicted).numpy())
    np.testing.assert_allclose(gradients[0][0], gradients[1][0], atol=1e-7)
    probabilities = special.softmax(logits[0], axis=-1)
    np.testing.assert_allclose(gradients[0][0], (probabilities - np.eye(11)[labels]) / 2, atol=1e-6)
    assert np.abs(gradients[0][1:]).max() > 0.01


def test_draws_never_increase_stay_in_range_and_cover_it():
    random = np.random.default_rng(3)
    smallest = (0.7, 0.4, 0.4, 0.13, 0.02)
    draws = np.array([draw_configuration(smallest, random) for _ in range(2003)])
    assert (np.diff(draws, axis=1) <= 0).all()
    assert (draws >= smallest).all()
    assert (draws <= 1).all()
    np.testing.assert_array_equal(draws, np.round(draws, 4))
    # A tenth of the draws and more in each quarter between the smallest and the full one, at the end of the stack.
    counts, _ = np.histogram(draws[:, -1], bins=np.linspace(0.02, 1, 5))
    assert counts.min() > 200
    # Both ends are reached, at each encoder.
    assert (draws.min(axis=0) < np.array(smallest) + 0.05).all()
    assert (draws.max(axis=0) > 0.97).all()


def test_draws_are_seeded_and_differ_from_step_to_step():
    def seen(seed):
        model, draw = (
            SandwichModel(dense_model(), CLASSES.problem_type, SMALLEST, num_random=2),
            DrawConfigurations(seed),
        )
        draw.set_model(model)
        draw.on_train_begin()
        configurations = []
        for step in range(3):
            draw.on_train_batch_begin(step)
            smallest, *drawn = model.reductions
            assert smallest == Reduction(SMALLEST)
            configurations += drawn
        return configurations

    first = seen(seed=7)
    assert len(set(first)) == 6
    assert seen(seed=7) == first
    random = np.random.default_rng(7)
    assert first == [Reduction(draw_configuration(SMALLEST, random)) for _ in range(6)]  # which widths leave alone
    assert not set(seen(seed=8)) & set(first)


def test_training_changes_the_dense_weights_and_no_fraction_in_one_trace(tmp_path):
    traces = []

    class Loss(keras.losses.Loss):
        def call(self, y_true, y_pred):
            traces.append(1)
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    dense = dense_model()
    names = [variable.path for variable in dense.variables]
    before = [variable.numpy() for variable in dense.trainable_variables]
    model, callbacks = SandwichModel(dense, CLASSES.problem_type, SMALLEST), [DrawConfigurations()]
    assert len(model.trainable_variables) == len(before)
    model.compile(BertAdam(1e-3), Loss(), jit_compile=False)
    inputs, labels = batch_of(size=13)
    history = model.fit(inputs, labels, batch_size=13, epochs=1, verbose=0, callbacks=callbacks).history["loss"]
    once = len(traces)
    history += model.fit(inputs, labels, batch_size=13, epochs=12, verbose=0, callbacks=callbacks).history["loss"]
    assert len(traces) == once  # other configurations in each step
    assert history[-1] < 0.8 * history[0]
    assert model.reductions[0] == Reduction(SMALLEST)
    assert all(np.any(old != new.numpy()) for old, new in zip(before, dense.trainable_variables, strict=True))

    assert [variable.path for variable in dense.variables] == names
    dense.save_weights(tmp_path / "dense.weights.h5")
    restored = BertClassifier(BertConfig(**CONFIG), 11, N)
    restored.load_weights(tmp_path / "dense.weights.h5")
    np.testing.assert_array_equal(restored(inputs), dense(inputs))


def test_reduced_models_are_prefixes_of_the_full_one():
    dense, (inputs, _) = dense_model(), batch_of()
    model = SandwichModel(dense, CLASSES.problem_type, SMALLEST, neurons=NEURONS, heads=HEADS)
    drawn = Reduction(DRAWN, (29, 11, 13), (2, 2, 5))
    model.set_reductions([model.smallest_reduction, drawn])
    for reduction, found in zip(model.reductions, model(inputs)[1:], strict=True):
        narrowed = prefix(with_retention(dense, reduction.rows), reduction.neurons, reduction.heads)
        np.testing.assert_allclose(found, narrowed(inputs), atol=1e-5)
        assert np.abs(found - dense(inputs)).max() > 0.01


def test_widths_are_drawn_as_deep_as_rows_and_reach_both_ends():
    random = np.random.default_rng(3)
    smallest = Reduction((0.5, 0.2, 0.1), (7, 17, 29), (1, 2, 5))
    draws = [draw_reduction(smallest, BertConfig(**CONFIG), random) for _ in range(2003)]
    rows = np.array([draw.rows for draw in draws])
    for full, widths, least in ((29, "neurons", smallest.neurons), (5, "heads", smallest.heads)):
        drawn = np.array([getattr(draw, widths) for draw in draws])
        assert drawn.dtype == "int64"
        np.testing.assert_array_equal(drawn.min(axis=0), least)
        np.testing.assert_array_equal(drawn.max(axis=0), (full,) * 3)
        # Deep in rows is deep in widths: their shares of the way from all to the smallest go together.
        assert np.corrcoef(rows[:, -1], drawn[:, 0])[0, 1] > 0.6
        assert abs(np.mean((full - drawn[:, 0]) / (full - least[0])) - 0.5) < 0.05


def test_encoders_that_share_weights_are_drawn_one_width():
    config = BertConfig(**CONFIG, shares_encoders=True)
    random = np.random.default_rng(3)
    draws = [draw_reduction(Reduction(SMALLEST, (7,) * 3), config, random) for _ in range(29)]
    assert {draw.heads for draw in draws} == {None}
    assert all(len(set(draw.neurons)) == 1 for draw in draws)
    assert len({draw.neurons for draw in draws}) > 7


def test_a_resumed_training_draws_what_it_would_have_drawn():
    def started():
        callback = DrawConfigurations(seed=7)
        callback.set_model(SandwichModel(dense_model(), CLASSES.problem_type, SMALLEST, neurons=NEURONS))
        callback.on_train_begin()
        return callback

    first, again = started(), started()
    first.on_train_batch_begin(0)
    state = json.loads(json.dumps(first.get_state()))
    first.on_train_batch_begin(1)
    again.model.neurons = (29, 29, 1)  # as costs measured anew might have led to
    again.set_state(state)
    again.on_train_batch_begin(1)
    assert again.model.reductions == first.model.reductions
    assert again.model.reductions[0] == Reduction(SMALLEST, NEURONS)


def test_what_does_not_fit_is_refused():
    dense = dense_model()
    with pytest.raises(InputError, match="heads=5,6,5: has 6; expected whole numbers from 1 to 5"):
        SandwichModel(dense, CLASSES.problem_type, SMALLEST, heads=(5, 6, 5))
    with pytest.raises(InputError, match="2 entries; expected 3"):
        SandwichModel(dense, CLASSES.problem_type, (0.5, 0.25))
    with pytest.raises(ValueError, match=r"smallest=\(5, 3, 2\); expected fractions"):
        SandwichModel(dense, CLASSES.problem_type, (5, 3, 2))
    with pytest.raises(ValueError, match="num_random=-1; expected at least 0"):
        SandwichModel(dense, CLASSES.problem_type, SMALLEST, num_random=-1)


def test_it_is_a_model(tmp_path):
    check_layer(
        lambda: SandwichModel(
            BertClassifier(BertConfig(**CONFIG), 11, N), NUMBER.problem_type, SMALLEST, 1, NEURONS, HEADS
        ),
        batch_of()[0],
        Output((3, 7, 11), "float32"),
        tmp_path,
        rounding=0.05,
    )
