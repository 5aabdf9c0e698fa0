import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.reduction import DIMENSIONS, Reduction
from powerbert_tf.elimination.retention import CLS_ALONE, validate_configuration
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.search.soft import WIDTH, Budget, BudgetController, gate_sizes, log_cost_slopes
from powerbert_tf.training.optimizer import BertAdam

CONFIG = tiny_config(num_hidden_layers=4, dropout=0.0)  # three of which have a fraction
N = 31
LENGTHS = np.random.default_rng(1).integers(11, N + 1, size=101)


SIZES = {"neurons": (29,) * 4, "heads": (5,) * 4}


def costs_of(num_encoders=4, lengths=LENGTHS):
    return Costs(count_costs(EncoderSize(num_encoders, 35, 29, num_heads=5), N, 7), lengths, num_encoders)


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


@pytest.mark.parametrize("shares_encoders", [False, True])
def test_slopes_are_those_of_the_cost_in_narrowed_encoders(shares_encoders):
    # As above, with S = 5 a columns of the outputs of a heads, where 3 heads are all, and H = 11.
    n, hidden, size = 10_007, 11, 5
    costs = Costs(count_costs(EncoderSize(4, hidden, 7, 3 * size, num_heads=3), n, 1), np.array([n]), 4)
    kept = np.array([0.9, 0.6, 0.2])
    of_neurons, of_heads = np.array([0.8, 0.3, 0.5, 0.6]), np.array([0.9, 0.4, 0.7, 0.5])
    sizes = {"neurons": (7,) * 4, "heads": (3,) * 4}
    if shares_encoders:
        of_neurons, of_heads, sizes = of_neurons[:1], of_heads[:1], {"neurons": (7,), "heads": (3,)}
    found = log_cost_slopes(np.concatenate([kept, of_neurons, of_heads]), costs, sizes)

    neurons, columns = (np.resize(each, 4) for each in (7 * of_neurons, 3 * size * of_heads))
    leaving = n * kept
    entering = np.array([n, *leaving])
    attention = columns * np.array([*(3 * entering[:3] * hidden + 1.5 * entering[:3] ** 2), 0])
    attention[3] = columns[3] * ((2 * entering[3] + 1) * hidden + 2 * entering[3])
    updated = np.array([*leaving, 1])
    projected, fed = updated * hidden * columns, 2 * updated * hidden * neurons
    total = np.sum(attention + projected + fed)
    of_rows = n * (hidden * columns[:3] + 2 * hidden * neurons[:3])
    of_rows[:2] += n * columns[1:3] * (3 * hidden + 3 * leaving[:2])
    of_rows[2] += n * columns[3] * (2 * hidden + 2)
    # Cost is linear in neurons and in heads.
    widths = (fed.reshape(-1, len(of_neurons)) / of_neurons).sum(axis=0)
    heads = ((attention + projected).reshape(-1, len(of_heads)) / of_heads).sum(axis=0)
    np.testing.assert_allclose(found, np.concatenate([of_rows, widths, heads]) / total, rtol=1e-3)


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
    # Widths are in no order, and have smallest ones of their own.
    budget = Budget(costs_of(), 2.0, SIZES, {"neurons": (7,) * 4, "heads": (2,) * 4})
    proposed = np.array([0.9, 0.7, 0.8, 0.3, 0.9, 0.1, 1.0, 0.9, 0.3, 0.5, 0.4])
    expected = [0.9, 0.75, 0.75, 0.3, 0.9, 7 / 29, 1.0, 0.9, 0.4, 0.5, 0.4]
    np.testing.assert_allclose(budget.step(proposed, 0.01), expected)


def test_steps_become_small():
    budget = Budget(costs_of(), 2.0)
    budget.fractions = np.array([0.89, 0.49, 0.1])
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


