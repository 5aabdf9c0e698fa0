import dataclasses
import importlib.util
import json
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import random_inputs, tiny_config

from powerbert_tf import latency
from powerbert_tf.batching import EncodedSplit
from powerbert_tf.bert_config import BertConfig
from powerbert_tf.cost import CostTable, grouped_lengths
from powerbert_tf.modeling import BertClassifier, with_retention

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 23
B = 5
GRID = [1, 2, 4, 6, 8, 12, 16, 23]
CURVES = ("attention", "extracting_attention", "feed_forward", "outside")


class Clock:
    """Stands still but for what calls take; `calls` holds (name, length) of each."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(latency, "time", types.SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(latency, "compiled", lambda function: function)

    def function(self, name, milliseconds):
        """A model that takes `milliseconds(length, number of the call with that length, 0 for the first)`."""

        def run(inputs):
            call = (name, inputs["token_ids"].shape[1])
            self.now += milliseconds(call[1], self.calls.count(call)) / 1000
            self.calls.append(call)
            return np.zeros(())

        return run


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def warnings_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(latency.logging, "warning", lambda text, *values: messages.append(text % values))
    return messages


def batch(length):
    return random_inputs(tiny_config(), batch=B, length=length)


# Latency.


def test_latency_is_the_median_over_repeats_without_the_first_call(clock):
    # The first call takes long; of 7, 3, 100, 5 and 11 the median is 7.
    noisy = [1000, 7, 3, 100, 5, 11]
    models = {
        "noisy": clock.function("noisy", lambda length, call: noisy[call]),
        "steady": clock.function("steady", lambda length, call: length if call else 1000),
    }
    times = latency.measure_latency(models, [batch(13), batch(17)], repeats=5)
    assert list(times) == ["noisy", "steady"]
    np.testing.assert_allclose(times["noisy"], [7, 7])
    np.testing.assert_allclose(times["steady"], [13, 17])


def test_models_are_called_in_turn_on_each_batch_and_begin_in_turn(clock):
    models = {name: clock.function(name, lambda length, call: 1) for name in "abc"}
    latency.measure_latency(models, [batch(13), batch(17)], repeats=4)
    turns = ["abc", "abc", "bca", "cab", "abc"]  # the first is the warm-up
    assert clock.calls == [(name, length) for turn in turns for length in (13, 17) for name in turn]


@pytest.mark.parametrize("kept", [None, (13, 7, 2), (0.8, 0.45, 0.13)])
def test_compiled_models_give_the_same_and_are_traced_once(kept):
    model = with_retention(BertClassifier(CONFIG, 11, N), kept)
    function = latency.compiled(model)
    for length in (19, 7, N, 3):
        inputs = batch(length)
        given = {name: tf.constant(values) for name, values in inputs.items()}
        np.testing.assert_allclose(function(given).numpy(), model(inputs).numpy(), atol=1e-6)
    assert function.experimental_get_tracing_count() == 1


def test_latency_of_real_models():
    model = BertClassifier(CONFIG, 11, N)
    models = {"dense": model, "reduced": with_retention(model, (0.5, 0.2, 0.1))}
    times = latency.measure_latency(models, [batch(13), batch(17)], repeats=1)
    assert all(values.shape == (2,) and (values > 0).all() for values in times.values())


ON_BACKEND = """
import json, sys
import numpy as np
import keras
from powerbert_tf import latency
from powerbert_tf.bert_config import BertConfig
from powerbert_tf.modeling import BertClassifier, with_retention
model = with_retention(BertClassifier(BertConfig(**json.loads(sys.argv[1])), 11, 23), (0.8, 0.45, 0.13))
inputs = dict(np.load(sys.argv[2]))
logits = keras.ops.convert_to_numpy(latency.compiled(model)(latency._tensors(inputs)))
np.testing.assert_allclose(logits, model.predict(inputs, verbose=0), atol=1e-5)
assert latency.measure_latency({"reduced": model}, [inputs], repeats=1)["reduced"] > 0
latency._SHORTEST_SECONDS = 0
latency._grid = lambda n: np.array([2, n])
assert (latency.measure_costs(model.config, 23, 5, repeats=1).attention > 0).all()
assert f", {sys.argv[3]} " in latency.device_name()
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    np.savez(tmp_path / "inputs.npz", **batch(19))
    run_python(ON_BACKEND, json.dumps(tiny_config()), tmp_path / "inputs.npz", backend, KERAS_BACKEND=backend)


def test_device_name():
    name = latency.device_name()
    assert name == latency.device_name()
    assert f"tensorflow {tf.__version__}" in name
    assert name.endswith(", float32")
    assert "\n" not in name


