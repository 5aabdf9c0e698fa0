"""Adam as in the original release: warm-up, linear decay, and a separate rate for retention parameters."""

import keras
from keras import ops

from powerbert_tf.training.adam_step import dense_gradient, fused_step

_RETENTION = ("retention_parameters", "fraction")  # names of the weights of extract layers


@keras.saving.register_keras_serializable("powerbert_tf")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak`, then falls linearly to 0 just after the last step.

    Args:
        peak: Highest rate.
        num_steps: Number of steps, at least 1.
        warmup_proportion: Share of the steps in which the rate rises.
    """

    def __init__(self, peak, num_steps, warmup_proportion=0.1):
        self.peak = peak
        self.num_steps = num_steps
        self.warmup_proportion = warmup_proportion

    def __call__(self, step):
        """Rate of the 0-based `step`."""
        done = ops.cast(step, "float32") + 1.0
        warmup_steps = max(1, round(self.num_steps * self.warmup_proportion))
        rising = done / warmup_steps
        falling = (self.num_steps + 1 - done) / max(1, self.num_steps + 1 - warmup_steps)
        return self.peak * ops.maximum(ops.minimum(rising, falling), 0.0)

    def get_config(self):
        return {"peak": self.peak, "num_steps": self.num_steps, "warmup_proportion": self.warmup_proportion}


@keras.saving.register_keras_serializable("powerbert_tf")
class BertAdam(keras.optimizers.Adam):
    """Adam whose rate for retention parameters is `retention_rate_ratio` times that for all other weights.

    Weight decay, if any, is decoupled and excludes biases, LayerNorm and retention parameters, as in BERT.

    Attributes:
        sums_gradients: Whether Keras adds up the gradients of several replicas, after clipping them; set it to False if
            they are already added up.

    Args:
        learning_rate: Rate or schedule for BERT's own weights.
        retention_rate_ratio: See above.
        **kwargs: As in `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate, retention_rate_ratio=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.retention_rate_ratio = retention_rate_ratio
        self.sums_gradients = True
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", *_RETENTION])

    def build(self, variables):
        super().build(variables)
        self._is_retention = [variable.name in _RETENTION for variable in variables]

    def apply(self, grads, trainable_variables=None):
        # The gradient of an embedding table is sparse on TensorFlow, and Keras squares it before it adds up rows of the
        # same index: the second moment of a token that is in a batch n times would be too small, and its step up to
        # sqrt(n) times too large.
        grads = [None if gradient is None else dense_gradient(gradient) for gradient in grads]
        super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return super()._all_reduce_sum_gradients(grads_and_vars) if self.sums_gradients else grads_and_vars

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        if self._is_retention[index]:
            learning_rate = learning_rate * self.retention_rate_ratio
        moments = self._momentums[index], self._velocities[index]
        if self.amsgrad or not fused_step(self, variable, moments, gradient, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "retention_rate_ratio": self.retention_rate_ratio}