def test_the_budget_goes_where_it_costs_least():
    """Rows, neurons and heads that matter little go first, and the target is met by all of them together."""
    target = 2.1
    budget = Budget(costs_of(), target, SIZES, {"neurons": (1,) * 4, "heads": (1,) * 4})
    weights = np.array([3.0, 3.0, 3.0, *[0.1, 3.0, 3.0, 3.0], *[3.0, 3.0, 0.1, 3.0]])
    steps = search_by_adam(budget, weights, 0.01, 0.1, num_steps=7919)
    assert budget.converged
    assert steps < 7919
    assert budget.speedup == pytest.approx(target, rel=0.03)
    neurons, heads = budget.averaged[3:7], budget.averaged[7:]
    assert neurons[0] < 0.3 < 0.6 < min(neurons[1:3])
    assert heads[2] < 0.3 < 0.6 < min(heads[:2])


def test_widths_are_rounded_and_rows_make_up_for_it():
    controller = BudgetController(costs_of(), 3.1, SIZES, step_of_neurons=4)
    controller.budget.averaged = np.array([0.9, 0.8, 0.7, 0.3, 0.5, 0.05, 1.0, 0.5, 0.3, 0.01, 0.9])
    reduction = controller.reduction
    # In units of 4, 29 * f is 2.2, 3.6 and 0.4, and all; 5 * f is 2.5, 1.5, 0.05 and 4.5.
    assert reduction.neurons == (8, 16, 4, 29)
    assert reduction.heads == (2, 2, 1, 4)
    assert controller.configuration == reduction.rows == validate_configuration(reduction.rows, 4, N)
    assert 3.1 * (1 - 1e-9) <= controller.costs.speedup(reduction) <= 3.1 * 1.02
    # All may stay although their number is no multiple.
    controller.budget.averaged = np.array([0.3, 0.2, 0.1, 1.0, 0.99, 0.97, 0.96, 1.0, 0.95, 0.97, 1.0])
    assert controller.reduction == Reduction(controller.configuration, neurons=(29, 29, 28, 28))


def test_a_target_that_rows_alone_cannot_reach_is_met_however_early_the_search_ends():
    costs = dataclasses.replace(costs_of(), fewest_neurons=4, fewest_heads=2)
    target = 0.9 * costs.largest_speedup
    assert target > costs.speedup((CLS_ALONE,) * 4)
    controller = BudgetController(costs, target, SIZES)
    assert costs.speedup(controller.reduction) >= target * (1 - 1e-9)
    assert min(controller.reduction.neurons) >= 4
    assert min(controller.reduction.heads) >= 2


def test_the_step_of_neurons_is_a_16th_unless_given():
    sizes = {"neurons": (64, 64, 64, 48)}
    controller = BudgetController(costs_of(), 1.5, sizes)
    controller.budget.averaged = np.array([1.0, 1.0, 1.0, 0.71, 0.5, 0.01, 0.98])
    assert controller.reduction == Reduction(controller.configuration, neurons=(44, 32, 4, 48))


def gated_model(width=WIDTH, **kwargs):
    keras.utils.set_random_seed(5)
    dense = BertClassifier(BertConfig(**CONFIG), 3, N)
    return dense.with_slots(gate_width=width, **kwargs)


RATE, RATIO = 1e-4, 100  # of the weights, and times that of the fractions
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(model, num_steps, target=1.9):
    """A search of at most `num_steps` steps on random examples, with a model that is compiled."""
    controller = BudgetController(costs_of(), target, gate_sizes(model))
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

    def run(num_steps, rate=RATIO * RATE, target=1.9):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        model.optimizer.learning_rate = rate / RATIO
        return fit(model, num_steps, target)

    run.model = model
    return run


@pytest.mark.parametrize(("num_steps", "rate"), [(13, 0.01), (130, 0.01), (13, 0.1), (130, 0.1), (13, 1e-4)])
def test_the_result_is_on_target_whatever_training_did(search, num_steps, rate):
    controller = search(num_steps, rate)
    assert controller.steps <= num_steps
    configuration = controller.configuration
    assert configuration == validate_configuration(configuration, 4, N)
    assert 1.9 * (1 - 1e-9) <= costs_of().speedup(configuration) <= 1.9 * 1.01


