import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from fake_clock import Clock
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.latency import encoder_costs, timing
from powerbert_tf.latency.costs import NARROWED, PART_NAMES
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


WIDTHS = {"neurons": (7, 14), "heads": (1, 2)}  # a quarter and a half of 29 neurons and 5 heads
NARROW = {
    (part, width): f"{part}, {width} {name}"
    for name, parts in NARROWED.items()
    for width in WIDTHS[name]
    for part in parts
}
FULL = ("outside", "idle", *PART_NAMES[:-1])


def fake_chains(monkeypatch, clock, narrow=None, **milliseconds):
    """Chains that take given times; those of narrower encoders `narrow(part, width)`, or the time of all widths."""
    narrow = narrow or (lambda part, width: milliseconds[part])
    milliseconds |= {name: narrow(*chain) for chain, name in NARROW.items()}
    chains = {name: clock.function(name, function) for name, function in milliseconds.items()}
    monkeypatch.setattr(encoder_costs, "_chains", lambda config, max_seq_length: chains)


def exact(monkeypatch, clock):
    """3 encoders without noise: attention T^2, with extraction T^2 + 2, update 7 T, last 5 T, outside 11 + T.

    Narrower ones take a share of that which falls with their width.
    """
    parts = {
        "attention": lambda t: t**2,
        "extracting_attention": lambda t: t**2 + 2,
        "update": lambda t: 7 * t,
        "last": lambda t: 5 * t,
    }
    outside = lambda t, call: 11 + t  # noqa: E731
    idle = lambda t, call: 11 + t + 3 * 0.1 * t  # noqa: E731
    chains = {
        part: lambda t, call, milliseconds=milliseconds: idle(t, call) + 3 * milliseconds(t)
        for part, milliseconds in parts.items()
    }
    narrow = lambda part, width: lambda t, call: idle(t, call) + 3 * share(width, t) * parts[part](t)  # noqa: E731
    fake_chains(monkeypatch, clock, narrow, outside=outside, idle=idle, **chains)


def share(width, rows):
    """Of the cost at full width."""
    return {1: 0.5, 2: 0.75, 7: 0.25, 14: 0.5}[width] + rows / 1000


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


def test_ratios_are_those_at_a_few_rows_and_linear_between(monkeypatch, clock):
    exact(monkeypatch, clock)
    table = encoder_costs.measure_costs(CONFIG, N, B)
    assert {name: widths.tolist() for name, widths in table.widths.items()} == {
        "neurons": [7, 14, 29],
        "heads": [1, 2, 5],
    }
    assert {name: set(parts) for name, parts in table.ratios.items()} == {
        "neurons": {"update", "last"},
        "heads": {"attention", "extracting_attention", "update", "last"},
    }
    for name, parts in table.ratios.items():
        for ratios in parts.values():
            for width, found in zip(WIDTHS[name], ratios, strict=False):
                np.testing.assert_allclose(found, share(width, np.array(GRID)))  # it is linear itself
            np.testing.assert_array_equal(ratios[-1], np.ones(len(GRID)))
    # Of 8 numbers of rows the five are 1, 4, 8, 12 and 23: steps of 7 / 4, rounded.
    narrow = {length for name, length in clock.calls if name not in FULL}
    assert narrow == {1, 4, 8, 12, 23}
    assert table.encoder(12, 8, True, neurons=14) == pytest.approx((144 + 2) + 7 * 8 * 0.508)


def test_noise_makes_no_narrower_encoder_slower_and_none_free(monkeypatch, clock):
    shares = {"update": {1: 1.3, 2: 1.1, 7: 0.8, 14: 0.6}, "last": dict.fromkeys((1, 2, 7, 14), -0.5)}
    fake_chains(
        monkeypatch,
        clock,
        lambda part, width: lambda t, call: 3 + 3 * shares.get(part, {1: 0.5, 2: 0.5})[width] * t,
        outside=lambda t, call: 2,
        idle=lambda t, call: 3,
        **dict.fromkeys(PART_NAMES[:-1], lambda t, call: 3 + 3 * t),
    )
    table = encoder_costs.measure_costs(CONFIG, 6, B)
    np.testing.assert_allclose(table.ratios["heads"]["update"], np.ones((3, 4)))
    np.testing.assert_allclose(table.ratios["neurons"]["update"][:, 0], [0.7, 0.7, 1.0])  # 0.8 and 0.6 meet
    assert (table.ratios["heads"]["last"] > 0).all()
    widths = np.arange(1, 30)
    for costs in (table.encoder(6, 4, True, neurons=widths), table.last_encoder(6, neurons=widths)):
        assert (costs > 0).all()
        assert (np.diff(costs) >= 0).all()


