"""The same model file on every backend of Keras: the same logits from the same weights."""

import importlib.util
import json

import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_hugging_face_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.models.narrow import prefix

CONFIG = tiny_config()
N = 23
KINDS = {
    "plain": {},
    "soft": {"soft_extract": True},
    "extract": {"retention_configuration": (13, 7, 2)},
    "fractions": {"retention_configuration": (0.8, 0.45, 0.13)},
    "weighted": {"retention_configuration": (0.8, 0.45, 0.13), "selection": "weighted"},
    "random": {"retention_configuration": (13, 7, 2), "selection": "random"},
    "narrowed": {
        "retention_configuration": (0.8, 0.45, 0.13),
        "selection": "weighted",
        "widths": [[17, 29, 7], [5, 2, 3]],
    },
    "original": {"retention_configuration": (13, 7, 2), "padding_queries_vote": True},
}

LOGITS = """
import json, sys
import numpy as np
import keras
from powerbert_tf import load_classifier
from powerbert_tf.models.compilation import compiled
from powerbert_tf.models.narrow import prefix
assert "tensorflow" not in sys.modules, "model code imports TensorFlow"
inputs = dict(np.load(sys.argv[2]))
lengths = inputs["padding_mask"].sum(axis=1)
padded = {key: np.pad(values, ((0, 0), (0, 4))) for key, values in inputs.items()}
for name, kwargs in json.loads(sys.argv[4]).items():
    widths = kwargs.pop("widths", ())
    model = prefix(load_classifier(sys.argv[1], 7, 23, **kwargs), *widths)
    for j, encoder in enumerate(model.encoders):
        if kwargs.get("soft_extract"):
            encoder.extract.retention_parameters.assign(np.linspace(1, 0.1 * j, 23))
    function = compiled(model)
    logits = keras.ops.convert_to_numpy(function(inputs))
    np.save(f"{sys.argv[3]}/{name}.npy", logits)
    if name == "weighted":  # operation by operation, each of which JAX compiles
        eager = keras.ops.convert_to_numpy(keras.ops.stop_gradient(model(inputs)))
        np.testing.assert_allclose(eager, logits, atol=1e-5)
    # An example's logits depend on nothing but the example, unless padding votes: alone at its own length, padded to N.
    padding_votes = "padding_queries_vote" in kwargs
    for row in () if padding_votes else (1, 2):  # the first one has no padding
        alone = {key: values[row : row + 1, : lengths[row]] for key, values in inputs.items()}
        alone = keras.ops.convert_to_numpy(function(alone))
        np.testing.assert_allclose(alone[0], logits[row], atol=1e-5)
    # Last, because on JAX it gives the weights that `compiled` reads to a program of its own.
    predicted = model.predict(inputs if padding_votes else padded, verbose=0)
    np.testing.assert_allclose(predicted, logits, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_equal_those_of_tensorflow(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, 7))
    inputs = random_inputs(CONFIG, batch=3, length=19)
    np.savez(tmp_path / "inputs.npz", **inputs)
    # JAX compiles for every shape, and each program runs but once or twice.
    quick = {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    run_python(LOGITS, tmp_path, tmp_path / "inputs.npz", tmp_path, json.dumps(KINDS), **quick)
    for name, kwargs in KINDS.items():
        kwargs = dict(kwargs)
        widths = kwargs.pop("widths", ())
        model = prefix(load_classifier(tmp_path, 7, N, **kwargs), *widths)
        for j, encoder in enumerate(model.encoders):
            if kwargs.get("soft_extract"):
                encoder.extract.retention_parameters.assign(np.linspace(1, 0.1 * j, N))
        expected = ops.convert_to_numpy(model(inputs))
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-5, err_msg=name)


LOADED = """
import sys
import powerbert_tf
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
assert model.config.neurons == (17, 29, 7) and model.config.heads == (5, 2, 3)
np.save(sys.argv[3], model.predict(dict(np.load(sys.argv[2])), verbose=0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_narrowed_model_comes_back_from_its_file_in_another_process(backend, tmp_path, run_python):
    pytest.importorskip(backend)
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, 7))
    model = prefix(load_classifier(tmp_path, 7, N, (0.8, 0.45, 0.13)), *KINDS["narrowed"]["widths"])
    model.save(tmp_path / "narrowed.keras")
    inputs = random_inputs(CONFIG, batch=3, length=19)
    np.savez(tmp_path / "inputs.npz", **inputs)
    paths = (tmp_path / name for name in ("narrowed.keras", "inputs.npz", "logits.npy"))
    run_python(LOADED, *paths, KERAS_BACKEND=backend)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), ops.convert_to_numpy(model(inputs)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, powerbert_tf",
        "from powerbert_tf import Reduction; import keras",
        "from powerbert_tf import register_score; import keras",
    ],
)
def test_the_package_alone_registers_its_layers(imports, tmp_path, run_python):
    write_hugging_face_checkpoint(tmp_path, CONFIG, random_weights(CONFIG, 7))
    load_classifier(tmp_path, 7, N).save(tmp_path / "model.keras")
    code = f"{imports}; import sys; print(type(keras.saving.load_model(sys.argv[1])).__name__)"
    assert run_python(code, tmp_path / "model.keras").stdout.split()[-1] == "BertClassifier"
