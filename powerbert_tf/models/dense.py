"""A dense layer in the form that the backend fuses."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("powerbert_tf")
class FusedDense(keras.layers.Dense):
    """`keras.layers.Dense` on rows `[R, in]` -> `[R, units]`, its bias and activation fused into the matrix product.

    TensorFlow's graph optimiser puts bias, GELU, ReLU or tanh, and a sum that follows, into one oneDNN call on CPU, but
    only after a product of matrices whose bias is added by `BiasAdd`. Keras adds it by `AddV2`, which leaves each as a
    pass of its own over memory. Other backends fuse by themselves.
    """

    if keras.backend.backend() == "tensorflow":

        def call(self, inputs, training=None):
            """`[R, in]` -> `[R, units]`."""
            outputs = tf.nn.bias_add(tf.matmul(inputs, self.kernel), self.bias)
            return outputs if self.activation is None else self.activation(outputs)