def test_device_name_without_proc(monkeypatch):
    def missing(path, **kwargs):
        raise FileNotFoundError(path)

    monkeypatch.setattr(latency.Path, "read_text", missing)
    monkeypatch.setattr(latency.platform, "processor", lambda: "")
    monkeypatch.setattr(latency.platform, "machine", lambda: "some-machine")
    assert latency.device_name().startswith("some-machine, ")


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="KERAS_BACKEND=numpy; expected tensorflow, jax or torch"):
        latency.device_name()


# Batches.

LENGTHS = (3, 17, 5, 9, 2, 21, 4, 11, 13, 7, 19)


@pytest.fixture(scope="module")
def encoded():
    """Row i has the ids 100 * i + position."""
    return EncodedSplit(
        token_ids=tf.ragged.constant([[100 * i + p for p in range(n)] for i, n in enumerate(LENGTHS)], tf.int32),
        segment_ids=tf.ragged.constant([[p % 2 for p in range(n)] for n in LENGTHS], tf.int32),
        labels=None,
        pad_id=97,
        max_seq_length=N,
    )


def check_batch(inputs, examples, width):
    for name, values in inputs.items():
        assert values.dtype == np.int32, name
        assert values.shape == (len(examples), width), name
    for row, i in enumerate(examples):
        for p in range(width):
            expected = (100 * i + p, p % 2, 1) if p < LENGTHS[i] else (97, 0, 0)
            found = tuple(inputs[name][row, p] for name in ("token_ids", "segment_ids", "padding_mask"))
            assert found == expected


def test_grouped_batches(encoded):
    batches = latency.latency_batches(encoded, batch_size=3)
    # By length: 2 3 4, 5 7 9, 11 13 17, and 19 21, which are left out.
    for inputs, examples, width in zip(batches, ((4, 0, 6), (2, 9, 3), (7, 8, 1)), (4, 9, 17), strict=True):
        check_batch(inputs, examples, width)
    np.testing.assert_array_equal(
        [inputs["token_ids"].shape[1] for inputs in batches], grouped_lengths(np.array(LENGTHS), 3)[:3]
    )


@pytest.mark.parametrize(("padding", "widths"), [("batch", (17, 21, 13)), ("max", (N, N, N))])
def test_batches_in_the_order_of_the_split(encoded, padding, widths):
    batches = latency.latency_batches(encoded, batch_size=3, padding=padding)
    for inputs, examples, width in zip(batches, ((0, 1, 2), (3, 4, 5), (6, 7, 8)), widths, strict=True):
        check_batch(inputs, examples, width)


def test_a_smaller_batch_stays_where_it_is_the_only_one(encoded):
    (inputs,) = latency.latency_batches(encoded, batch_size=13)
    check_batch(inputs, np.argsort(LENGTHS), 21)


def test_many_batches_are_thinned_out_evenly(encoded):
    batches = latency.latency_batches(encoded, batch_size=1, max_batches=3)
    assert [inputs["token_ids"].shape[1] for inputs in batches] == [2, 9, 21]
    (inputs,) = latency.latency_batches(encoded, batch_size=1, max_batches=1)
    assert inputs["token_ids"].shape == (1, 2)


def test_an_unknown_padding_is_refused(encoded):
    with pytest.raises(ValueError, match="padding='longest'; expected one of grouped, batch, max"):
        latency.latency_batches(encoded, 3, padding="longest")


# Costs.


def fake_chains(monkeypatch, clock, **milliseconds):
    chains = {name: clock.function(name, function) for name, function in milliseconds.items()}
    monkeypatch.setattr(latency, "_chains", lambda config, max_seq_length: chains)


def exact(monkeypatch, clock):
    """Chains of 3 encoders without noise: attention T^2, with extraction T^2 + 2, feed-forward 7 T, outside 11 + T."""
    outside = lambda t, call: 11 + t  # noqa: E731
    idle = lambda t, call: 11 + t + 3 * 0.1 * t  # noqa: E731
    fake_chains(
        monkeypatch,
        clock,
        outside=outside,
        idle=idle,
        attention=lambda t, call: idle(t, call) + 3 * t**2,
        extracting_attention=lambda t, call: idle(t, call) + 3 * (t**2 + 2),
        feed_forward=lambda t, call: idle(t, call) + 3 * 7 * t,
    )


def test_costs_are_what_the_chains_have_not_in_common(monkeypatch, clock):
    exact(monkeypatch, clock)
    table = latency.measure_costs(CONFIG, N, B)
    assert (table.unit, table.batch_size, table.device) == ("ms", B, latency.device_name())
    rows = np.array(GRID)
    np.testing.assert_array_equal(table.rows, rows)
    np.testing.assert_allclose(table.attention, rows**2)
    np.testing.assert_allclose(table.extracting_attention, rows**2 + 2)
    np.testing.assert_allclose(table.feed_forward, 7 * rows)
    np.testing.assert_allclose(table.outside, 11 + rows)


