import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.retention import validate_configuration
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.search.soft import WIDTH, Budget, BudgetController, log_cost_slopes
from powerbert_tf.training.optimizer import BertAdam

CONFIG = tiny_config(num_hidden_layers=4, dropout=0.0)  # three of which have a fraction
N = 31
LENGTHS = np.random.default_rng(1).integers(11, N + 1, size=101)


def costs_of(num_encoders=4, lengths=LENGTHS):
    return Costs(count_costs(EncoderSize(num_encoders, 35, 29), N, 7), lengths, num_encoders)


def test_slopes_are_those_of_the_cost():
    # Rows of 10,000: whole numbers do not matter, and the cost may be differentiated by hand.
    size = EncoderSize(4, 5, 7)
    costs = Costs(count_costs(size, 10_007, 1), np.array([10_007]), 4)
    fractions = np.array([0.9, 0.6, 0.2])
    # Encoder j: the update of its rows, H^2 + 2 H I each, and the attention of encoder j + 1, of whose rows half stay:
    # 3 rows H^2 + 3/2 rows^2 H; in the last one 2 rows H^2 + 2 rows H.
    rows = fractions * 10_007
    attention = np.array([1, 1, 0]) * (3 * 25 + 3 * rows * 5) + np.array([0, 0, 1]) * (2 * 25 + 2 * 5)
    expected = 10_007 * (25 + 2 * 5 * 7 + attention) / costs.of((0.9, 0.6, 0.2, 0.1))
    np.testing.assert_allclose(log_cost_slopes(fractions, costs), expected, rtol=1e-3)
    # Tied fractions have slopes, too, and so has keeping all.
    assert (log_cost_slopes(np.ones(3), costs) > 0).all()


def test_the_multiplier_rises_where_the_model_is_too_slow_and_falls_where_it_is_too_fast():
    costs = costs_of()

    def multipliers(fractions):
        budget = Budget(costs, 2.0)
        budget._travel = 1.0  # the target is in force
        seen = []
        for _ in range(17):
            budget.fractions = np.array(fractions)
            budget.step(np.array(fractions), 0.003)
            seen.append(budget.multiplier)
            slopes = log_cost_slopes(budget.fractions, costs)
            np.testing.assert_allclose(budget.prices, budget.multiplier * slopes)
        return np.array(seen)

    on_target = fit_to_budget((0.8, 0.7, 0.6, 0.6), costs, 2.0)[:-1]
    slower = tuple(min(1.0, 1.01 * fraction) for fraction in on_target)
    faster = tuple(0.994 * fraction for fraction in on_target)
    assert costs.speedup((*slower, 0.1)) < 2.0 < costs.speedup((*faster, 0.1)) < 2.04
    assert (np.diff(multipliers(slower)) > 0).all()
    assert (np.diff(multipliers(faster)) < 0).all()
    assert (multipliers(faster) > 0).all()
    # Far beyond the target it pushes back, harder from step to step.
    pushing = multipliers((0.4, 0.2, 0.1))
    assert (pushing < 0).all()
    assert (np.diff(pushing) < 0).all()


def test_steps_are_put_in_order_held_open_and_slowed_down():
    budget = Budget(costs_of(), 2.0)
    np.testing.assert_allclose(budget.step(np.array([0.9, 0.7, 0.8]), 0.01), [0.9, 0.75, 0.75])  # the nearest in order
    smallest = 1.5 / (1.2 * np.mean(LENGTHS))
    np.testing.assert_allclose(budget.step(np.array([0.9, 0.5, 0.0]), 0.01), [0.9, 0.5, smallest])
    # At ten times the largest rate a tenth of the step is taken.
    np.testing.assert_allclose(budget.step(np.array([0.8, 0.4, 0.0]), 0.1), [0.89, 0.49, smallest])
    # After the ramp and one unit of travel more, 1 / e of it.
    budget._travel = 2.0
    np.testing.assert_allclose(budget.step(np.array([0.79, 0.49, 0.0]), 0.01)[0], 0.89 - 0.1 / np.e)


def damage_gradient(fractions, weights, random, noise):
    """Of sum_j w_j (1 - f_j)^2, with noise, as a task's loss would have it."""
    return -2 * weights * (1 - fractions) + noise * random.standard_normal(len(fractions))


