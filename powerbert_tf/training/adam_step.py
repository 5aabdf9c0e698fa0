"""Adam's update of one weight in the form that the backend does fastest."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def dense_gradient(gradient):
        """The gradient as a tensor: that of a table that is looked up is a list of rows, some of them several times."""
        return tf.convert_to_tensor(gradient)

    def fused_step(adam, variable, moments, gradient, learning_rate):
        """One kernel, one pass over memory; Keras's has a dozen operations, each of which reads and writes a tensor.

        Args:
            adam: A `keras.optimizers.Adam`, without `amsgrad`.
            variable: What is trained.
            moments: Of the gradient, first and second; variables.
            gradient: Of the variable's shape.
            learning_rate: A scalar.

        Returns:
            Whether that was done; elsewhere than on TensorFlow it is not.
        """
        # Keras hands out TensorFlow's own variable here, and holds moments in its own.
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
        """The gradient: always a tensor here."""
        return gradient

    def fused_step(adam, variable, moments, gradient, learning_rate):
        """Nothing: other backends fuse by themselves."""
        return False
