"""Adam's update of one weight in the form that is fastest on the backend."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # The gradient of an embedding table is a list of rows, in which a row may occur several times.
    dense_gradient = tf.convert_to_tensor

    def fused_step(adam, variable, moments, gradient, learning_rate):
        """Updates in one kernel, with one pass over memory; Keras takes a dozen operations that each do one.

        Args:
            adam: A `keras.optimizers.Adam`, without `amsgrad`.
            variable: The weight.
            moments: First and second moment of its gradient; variables.
            gradient: Of the variable's shape.
            learning_rate: A scalar.

        Returns:
            Whether the weight was updated; only TensorFlow does it.
        """
        # Keras passes TensorFlow's own variable here, but holds moments in its own.
        var, m, v = (getattr(each, "_value", each).handle for each in (variable, *moments))
        kind = variable.dtype
        done = tf.cast(adam.iterations + 1, kind)
        beta_1, beta_2, epsilon = (tf.constant(value, kind) for value in (adam.beta_1, adam.beta_2, adam.epsilon))
        tf.raw_ops.ResourceApplyAdam(
            var=var,
            m=m,
            v=v,
            beta1_power=beta_1**done,
            beta2_power=beta_2**done,
            lr=tf.cast(learning_rate, kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=tf.cast(gradient, kind),
        )
        return True

else:

    def dense_gradient(gradient):
        """The gradient, which is dense here."""
        return gradient

    def fused_step(adam, variable, moments, gradient, learning_rate):
        """Nothing: other backends fuse by themselves."""
        return False
