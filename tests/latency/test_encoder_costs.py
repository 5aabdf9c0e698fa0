import dataclasses
import math

import numpy as np
import pytest
from fake_clock import Clock
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.latency import encoder_costs, timing
from powerbert_tf.latency.costs import PART_NAMES
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 23
B = 5
GRID = [1, 2, 4, 6, 8, 12, 16, 23]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def warnings_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(encoder_costs.logging, "warning", lambda text, *values: messages.append(text % values))
    return messages


def batch(length):
    return random_inputs(tiny_config(), batch=B, length=length)


def fake_chains(monkeypatch, clock, **milliseconds):
    chains = {name: clock.function(name, function) for name, function in milliseconds.items()}
    monkeypatch.setattr(encoder_costs, "_chains", lambda config, max_seq_length: chains)


def exact(monkeypatch, clock):
    """3 encoders without noise: attention T^2, with extraction T^2 + 2, update 7 T, last 5 T, outside 11 + T."""
    outside = lambda t, call: 11 + t  # noqa: E731
    idle = lambda t, call: 11 + t + 3 * 0.1 * t  # noqa: E731
    fake_chains(
        monkeypatch,
        clock,
        outside=outside,
        idle=idle,
        attention=lambda t, call: idle(t, call) + 3 * t**2,
        extracting_attention=lambda t, call: idle(t, call) + 3 * (t**2 + 2),
        update=lambda t, call: idle(t, call) + 3 * 7 * t,
        last=lambda t, call: idle(t, call) + 3 * 5 * t,
    )


def test_costs_are_what_the_chains_have_not_in_common(monkeypatch, clock):
    exact(monkeypatch, clock)
    table = encoder_costs.measure_costs(CONFIG, N, B)
    assert (table.unit, table.batch_size, table.device) == ("ms", B, timing.device_name())
    rows = np.array(GRID)
    np.testing.assert_array_equal(table.rows, rows)
    np.testing.assert_allclose(table.attention, rows**2)
    np.testing.assert_allclose(table.extracting_attention, rows**2 + 2)
    np.testing.assert_allclose(table.update, 7 * rows)
    np.testing.assert_allclose(table.last, 5 * rows)
    np.testing.assert_allclose(table.outside, 11 + rows)


@pytest.mark.parametrize(("max_seq_length", "rows"), [(1, [1]), (2, [1, 2]), (24, [*GRID[:-1], 24])])
def test_the_grid_ends_at_the_most_rows(monkeypatch, clock, max_seq_length, rows):
    exact(monkeypatch, clock)
    np.testing.assert_array_equal(encoder_costs.measure_costs(CONFIG, max_seq_length, B).rows, rows)


def test_noise_makes_no_curve_fall_and_none_free(monkeypatch, clock):
    spike = {1: 5, 2: 9, 4: 7}
    fake_chains(
        monkeypatch,
        clock,
        outside=lambda t, call: 2,
        idle=lambda t, call: 3,
        attention=lambda t, call: 2,  # less than nothing
        extracting_attention=lambda t, call: 3 + 3 * spike.get(t, 11),
        update=lambda t, call: 3,
        last=lambda t, call: 3,
    )
    table = encoder_costs.measure_costs(CONFIG, 6, B)
    np.testing.assert_allclose(table.extracting_attention, [5, 8, 8, 11])  # 9 and 7 meet
    for name in PART_NAMES:
        curve = getattr(table, name)
        assert (curve > 0).all()
        assert (np.diff(curve) >= 0).all()


@pytest.mark.parametrize(
    ("milliseconds", "rounds"),
    # A round is 6 chains on rows 1, 2 and 3: 18 calls.
    [
        (1000, 4),  # 18 s a round: until 60 s are passed
        (5000, 3),  # 90 s a round: the fewest
        (100, 7),  # 1.8 s a round
        (20, 12),  # 0.36 s a round: until 4 s are passed
    ],
)
def test_rounds_by_the_time_they_take(monkeypatch, clock, milliseconds, rounds):
    names = ("outside", "idle", *PART_NAMES[:-1])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: milliseconds))
    encoder_costs.measure_costs(CONFIG, 3, B, repeats=7)
    assert len(clock.calls) / 18 == 1 + rounds


def test_what_else_runs_is_no_part_of_a_cost(monkeypatch, clock):
    names = ("outside", "idle", *PART_NAMES[:-1])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: 1000 if call == 3 else 2000 + call))
    np.testing.assert_allclose(encoder_costs.measure_costs(CONFIG, N, B).outside, np.full(len(GRID), 1000.0))


@pytest.mark.parametrize(("usual", "warned"), [(1.2, False), (1.3, True)])
def test_a_busy_machine_is_told_of(monkeypatch, clock, warnings_logged, usual, warned):
    names = ("outside", "idle", *PART_NAMES[:-1])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: 1000 if call == 3 else 1000 * usual))
    encoder_costs.measure_costs(CONFIG, N, B)
    assert bool(warnings_logged) == warned
    assert all("usually take 1.30 times as long as the fastest" in message for message in warnings_logged)


def test_the_parts_of_an_encoder_are_the_encoder():
    chains = encoder_costs._chains(CONFIG, N)
    word_vectors = np.random.default_rng(3).standard_normal((B, 19, 35)).astype("float32")
    mask = batch(19)["padding_mask"]
    for number, block in enumerate(chains["attention"].encoders):
        expected, _ = block(word_vectors, mask, mask)
        context = chains["attention"].part(block, word_vectors, mask)
        both = block.update(word_vectors, context)
        np.testing.assert_allclose(both.numpy(), expected.numpy(), atol=1e-6)
        last = chains["last"]
        only = last.part(last.encoders[number], word_vectors, mask)
        np.testing.assert_allclose(only.numpy(), expected[:, :1].numpy(), atol=1e-6)
        extracting = chains["extracting_attention"]
        assert extracting.part(extracting.encoders[number], word_vectors, mask).shape == (B, math.ceil(19 / 2), 35)
        update = chains["update"]
        alone = update.part(update.encoders[number], word_vectors, mask)
        np.testing.assert_allclose(alone.numpy(), block.update(word_vectors, word_vectors).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["attention", "extracting_attention", "update", "last"])
def test_each_part_reads_what_the_one_before_it_wrote(name):
    chain = encoder_costs._chains(CONFIG, N)[name]
    seen = []
    part, chain.part = chain.part, lambda encoder, x, mask: seen.append(np.array(x)) or part(encoder, x, mask)
    chain(batch(19))
    assert len(seen) == 3
    assert [x.shape for x in seen] == [(B, 19, 35)] * 3
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


@pytest.mark.parametrize(("encoders", "chained"), [(2, 2), (7, 4)])
def test_chains_are_no_longer_than_the_stack(encoders, chained):
    config = dataclasses.replace(CONFIG, num_hidden_layers=encoders)
    assert [len(chain.encoders) for chain in encoder_costs._chains(config, N).values()] == [0, *[chained] * 5]


def test_real_costs(monkeypatch):
    monkeypatch.setattr(encoder_costs, "_SHORTEST_SECONDS", 0.0)
    table = encoder_costs.measure_costs(CONFIG, N, B, repeats=1)
    for name in PART_NAMES:
        curve = getattr(table, name)
        assert curve.shape == (len(GRID),)
        assert (curve > 0).all()
        assert (np.diff(curve) >= 0).all()