def search_by_adam(budget, weights, rate, noise, num_steps, seed=0):
    """A search on a loss whose optimum is known; returns the number of steps."""
    random = np.random.default_rng(seed)
    mean, square, count = np.zeros(len(weights)), np.zeros(len(weights)), 0
    while count < num_steps and not budget.converged:
        count += 1
        gradient = damage_gradient(budget.fractions, weights, random, noise) + budget.prices
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        step = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-7)
        budget.step(np.clip(budget.fractions - rate * step, 0, 1), rate)
    return count


WEIGHTS = np.array([1.3, 0.7, 0.2])


@functools.cache
def best_fractions(target):
    """The fractions of least damage on the target, by trying all in steps of 0.02."""
    costs = costs_of()
    grid = np.arange(0.06, 1.001, 0.02)
    best, least = None, np.inf
    for first in grid:
        for second in grid[grid <= first]:
            for third in grid[grid <= second]:
                damage = np.sum(WEIGHTS * (1 - np.array([first, second, third])) ** 2)
                if damage < least and costs.speedup((float(first), float(second), float(third), 0.01)) >= target:
                    best, least = (first, second, third), damage
    return best


@pytest.mark.parametrize("scale", [0.03, 1.0, 30.0])
@pytest.mark.parametrize("rate", [0.003, 0.01, 0.1])
def test_the_budget_leads_to_the_optimum_whatever_the_rate_and_the_size_of_the_loss(scale, rate):
    target = 1.7
    budget = Budget(costs_of(), target)
    steps = search_by_adam(budget, scale * WEIGHTS, rate, 0.3 * scale, num_steps=7919)
    assert budget.converged
    assert 100 < steps < 7919
    assert costs_of().speedup((*map(float, budget.averaged), 0.01)) == pytest.approx(target, rel=0.021)
    # Two windows agree to 0.03, and the grid is one of 0.02; a row is 0.05 of a mean example.
    np.testing.assert_allclose(budget.averaged, best_fractions(target), atol=0.08)


def gated_model(width=WIDTH):
    keras.utils.set_random_seed(5)
    dense = BertClassifier(BertConfig(**CONFIG), 3, N)
    return dense.with_slots(gate_width=width)


RATE, RATIO = 1e-4, 100  # of the weights, and times that of the fractions
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(model, num_steps, target=1.9):
    """A search of at most `num_steps` steps on random examples, with a model that is compiled."""
    controller = BudgetController(costs_of(), target)
    inputs = random_inputs(CONFIG, batch=13, length=N)
    labels = np.random.default_rng(3).integers(3, size=13)
    batches = tf.data.Dataset.from_tensors((inputs, labels)).repeat()
    model.fit(batches, epochs=1, steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=[controller])
    return controller


@pytest.fixture(scope="module")
def search():
    """Runs searches with one model, whose step is traced once: what a search changed is put back."""
    model = gated_model()
    model.compile(BertAdam(RATE, retention_rate_ratio=RATIO), LOSS, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]

    def run(num_steps, rate=RATIO * RATE):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        model.optimizer.learning_rate = rate / RATIO
        return fit(model, num_steps)

    run.model = model
    return run


@pytest.mark.parametrize(("num_steps", "rate"), [(13, 0.01), (130, 0.01), (13, 0.1), (130, 0.1), (13, 1e-4)])
def test_the_result_is_on_target_whatever_training_did(search, num_steps, rate):
    controller = search(num_steps, rate)
    assert controller.steps <= num_steps
    configuration = controller.configuration
    assert configuration == validate_configuration(configuration, 4, N)
    assert 1.9 * (1 - 1e-9) <= costs_of().speedup(configuration) <= 1.9 * 1.01


@pytest.mark.slow
def test_a_search_stops_when_it_has_converged_and_more_steps_change_nothing(search):
    controller = search(3000)
    assert controller.budget.converged
    assert 100 < controller.steps < 3000
    assert controller.budget.speedup == pytest.approx(1.9, rel=0.05)
    assert np.isfinite(controller.budget.multiplier)
    again = search(9000)
    assert again.steps == pytest.approx(controller.steps, rel=0.5)
    # The plan's length does not affect the search; what differs is the order of floating-point sums.
    np.testing.assert_allclose(again.configuration, controller.configuration, atol=0.03)
    assert all(one >= other for one, other in zip(controller.fractions, controller.fractions[1:], strict=False))


def test_training_stops_where_the_budget_has_converged(search, monkeypatch):
    step = Budget.step

    def converges(budget, *arguments):
        budget.converged = budget._travel > 0.05  # five steps at this rate
        return step(budget, *arguments)

    monkeypatch.setattr(Budget, "step", converges)
    assert 5 <= search(130).steps <= 7


