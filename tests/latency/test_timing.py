import importlib.util
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from fake_clock import Clock
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.common import machine
from powerbert_tf.latency import timing
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.compilation import compiled
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 23
B = 5


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def batch(length):
    return random_inputs(tiny_config(), batch=B, length=length)


def test_latency_is_the_median_over_repeats_without_the_first_call(clock):
    # The first call takes long; of 7, 3, 100, 5 and 11 the median is 7.
    noisy = [1000, 7, 3, 100, 5, 11]
    models = {
        "noisy": clock.function("noisy", lambda length, call: noisy[call]),
        "steady": clock.function("steady", lambda length, call: length if call else 1000),
    }
    times = timing.measure_latency(models, [batch(13), batch(17)], repeats=5)
    assert list(times) == ["noisy", "steady"]
    np.testing.assert_allclose(times["noisy"], [7, 7])
    np.testing.assert_allclose(times["steady"], [13, 17])


def test_models_are_called_in_turn_on_each_batch_and_begin_in_turn(clock):
    models = {name: clock.function(name, lambda length, call: 1) for name in "abc"}
    timing.measure_latency(models, [batch(13), batch(17)], repeats=4)
    turns = ["abc", "abc", "bca", "cab", "abc"]  # the first is the warm-up
    assert clock.calls == [(name, length) for turn in turns for length in (13, 17) for name in turn]


def test_some_functions_are_called_on_some_inputs_only(clock):
    functions = {name: clock.function(name, lambda length, call: length) for name in "ab"}
    inputs = [batch(length) for length in (13, 17, 19)]
    times = timing.interleaved_times(functions, inputs, lambda rounds, seconds: rounds == 2, "", 2, {"b": [0, 2]})
    np.testing.assert_allclose(times["a"], [[13, 13], [17, 17], [19, 19]])
    np.testing.assert_allclose(times["b"], [[13, 13], [19, 19]])
    turn = [("a", 13), ("b", 13), ("a", 17), ("a", 19), ("b", 19)]
    assert clock.calls == turn + turn + [("b", 13), ("a", 13), ("a", 17), ("b", 19), ("a", 19)]


@pytest.mark.parametrize("kept", [None, (13, 7, 2), (0.8, 0.45, 0.13)])
def test_compiled_models_give_the_same_and_are_traced_once(kept):
    model = with_retention(BertClassifier(CONFIG, 11, N), kept)
    function = compiled(model)
    for length in (19, 7, N, 3):
        inputs = batch(length)
        given = {name: tf.constant(values) for name, values in inputs.items()}
        np.testing.assert_allclose(function(given).numpy(), model(inputs).numpy(), atol=1e-6)
    assert function.function.experimental_get_tracing_count() == 1


def test_latency_of_real_models():
    model = BertClassifier(CONFIG, 11, N)
    models = {"dense": model, "reduced": with_retention(model, (0.5, 0.2, 0.1))}
    times = timing.measure_latency(models, [batch(13), batch(17)], repeats=1)
    assert all(values.shape == (2,) and (values > 0).all() for values in times.values())


ON_BACKEND = """
import json, sys
import numpy as np
import keras
from powerbert_tf.models import compilation
from powerbert_tf.latency import encoder_costs
from powerbert_tf.latency import timing
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.compilation import compiled
from powerbert_tf.models.classifier import BertClassifier, with_retention
model = with_retention(BertClassifier(BertConfig(**json.loads(sys.argv[1])), 11, 23), (0.8, 0.45, 0.13))
inputs = dict(np.load(sys.argv[2]))
logits = keras.ops.convert_to_numpy(compilation.compiled(model)(timing.input_tensors(inputs)))
np.testing.assert_allclose(logits, model.predict(inputs, verbose=0), atol=1e-5)
assert timing.measure_latency({"reduced": model}, [inputs], repeats=1)["reduced"] > 0
encoder_costs.SHORTEST_SECONDS = 0
assert (encoder_costs.measure_costs(model.config, 2, 5, repeats=1).attention > 0).all()
assert f", {sys.argv[3]} " in timing.device_name()
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    np.savez(tmp_path / "inputs.npz", **batch(19))
    run_python(ON_BACKEND, json.dumps(tiny_config()), tmp_path / "inputs.npz", backend, KERAS_BACKEND=backend)


def test_device_name():
    name = timing.device_name()
    assert name == timing.device_name()
    assert f"tensorflow {tf.__version__}" in name
    assert name.endswith(", float32")
    assert timing.device_name(jit_compile=True) == name + ", XLA"
    assert "\n" not in name


def test_device_name_without_proc(monkeypatch):
    def missing(path, **kwargs):
        raise FileNotFoundError(path)

    monkeypatch.setattr(machine.Path, "read_text", missing)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "some-machine")
    assert timing.device_name().startswith("some-machine, ")


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="KERAS_BACKEND=numpy; expected tensorflow, jax or torch"):
        timing.device_name()
