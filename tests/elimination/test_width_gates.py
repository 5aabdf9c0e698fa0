import numpy as np
import pytest
from layer_checks import Output, check_layer

from powerbert_tf.elimination.width_gates import WidthGate


def gate_of(fraction, size=11, **kwargs):
    layer = WidthGate(size, **kwargs)
    layer.build((None, size))
    layer.fraction.assign(fraction)
    return layer


def test_gates_by_hand():
    # 10 neurons, width 0.4: a ramp of 4. f = 0.5: gate i = (0.5 * 14 - i) / 4.
    layer = gate_of(0.5, size=10, width=0.4)
    np.testing.assert_allclose(layer.gates(), [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0], atol=1e-6)
    # The ramp is no shorter than 1: of 3 heads, f = 0.5 opens the first one, and the others (0.5 * 4 - i) / 1.
    np.testing.assert_allclose(gate_of(0.4, size=3, width=0.2).gates(), [1, 0.6, 0], atol=1e-6)


@pytest.mark.parametrize("width", [0.0, 0.2])
def test_all_are_open_at_1_and_the_first_one_at_0(width):
    np.testing.assert_array_equal(gate_of(1.0, width=width).gates(), np.ones(11))
    np.testing.assert_array_equal(gate_of(0.0, width=width).gates(), np.arange(11) < 1)


@pytest.mark.parametrize("size", [11, 1536, 16384])
def test_without_a_ramp_every_width_is_a_fraction(size):
    layer = gate_of(1.0, size=size)
    for count in {1, 2, 3, size // 3, size // 2, size - 2, size - 1, size}:
        layer.fraction.assign(count / size)
        np.testing.assert_array_equal(layer.gates(), np.arange(size) < count)


def test_a_gate_multiplies_along_its_axis():
    tensor = np.random.default_rng(0).normal(size=(3, 5, 7, 2)).astype("float32")
    expected = tensor.copy()
    expected[:, 2:] = 0
    np.testing.assert_array_equal(gate_of(0.4, size=5, axis=1)(tensor), expected)


def test_the_price_is_a_term_of_the_loss_if_the_fraction_learns():
    layer = gate_of(0.5, width=0.3)
    layer.price.assign(0.7)
    np.testing.assert_allclose(layer.losses, [0.35])
    assert not gate_of(0.5).losses
    assert not gate_of(0.5).trainable_variables


@pytest.mark.parametrize("width", [0.0, 0.3])
@pytest.mark.parametrize(("size", "axis"), [(7, -1), (5, 1)])
def test_it_is_a_layer(size, axis, width, tmp_path):
    inputs = {"tensor": np.random.default_rng(1).normal(size=(3, 5, 7)).astype("float32")}
    check_layer(lambda: WidthGate(size, axis, width), inputs, Output((3, 5, 7)), tmp_path)
