import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import Output, check_layer

from powerbert_tf.models.fused_dense import FusedDense

ACTIVATIONS = {
    "none": None,
    "tanh": "tanh",
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_is_keras_dense(activation, policy):
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    fused, plain = (layer(11, activation=activation, dtype=policy) for layer in (FusedDense, keras.layers.Dense))
    for layer in (fused, plain):
        layer.build((None, 7))
    plain.set_weights([fused.kernel.numpy(), np.linspace(-1, 1, 11)])
    fused.set_weights(plain.get_weights())
    np.testing.assert_allclose(
        keras.ops.cast(fused(rows), "float32"),
        keras.ops.cast(plain(rows), "float32"),
        atol=1e-6 + 0.02 * (policy != "float32"),
    )


def test_its_bias_is_one_that_the_graph_optimiser_fuses():
    layer = FusedDense(11)
    layer.build((None, 7))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, 7])).graph
    types = [operation.type for operation in graph.get_operations()]
    assert types.count("MatMul") == types.count("BiasAdd") == 1
    assert "AddV2" not in types


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_it_is_a_layer_of_this_package(activation, tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    check_layer(lambda: FusedDense(11, activation=activation), {"inputs": rows}, Output((5, 11)), tmp_path)