def test_the_price_is_part_of_the_loss_and_of_a_compiled_step():
    model = gated_model()
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    assert len(model.losses) == 3
    inputs, labels = random_inputs(CONFIG, batch=5, length=N), np.zeros(5, "int32")
    for prices in ((0.2, 0.3, 0.5), (0.7, 0.1, 0.4)):
        for slot, price in zip(model.slots, prices, strict=True):
            slot.fraction.assign(1.0)  # where the task's loss has no slope
            slot.price.assign(price)
        np.testing.assert_allclose(model.losses, prices, rtol=1e-6)
        model.train_on_batch(inputs, labels)
        moved = [1 - float(slot.fraction.numpy()) for slot in model.slots]
        np.testing.assert_allclose(moved, 0.1 * np.array(prices), rtol=1e-4)


def test_fractions_that_do_not_learn_have_no_price():
    model = gated_model(width=0.0)
    assert model.losses == []
    assert not any("price" in variable.path for variable in model.variables)


def test_a_second_search_goes_on_with_what_was_compiled(search):
    search(2)
    first = [id(slot.price) for slot in search.model.slots]
    controller = search(3)
    assert [id(slot.price) for slot in search.model.slots] == first
    assert controller.steps == 3


def test_a_rate_that_ends_is_no_convergence():
    model = gated_model()
    ending = keras.optimizers.schedules.PolynomialDecay(RATE, 61, end_learning_rate=0.0)
    model.compile(BertAdam(ending, retention_rate_ratio=RATIO), LOSS, jit_compile=False)
    controller = fit(model, 89)
    assert not controller.budget.converged
    assert controller.steps == 89
    assert costs_of().speedup(controller.configuration) == pytest.approx(1.9, rel=0.01)


def test_a_model_without_gates_that_learn_is_refused():
    dense = BertClassifier(BertConfig(**CONFIG), 3, N)
    for model in (dense.with_slots(gate_width=0.0), dense.with_slots(retention_configuration=(0.7, 0.5, 0.3, 0.3))):
        model.compile(BertAdam(RATE), LOSS)
        with pytest.raises(ValueError, match=r"gate_width=(0\.0|None); expected above 0"):
            fit(model, 1)


def test_a_search_resumes_from_its_state_with_the_costs_it_had():
    proposals = np.random.default_rng(5).uniform(0.2, 1.0, (173, 3))
    controller = BudgetController(costs_of(), 1.9)
    for proposed in proposals[:113]:  # of 0.01 each: in the first window after the ramp
        controller.budget.step(proposed, 0.01)
    controller.steps = 113
    state = json.loads(json.dumps(controller.get_state()))

    other_costs = costs_of(lengths=LENGTHS // 2)
    model = gated_model()
    again = BudgetController(other_costs, 1.9)
    again.set_model(model)
    again.on_train_begin()
    again.set_state(state)
    np.testing.assert_allclose([slot.fraction.numpy() for slot in model.slots], controller.fractions[:-1], rtol=1e-6)
    np.testing.assert_allclose([slot.price.numpy() for slot in model.slots], controller.budget.prices, rtol=1e-6)
    early = BudgetController(other_costs, 1.9)
    early.set_state(state)  # before there is a model
    assert (again.steps, early.steps) == (113, 113)
    for proposed in proposals[113:]:
        for each in (controller, again, early):
            each.budget.step(proposed, 0.01)
    assert not np.array_equal(controller.budget.averaged, controller.budget.fractions)
    for each in (again, early):
        np.testing.assert_array_equal(each.budget.averaged, controller.budget.averaged)
        np.testing.assert_array_equal(each.budget.prices, controller.budget.prices)
        assert each.configuration == controller.configuration


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_the_rate_is_that_of_the_optimizer_inside_loss_scaling(wrap):
    model = gated_model()
    model.compile(wrap(BertAdam(10 * RATE, retention_rate_ratio=RATIO)), LOSS)
    controller = BudgetController(costs_of(), 1.9)
    controller.set_model(model)
    controller.on_train_begin()
    for slot, fraction in zip(model.slots, (0.9, 0.7, 0.4), strict=True):
        slot.fraction.assign(fraction)
    controller.on_train_batch_end(0)
    # The rate is 0.1, ten times the largest: a tenth of the step is taken.
    np.testing.assert_allclose([slot.fraction.numpy() for slot in model.slots], [0.99, 0.97, 0.94], rtol=1e-6)