@pytest.mark.parametrize(
    ("sizes", "neurons", "heads"),
    [
        ({"intermediate_size": 1536, "hidden_size": 36, "num_attention_heads": 12}, [384, 768, 1536], [3, 6, 12]),
        ({"intermediate_size": 1, "num_attention_heads": 1}, [1], [1]),
        ({"intermediate_size": 3, "hidden_size": 34, "num_attention_heads": 2}, [1, 3], [1, 2]),
    ],
)
def test_known_widths_are_a_quarter_a_half_and_all(sizes, neurons, heads):
    known = encoder_costs.known_widths(dataclasses.replace(CONFIG, **sizes))
    assert {name: widths.tolist() for name, widths in known.items()} == {"neurons": neurons, "heads": heads}


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
    # A round is 6 chains of full width and 12 of narrower encoders on rows 1, 2 and 3: 54 calls.
    [
        (300, 4),  # 16.2 s a round: until 60 s are passed
        (1500, 3),  # 81 s a round: the fewest
        (30, 7),  # 1.62 s a round
        (7, 11),  # 0.378 s a round: until 4 s are passed
    ],
)
def test_rounds_by_the_time_they_take(monkeypatch, clock, milliseconds, rounds):
    fake_chains(monkeypatch, clock, **dict.fromkeys(FULL, lambda t, call: milliseconds))
    encoder_costs.measure_costs(CONFIG, 3, B, repeats=7)
    assert len(clock.calls) / 54 == 1 + rounds


def test_what_else_runs_is_no_part_of_a_cost(monkeypatch, clock):
    fake_chains(monkeypatch, clock, **dict.fromkeys(FULL, lambda t, call: 1000 if call == 3 else 2000 + call))
    np.testing.assert_allclose(encoder_costs.measure_costs(CONFIG, N, B).outside, np.full(len(GRID), 1000.0))


@pytest.mark.parametrize(("usual", "warned"), [(1.2, False), (1.3, True)])
def test_a_busy_machine_is_told_of(monkeypatch, clock, warnings_logged, usual, warned):
    fake_chains(monkeypatch, clock, **dict.fromkeys(FULL, lambda t, call: 1000 if call == 3 else 1000 * usual))
    encoder_costs.measure_costs(CONFIG, N, B, kept_in=Path("costs-17.json"))
    assert bool(warnings_logged) == warned
    assert all("usually take 1.30 times as long as the fastest" in message for message in warnings_logged)
    assert all("; remove costs-17.json to have them measured" in message for message in warnings_logged)


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
    assert [len(chain.encoders) for chain in encoder_costs._chains(config, N).values()] == [0, *[chained] * 17]


@pytest.mark.parametrize("shares_encoders", [False, True])
def test_parts_of_narrower_encoders_are_those_of_a_narrower_model(shares_encoders):
    # Whatever widths the model itself has.
    config = dataclasses.replace(CONFIG, shares_encoders=shares_encoders, neurons=(5,) * 3, heads=(3,) * 3)
    chains = encoder_costs._chains(config, N)
    assert set(chains) == {*FULL, *NARROW.values()}
    word_vectors = np.random.default_rng(3).standard_normal((B, 19, 35)).astype("float32")
    mask = batch(19)["padding_mask"]
    for (part, width), name in NARROW.items():
        chain = chains[name]
        neurons, heads = (29, width) if width in WIDTHS["heads"] else (width, 5)
        distinct = {id(block.intermediate) for block in chain.encoders}
        assert len(distinct) == (1 if shares_encoders else 3)
        for block in chain.encoders:
            assert block.intermediate.kernel.shape == (35, neurons)
            assert block.attention.output_projection.kernel.shape == (7 * heads, 35)
            found = chain.part(block, word_vectors, mask)
            if part == "update":
                expected = block.update(word_vectors, word_vectors[:, :, : 7 * heads])
                np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
            rows = {"attention": 19, "extracting_attention": math.ceil(19 / 2), "update": 19, "last": 1}[part]
            assert found.shape == (B, rows, 7 * heads if "attention" in part else 35)
        assert np.isfinite(chain(batch(19))).all()


def test_real_costs(monkeypatch):
    monkeypatch.setattr(encoder_costs, "SHORTEST_SECONDS", 0.0)
    table = encoder_costs.measure_costs(CONFIG, N, B, repeats=1)
    for name in PART_NAMES:
        curve = getattr(table, name)
        assert curve.shape == (len(GRID),)
        assert (curve > 0).all()
        assert (np.diff(curve) >= 0).all()