@pytest.mark.parametrize(("max_seq_length", "rows"), [(1, [1]), (2, [1, 2]), (24, [*GRID[:-1], 24])])
def test_the_grid_ends_at_the_most_rows(monkeypatch, clock, max_seq_length, rows):
    exact(monkeypatch, clock)
    np.testing.assert_array_equal(latency.measure_costs(CONFIG, max_seq_length, B).rows, rows)


def test_noise_makes_no_curve_fall_and_none_free(monkeypatch, clock):
    spike = {1: 5, 2: 9, 4: 7}
    fake_chains(
        monkeypatch,
        clock,
        outside=lambda t, call: 2,
        idle=lambda t, call: 3,
        attention=lambda t, call: 2,  # less than nothing
        extracting_attention=lambda t, call: 3 + 3 * spike.get(t, 11),
        feed_forward=lambda t, call: 3,
    )
    table = latency.measure_costs(CONFIG, 6, B)
    np.testing.assert_allclose(table.extracting_attention, [5, 8, 8, 11])  # 9 and 7 meet
    for name in CURVES:
        curve = getattr(table, name)
        assert (curve > 0).all()
        assert (np.diff(curve) >= 0).all()


@pytest.mark.parametrize(
    ("milliseconds", "rounds"),
    # A round is 5 chains on rows 1, 2 and 3: 15 calls.
    [
        (1000, 5),  # 15 s a round: until 60 s are passed
        (5000, 3),  # 75 s a round: the fewest
        (100, 7),  # 1.5 s a round
        (20, 14),  # 0.3 s a round: until 4 s are passed
    ],
)
def test_rounds_by_the_time_they_take(monkeypatch, clock, milliseconds, rounds):
    names = ("outside", "idle", *CURVES[:3])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: milliseconds))
    latency.measure_costs(CONFIG, 3, B, repeats=7)
    assert len(clock.calls) / 15 == 1 + rounds


def test_what_else_runs_is_no_part_of_a_cost(monkeypatch, clock):
    names = ("outside", "idle", *CURVES[:3])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: 1000 if call == 3 else 2000 + call))
    np.testing.assert_allclose(latency.measure_costs(CONFIG, N, B).outside, np.full(len(GRID), 1000.0))


@pytest.mark.parametrize(("usual", "warned"), [(1.2, False), (1.3, True)])
def test_a_busy_machine_is_told_of(monkeypatch, clock, warnings_logged, usual, warned):
    names = ("outside", "idle", *CURVES[:3])
    fake_chains(monkeypatch, clock, **dict.fromkeys(names, lambda t, call: 1000 if call == 3 else 1000 * usual))
    latency.measure_costs(CONFIG, N, B)
    assert bool(warnings_logged) == warned
    assert all("usually take 1.30 times as long as the fastest" in message for message in warnings_logged)


def test_the_halves_of_an_encoder_are_the_encoder():
    chains = latency._chains(CONFIG, N)
    word_vectors = np.random.default_rng(3).standard_normal((B, 19, 35)).astype("float32")
    mask = batch(19)["padding_mask"]
    for number, encoder in enumerate(chains["feed_forward"].encoders):
        expected, _ = encoder(word_vectors, mask, mask)
        attended = chains["attention"].part(chains["attention"].encoders[number], word_vectors, mask)
        both = chains["feed_forward"].part(encoder, attended, mask)
        np.testing.assert_allclose(both.numpy(), expected.numpy(), atol=1e-6)
        extracting = chains["extracting_attention"]
        assert extracting.part(extracting.encoders[number], word_vectors, mask).shape == (B, math.ceil(19 / 2), 35)


@pytest.mark.parametrize("name", ["attention", "extracting_attention", "feed_forward"])
def test_each_part_reads_what_the_one_before_it_wrote(name):
    chain = latency._chains(CONFIG, N)[name]
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
    assert [len(chain.encoders) for chain in latency._chains(config, N).values()] == [0, *[chained] * 4]


def test_real_costs(monkeypatch):
    monkeypatch.setattr(latency, "_SHORTEST_SECONDS", 0.0)
    table = latency.measure_costs(CONFIG, N, B, repeats=1)
    for name in CURVES:
        curve = getattr(table, name)
        assert curve.shape == (len(GRID),)
        assert (curve > 0).all()
        assert (np.diff(curve) >= 0).all()


