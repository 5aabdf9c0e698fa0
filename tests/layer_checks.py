"""What every layer and model of the package must do, whatever it computes."""

import dataclasses
import json

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from powerbert_tf.models.precision import PRECISIONS, computing_in


@dataclasses.dataclass(frozen=True)
class Output:
    """Shape and dtype of one output.

    Attributes:
        shape: Its shape.
        dtype: Its dtype; "compute" stands for the compute dtype of the layer's precision.
        inferred: The shape that Keras infers, if that is not the shape.
    """

    shape: tuple[int, ...]
    dtype: str = "compute"
    inferred: tuple[int | None, ...] | None = None


def check_layer(make, inputs, expected, folder, *, rounding=0.03):
    """Checks a layer or model: shapes, dtypes, gradients, XLA, half precision, and both ways to store it.

    The weights are random, so that nothing is at its neutral value.

    Args:
        make: Returns a new layer.
        inputs: Arrays by the names of the arguments of `call`, or a model's inputs. The first axis is the batch. Masks
            must have zeros.
        expected: `Output`s in the structure of the layer's outputs.
        folder: Where a `.keras` file may be written.
        rounding: Median difference that half precision may make, as a share of the largest value; 0 for none at all.
    """
    for name, values in inputs.items():
        assert "mask" not in name or 0 < np.mean(values) < 1, f"{name}: all rows are alike"
    layer = make()
    _call(layer, inputs)
    _fill(layer)
    found = _arrays(_call(layer, inputs))
    _check_outputs(_call(layer, inputs), expected, "float32")
    _check_symbolic_call(layer, inputs, expected)
    _check_gradients(layer, inputs)
    _assert_close(_arrays(tf.function(lambda: _call(layer, inputs), jit_compile=True)()), found)
    _check_config(layer, inputs, found)
    _check_keras_file(layer, inputs, folder / "layer.keras")
    for precision in PRECISIONS[1:]:
        _check_half_precision(make, precision, layer, inputs, expected, found, rounding)


def _call(layer, inputs):
    return layer(inputs) if isinstance(layer, keras.Model) else layer(**inputs)


def _arrays(outputs):
    """NumPy arrays; those of half precision are float32, which NumPy can compare."""

    def array(tensor):
        is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
        return ops.convert_to_numpy(ops.cast(tensor, "float32") if is_float else tensor)

    return tree.map_structure(array, outputs)


def _assert_close(found, expected, atol=1e-5):
    tree.map_structure(lambda one, other: np.testing.assert_allclose(one, other, atol=atol), found, expected)


def _fill(layer):
    """Gives each weight random values that its constraint allows."""
    random = np.random.default_rng(7)
    for variable in layer.weights:
        shape = variable.shape
        if variable.constraint is not None:
            values = random.uniform(0.1, 0.9, shape)
        elif "gamma" in variable.path:
            values = random.uniform(0.5, 1.5, shape)
        elif len(shape) == 2:
            values = random.normal(size=shape) * 1.4 / np.sqrt(shape[0])
        else:
            values = 0.2 * random.normal(size=shape)
        variable.assign(values)


def _check_outputs(outputs, expected, compute_dtype):
    def check(tensor, output):
        dtype = compute_dtype if output.dtype == "compute" else output.dtype
        assert tuple(tensor.shape) == output.shape
        assert keras.backend.standardize_dtype(tensor.dtype) == dtype

    tree.map_structure(check, outputs, expected)


def _check_symbolic_call(layer, inputs, expected):
    """Keras infers the shapes and dtypes that the layer has."""
    symbols = {
        name: keras.KerasTensor(values.shape, keras.backend.standardize_dtype(values.dtype))
        for name, values in inputs.items()
    }
    inferred = tree.map_structure(
        lambda output: output if output.inferred is None else dataclasses.replace(output, shape=output.inferred),
        expected,
    )
    _check_outputs(_call(layer, symbols), inferred, "float32")


def _check_gradients(layer, inputs):
    with tf.GradientTape() as tape:
        floats = [tensor for tensor in tree.flatten(_call(layer, inputs)) if tensor.dtype.is_floating]
        # Not the sum itself: of values after a LayerNorm it is constant.
        loss = tf.add_n([tf.reduce_sum(tensor[:, :1] ** 2) for tensor in floats]) if floats else tf.constant(0.0)
    variables = layer.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert not [variable.path for variable, one in zip(variables, gradients, strict=True) if one is None]


def _check_config(layer, inputs, found):
    """Its configuration is JSON, and gives a layer that computes the same from the same weights."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert json.dumps(again.get_config()) == json.dumps(layer.get_config())
    _call(again, inputs)
    again.set_weights(layer.get_weights())
    tree.map_structure(np.testing.assert_array_equal, _arrays(_call(again, inputs)), found)


def _check_keras_file(layer, inputs, path):
    """A `.keras` file gives the same outputs, at another batch size as well."""
    model = layer
    if not isinstance(layer, keras.Model):
        symbols = {
            name: keras.Input(values.shape[1:], dtype=keras.backend.standardize_dtype(values.dtype), name=name)
            for name, values in inputs.items()
        }
        model = keras.Model(symbols, layer(**symbols))
    model.save(path)
    again = keras.saving.load_model(path)
    restored = again if model is layer else again.get_layer(layer.name)
    assert json.dumps(restored.get_config()) == json.dumps(layer.get_config())
    for given in (inputs, {name: values[:2] for name, values in inputs.items()}):
        outputs, before = (tree.flatten(_arrays(each)) for each in (again(given), _call(layer, given)))
        for one, other in zip(outputs, before, strict=True):
            np.testing.assert_array_equal(one, other)


def _check_half_precision(make, precision, layer, inputs, expected, found, rounding):
    """Weights stay float32, and so does what is not `compute`; outputs move by no more than rounding."""
    with computing_in(precision):
        half = make()
        _call(half, inputs)  # which builds the layers inside it
    assert {variable.dtype for variable in half.weights} <= {"float32"}
    half.set_weights(layer.get_weights())
    outputs = _call(half, inputs)
    _check_outputs(outputs, expected, half.compute_dtype)
    assert half.compute_dtype != layer.compute_dtype

    def check(one, other):
        if not rounding or np.issubdtype(other.dtype, np.integer):
            np.testing.assert_array_equal(one, other)
        else:  # the median: rows whose scores nearly tie may swap
            assert np.median(np.abs(one - other)) <= rounding * np.abs(other).max()

    tree.map_structure(check, _arrays(outputs), found)
