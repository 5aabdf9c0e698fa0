"""Gates on neurons and heads, beside those on word-vectors: narrower encoders whose widths are variables.

Neurons of a feed-forward network and attention heads stand in an order, the most important one first, so that a width
is a prefix. A gate multiplies what each of them puts out, and a gate of 0 has exactly the effect of its removal.
"""

import keras
import numpy as np
from keras import ops

from powerbert_tf.elimination.extract import add_fraction, ramp_gates


@keras.saving.register_keras_serializable("powerbert_tf")
class WidthGate(keras.layers.Layer):
    """Gates along one axis of a tensor: `[..., size, ...]` -> the same shape. The first one is always open.

    Attributes:
        fraction: f, a scalar variable.
        price: If the fraction learns, `price * f` is a term of the loss; a search may change the price at every step.

    Args:
        size: How many neurons or heads there are.
        axis: The axis that they are on.
        width: Width of the ramp, see `extract.ramp_gates`; with 0 the first `round(f * size)` are open and the others
            closed, and nothing learns.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, size, axis=-1, width=0.0, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.axis = axis
        self.width = width

    def build(self, tensor_shape):
        add_fraction(self)

    def gates(self):
        """The gates, `[size]` float32 in [0, 1]."""
        rank = np.arange(self.size, dtype="float32")
        if self.width:
            return ramp_gates(rank, float(self.size), self.fraction, self.width)
        return ops.cast(rank < ops.maximum(ops.round(self.fraction * self.size), 1.0), "float32")

    def call(self, tensor):
        """`[..., size, ...]` -> `[..., size, ...]`."""
        shape = [1] * len(tensor.shape)
        shape[self.axis] = self.size
        return tensor * ops.cast(ops.reshape(self.gates(), shape), tensor.dtype)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "axis": self.axis, "width": self.width}