# The file of costs.


@pytest.fixture
def measured(monkeypatch):
    """Stands for measuring; the list of what was measured."""
    seen = []

    def measure(config, max_seq_length, batch_size):
        seen.append((config, max_seq_length, batch_size))
        curves = {name: np.array([0.1, 0.2, 1 / 3]) * len(seen) for name in CURVES}
        return CostTable("ms", latency.device_name(), batch_size, np.array([1, 7, max_seq_length]), **curves)

    monkeypatch.setattr(latency, "measure_costs", measure)
    return seen


def assert_same(table, other):
    assert (table.unit, table.device, table.batch_size) == (other.unit, other.device, other.batch_size)
    for name in ("rows", *CURVES):
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name))


def test_costs_are_measured_once(measured, tmp_path, warnings_logged):
    folder = tmp_path / "new" / "folder"
    first = latency.load_costs(CONFIG, N, B, folder)
    assert_same(latency.load_costs(CONFIG, N, B, folder), first)
    assert measured == [(CONFIG, N, B)]
    assert not warnings_logged
    (path,) = folder.iterdir()
    assert path.name.startswith("costs-")
    stored = json.loads(path.read_text())
    assert stored["device"] == latency.device_name()
    assert (stored["hidden_size"], stored["encoders_chained"], stored["batch_size"]) == (35, 3, B)
    assert "date" in stored


def test_costs_are_measured_for_everything_they_depend_on(measured, tmp_path, monkeypatch):
    def load(max_seq_length=N, batch_size=B, **sizes):
        latency.load_costs(dataclasses.replace(CONFIG, **sizes), max_seq_length, batch_size, tmp_path)

    load()
    load(max_seq_length=19)
    load(batch_size=1)
    load(intermediate_size=31)
    load(num_attention_heads=7)
    load(hidden_act="relu")
    load(num_hidden_layers=5)  # a longer chain
    monkeypatch.setattr(latency, "device_name", lambda: "another")
    load()
    assert len(measured) == len(list(tmp_path.iterdir())) == 8
    load(num_hidden_layers=3, hidden_dropout_prob=0.5)
    assert len(measured) == 8


def test_stacks_longer_than_the_chain_share_a_file(measured, tmp_path):
    for encoders in (5, 7):
        latency.load_costs(dataclasses.replace(CONFIG, num_hidden_layers=encoders), N, B, tmp_path)
    assert len(measured) == 1


def stored_with(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def without_rows(path):
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "rows"}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_text(path.read_text()[:-17]), "JSONDecodeError"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "UnicodeDecodeError"),
        (lambda path: path.write_text("[1, 2]"), "TypeError"),
        (without_rows, "KeyError: 'rows'"),
        (stored_with(device="another"), "it holds for something else"),
        (stored_with(format=0), "it holds for something else"),
        (stored_with(rows=[1, 23, 7]), "not increasing"),
        (stored_with(rows=[]), "not increasing"),
        (stored_with(rows=3), "not increasing"),
        (stored_with(attention=[0.1, 0.2]), "expected 3 positive times"),
        (stored_with(outside=[0.1, 0.2, -0.3]), "expected 3 positive times"),
        (stored_with(outside=[0.1, 0.2, float("nan")]), "expected 3 positive times"),
        (stored_with(feed_forward=["a", "b", "c"]), "ValueError"),
        (stored_with(feed_forward=[{}, [], None]), "Error"),
    ],
)
def test_a_file_that_is_not_usable_is_measured_anew(measured, tmp_path, warnings_logged, damage, reason):
    latency.load_costs(CONFIG, N, B, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    second = latency.load_costs(CONFIG, N, B, tmp_path)
    assert len(measured) == 2
    assert len(warnings_logged) == 1
    assert str(path) in warnings_logged[0]
    assert reason in warnings_logged[0]
    assert_same(latency.load_costs(CONFIG, N, B, tmp_path), second)
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_is_only_logged(measured, tmp_path, warnings_logged):
    (tmp_path / "file").write_text("")
    table = latency.load_costs(CONFIG, N, B, tmp_path / "file" / "folder")
    assert table.unit == "ms"
    assert len(warnings_logged) == 1
    assert "cannot be written" in warnings_logged[0]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"POWERBERT_TF_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/powerbert_tf"),
        ({"POWERBERT_TF_CACHE": "", "XDG_CACHE_HOME": ""}, ".cache/powerbert_tf"),
    ],
)
def test_the_default_folder(measured, tmp_path, monkeypatch, variables, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("POWERBERT_TF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    latency.load_costs(CONFIG, N, B)
    assert len(list((tmp_path / folder).iterdir())) == 1
