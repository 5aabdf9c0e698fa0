"""One set of weights for many budgets: a full model that teaches its reduced versions while it learns.

Length-Adaptive Transformer (Kim and Cho, ACL 2021, arXiv 2010.07003): each step trains the full model, the smallest one
and random ones in between (the sandwich rule of slimmable networks, Yu and Huang, ICCV 2019); the full one learns the
task, the others learn its answers (inplace distillation), and how many word-vectors stay is random (LengthDrop).

Axes: `B` batch, `C` classes, `S` models of the sandwich: the full one, the smallest, the random ones; `L` encoders.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from powerbert_tf.elimination.retention import round_up, validate_configuration
from powerbert_tf.training.losses import REDUCTION, KlDivergence


def draw_configuration(smallest: Sequence[float], random: np.random.Generator) -> tuple[float, ...]:
    """A random configuration between keeping all and the smallest one.

    LengthDrop: each encoder eliminates a random share of what the one before left,

        f_j = f_{j-1} (1 - u_j),    u_j uniform in [0, d].

    The paper fixes d, and products of L such factors then crowd around one budget. Here the depth of a draw is random
    as well: the last fraction g is uniform in [f_L, 1] for the smallest configuration f, and d is such that d / 2 in
    each encoder leads to g, 1 - d / 2 = g ** (1 / L). A draw below the smallest configuration is raised to it.

    Args:
        smallest: The smallest configuration, `[L]` fractions, never increasing.
        random: Source of random numbers.

    Returns:
        Fractions in whole `retention.PARTS`, never increasing, from `smallest` to 1.
    """
    num_encoders = len(smallest)
    last = random.uniform(smallest[-1], 1.0)
    # No more than all can be eliminated: d reaches 1 at g = 2 ** -L.
    largest_share = min(1.0, 2 * (1 - last ** (1 / num_encoders)))
    fractions = np.cumprod(1 - random.uniform(0.0, largest_share, num_encoders))
    return tuple(max(round_up(float(fraction)), least) for fraction, least in zip(fractions, smallest, strict=True))


@keras.saving.register_keras_serializable("powerbert_tf")
class SandwichModel(keras.Model):
    """The full model and reduced ones over its weights: inputs of a `BertClassifier` -> logits `[S, B, C]`.

    The reduced models keep all rows and close gates of width 0 (`extract.gates`), which has the effect of extraction;
    so their configurations are variables, one trace serves all, and shapes do not change. A step therefore costs S
    steps of the full model, 3 with one random configuration, and S times its activations in memory.

    Compile it with the task's loss, which applies to the full model, and fit it with `DrawConfigurations`. Evaluate and
    save `dense`, and use `dense.with_slots(retention_configuration=...)`: they share the weights.

    Attributes:
        dense: The full model.
        configurations: What the reduced models keep, `[S - 1, L]` fractions, the smallest one first.

    Args:
        dense: A `BertClassifier` without elimination, whose own weights are trained.
        is_regression: Whether the reduced models learn the full one's logits, by their squared difference, instead of
            its probabilities, by the Kullback-Leibler divergence.
        smallest: The smallest configuration, `[L]` fractions, such as that of the largest target speed-up.
        num_random: Random configurations per step.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: `smallest` does not fit.
        ValueError: `smallest` has counts, or `num_random` is below 0.
    """

    def __init__(self, dense, is_regression, smallest, num_random=1, **kwargs):
        super().__init__(**kwargs)
        if isinstance(dense, dict):
            dense = keras.saving.deserialize_keras_object(dense)
        smallest = validate_configuration(smallest, len(dense.encoders), dense.max_seq_length)
        if not isinstance(smallest[0], float):
            raise ValueError(f"smallest={smallest}; expected fractions.")
        if num_random < 0:
            raise ValueError(f"num_random={num_random}; expected at least 0.")
        self.dense = dense
        self.is_regression = is_regression
        self.smallest = smallest
        self.num_random = num_random
        self.reduced = [dense.with_slots(gate_width=0.0) for _ in range(1 + num_random)]
        self.set_configurations([smallest] * len(self.reduced))
        self._distillation = (
            keras.losses.MeanSquaredError(reduction=REDUCTION) if is_regression else KlDivergence(temperature=1.0)
        )

    def set_configurations(self, configurations: Sequence[Sequence[float]]) -> None:
        """Sets what the reduced models keep: `[S - 1, L]` fractions."""
        self.configurations = [tuple(configuration) for configuration in configurations]
        for model, configuration in zip(self.reduced, configurations, strict=True):
            *fractions, _ = configuration  # the last encoder has nothing to eliminate
            for slot, fraction in zip(model.slots, fractions, strict=True):
                slot.fraction.assign(fraction)

    def build(self, input_shape=None):
        """Does nothing: the models are already built."""

    def call(self, inputs, training=False):
        """`{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> `[S, B, C]`, the full model's first."""
        return ops.stack([model(inputs, training=training) for model in (self.dense, *self.reduced)])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The task's loss of the full model, plus the mean distance of the others to it.

        Labels `y` are `[B]`, logits `y_pred` `[S, B, C]`, and weights in all losses `sample_weight` `[B]` or None.
        """
        full = y_pred[0]
        loss = super().compute_loss(x, y, full, sample_weight, training)
        # The full model teaches and does not learn from the others.
        teacher = ops.stop_gradient(full)
        distances = [self._distillation(teacher, y_pred[1 + i], sample_weight) for i in range(len(self.reduced))]
        return loss + sum(distances) / len(distances)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics, if any are compiled, are those of the full model."""
        return super().compute_metrics(x, y, y_pred[0], sample_weight)

    def get_config(self):
        return {
            **super().get_config(),
            "dense": keras.saving.serialize_keras_object(self.dense),
            "is_regression": self.is_regression,
            "smallest": self.smallest,
            "num_random": self.num_random,
        }


class DrawConfigurations(keras.callbacks.Callback):
    """Draws the random configurations of a `SandwichModel` before each step.

    Args:
        seed: Seed of the draws; each training draws the same ones.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed

    def get_state(self):
        """What `TrainingState` saves."""
        return {"random": self._random.bit_generator.state, "smallest": self.model.smallest}

    def set_state(self, values):
        """Restores it, `smallest` as well: costs that were measured again might have led to another one."""
        self._random = np.random.default_rng()
        self._random.bit_generator.state = values["random"]
        self.model.smallest = tuple(values["smallest"])

    def on_train_begin(self, logs=None):
        self._random = np.random.default_rng(self.seed)

    def on_train_batch_begin(self, batch, logs=None):
        smallest = self.model.smallest
        drawn = [draw_configuration(smallest, self._random) for _ in range(self.model.num_random)]
        self.model.set_configurations([smallest, *drawn])
