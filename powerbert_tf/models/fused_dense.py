"""A dense layer in the form that the backend fuses."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("powerbert_tf")
class FusedDense(keras.layers.Dense):
    """`keras.layers.Dense` on rows `[R, in]` -> `[R, units]`, with bias and activation fused into the matrix product.

    On CPU, TensorFlow's graph optimizer merges bias, GELU, ReLU or tanh, and a sum that follows, into one oneDNN call,
    but only if `BiasAdd` adds the bias. Keras uses `AddV2`, so that each is a pass of its own over memory. The other
    backends fuse in either case.
    """

    if keras.backend.backend() == "tensorflow":

        def call(self, inputs, training=None):
            """`[R, in]` -> `[R, units]`."""
            outputs = tf.nn.bias_add(tf.matmul(inputs, self.kernel), self.bias)
            return outputs if self.activation is None else self.activation(outputs)