def test_a_search_over_rows_and_widths_meets_its_target_and_does_not_collapse():
    model = gated_model(gated=DIMENSIONS)
    model.compile(BertAdam(RATE, retention_rate_ratio=RATIO), LOSS, jit_compile=False)
    assert gate_sizes(model) == SIZES
    controller = fit(model, 211, target=2.5)
    reduction = controller.reduction
    assert 2.5 * (1 - 1e-9) <= costs_of().speedup(reduction) <= 2.5 * 1.02
    # The gates themselves are on the target, too, and did not run through it.
    assert controller.budget.speedup == pytest.approx(2.5, rel=0.1)
    assert all(np.mean(own) < 0.97 for own in controller.widths.values())
    found = [float(gate.fraction.numpy()) for name in DIMENSIONS for gate in model.gates[name]]
    np.testing.assert_allclose(found, controller.budget.fractions, rtol=1e-6)


def test_encoders_that_share_weights_are_searched_one_width():
    keras.utils.set_random_seed(5)
    dense = BertClassifier(BertConfig(**CONFIG, shares_encoders=True), 3, N)
    model = dense.with_slots(gate_width=WIDTH, gated=DIMENSIONS)
    model.compile(BertAdam(RATE, retention_rate_ratio=RATIO), LOSS, jit_compile=False)
    controller = fit(model, 130)
    assert {name: len(own) for name, own in controller.widths.items()} == {"neurons": 1, "heads": 1}
    assert len(set(controller.reduction.neurons)) == len(set(controller.reduction.heads)) == 1
    assert costs_of().speedup(controller.reduction) >= 1.9 * (1 - 1e-9)


@pytest.mark.slow
def test_a_search_stops_when_it_has_converged_and_more_steps_change_nothing(search):
    # Rows are whole, so that speed-ups have steps, some wider than the tolerance; this target is near one of them.
    controller = search(3000, target=1.7)
    assert controller.budget.converged
    assert 100 < controller.steps < 3000
    assert controller.budget.speedup == pytest.approx(1.7, rel=0.05)
    assert np.isfinite(controller.budget.multiplier)
    again = search(9000, target=1.7)
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
    model = gated_model(gated=("rows", "heads"))
    model.compile(BertAdam(RATE), LOSS)
    with pytest.raises(ValueError, match=r"gated=\('rows', 'heads'\); expected \('rows',\), those with sizes"):
        model.fit(random_inputs(CONFIG, 5, N), np.zeros(5), callbacks=[BudgetController(costs_of(), 1.9)])


@pytest.mark.parametrize("sizes", [{}, SIZES], ids=["rows", "rows and widths"])
def test_a_search_resumes_from_its_state_with_the_costs_it_had(sizes):
    proposals = np.random.default_rng(5).uniform(0.2, 1.0, (173, 11 if sizes else 3))
    controller = BudgetController(costs_of(), 1.9, sizes)
    for proposed in proposals[:113]:  # of 0.01 each: in the first window after the ramp
        controller.budget.step(proposed, 0.01)
    controller.steps = 113
    state = json.loads(json.dumps(controller.get_state()))

    other_costs = costs_of(lengths=LENGTHS // 2)
    model = gated_model(gated=("rows", *sizes))
    gates = [gate for own in model.gates.values() for gate in own]
    again = BudgetController(other_costs, 1.9, sizes)
    again.set_model(model)
    again.on_train_begin()
    again.set_state(state)
    np.testing.assert_allclose([gate.fraction.numpy() for gate in gates], controller.budget.fractions, rtol=1e-6)
    np.testing.assert_allclose([gate.price.numpy() for gate in gates], controller.budget.prices, rtol=1e-6)
    early = BudgetController(other_costs, 1.9, sizes)
    early.set_state(state)  # before there is a model
    assert (again.steps, early.steps) == (113, 113)
    for proposed in proposals[113:]:
        for each in (controller, again, early):
            each.budget.step(proposed, 0.01)
    assert not np.array_equal(controller.budget.averaged, controller.budget.fractions)
    for each in (again, early):
        np.testing.assert_array_equal(each.budget.averaged, controller.budget.averaged)
        np.testing.assert_array_equal(each.budget.prices, controller.budget.prices)
        assert each.reduction == controller.reduction


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
