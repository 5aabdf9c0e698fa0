"""One set of weights for many budgets: a full model that teaches its reduced versions while it learns.

Length-Adaptive Transformer (Kim and Cho, ACL 2021, arXiv 2010.07003): each step trains the full model, the smallest one
and random ones in between (the sandwich rule of slimmable networks, Yu and Huang, ICCV 2019); the full one learns the
task, the others learn its answers (inplace distillation), and how many word-vectors stay is random (LengthDrop). So are
the widths, as in slimmable networks, if the smallest model is narrower: its neurons and heads are the first ones.

Axes: `B` batch, `C` classes, `S` models of the sandwich: the full one, the smallest, the random ones; `L` encoders.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from powerbert_tf.data.kinds import KINDS
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import round_up, validate_configuration
from powerbert_tf.models.config import BertConfig
from powerbert_tf.training.losses import answer_distance


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
    return _draw_rows(smallest, random.random(), random)


def _draw_rows(smallest: Sequence[float], openness: float, random: np.random.Generator) -> tuple[float, ...]:
    """Draws a configuration whose last fraction is about the share `openness` of the way from the smallest one to 1."""
    num_encoders = len(smallest)
    last = smallest[-1] + (1.0 - smallest[-1]) * openness
    # No more than all can be eliminated: d reaches 1 at g = 2 ** -L.
    largest_share = min(1.0, 2 * (1 - last ** (1 / num_encoders)))
    fractions = np.cumprod(1 - random.uniform(0.0, largest_share, num_encoders))
    return tuple(max(round_up(float(fraction)), least) for fraction, least in zip(fractions, smallest, strict=True))


def draw_reduction(smallest: Reduction, config: BertConfig, random: np.random.Generator) -> Reduction:
    """A random reduction between the full model and the smallest one, about as deep in all dimensions.

    Rows are those of `draw_configuration`. Where the last of their fractions was drawn the share u of the way from 1 to
    the smallest, each width is the share v of the way from the full one to its smallest, v uniform in
    [max(0, 2 u - 1), min(1, 2 u)], whose middle is u.

    Args:
        smallest: The smallest reduction; its rows are fractions.
        config: Sizes of the full model.
        random: Source of random numbers.

    Returns:
        A `Reduction` in the dimensions of the smallest one. Encoders that share their weights have the same width.
    """
    openness = random.random()
    rows, depth = _draw_rows(smallest.rows, openness, random), 1 - openness
    widths = {}
    for name, least in smallest.widths.items():
        full = np.array(getattr(config, f"encoder_{name}"))
        shares = random.uniform(max(0.0, 2 * depth - 1), min(1.0, 2 * depth), config.num_encoder_weights)
        widths[name] = tuple(np.rint(full - shares * (full - least)).astype(int).tolist())
    return Reduction(rows, **widths)


@keras.saving.register_keras_serializable("powerbert_tf")
class SandwichModel(keras.Model):
    """The full model and reduced ones over its weights: inputs of a `BertClassifier` -> logits `[S, B, C]`.

    The reduced models keep all rows, neurons and heads, and close gates of width 0 (`GatedExtract`, `WidthGate`), which
    has the effect of removing them; so what they keep is a variable, one trace serves all, and shapes do not change. A
    step therefore costs S steps of the full model, 3 with one random reduction, and S times its activations in memory.

    Compile it with the task's loss, which applies to the full model, and fit it with `DrawConfigurations`. Evaluate and
    save `dense`, and use `dense.with_slots(retention_configuration=...)`, which shares the weights, and
    `models.narrow.prefix`, which copies them.

    Attributes:
        dense: The full model.
        reductions: What the reduced models keep, S - 1 of `Reduction`, the smallest one first.

    Args:
        dense: A `BertClassifier` without elimination, whose own weights are trained; with its neurons and heads in the
            order of their importance, if they are to be removed.
        problem_type: Name of the kind of task, a key of `kinds.KINDS`, whose distance says how far the answers of the
            reduced models are from the full one's.
        smallest: The smallest configuration, `[L]` fractions, such as that of the largest target speed-up.
        num_random: Random reductions per step.
        neurons: Neurons of each encoder of the smallest model, `[L]`; None if all models have all.
        heads: Attention heads of each encoder of the smallest model, `[L]`; None if all models have all.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: `smallest`, `neurons` or `heads` does not fit.
        ValueError: `smallest` has counts, or `num_random` is below 0.
    """

    def __init__(self, dense, problem_type, smallest, num_random=1, neurons=None, heads=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(dense, dict):
            dense = keras.saving.deserialize_keras_object(dense)
        smallest = validate_configuration(smallest, len(dense.encoders), dense.max_seq_length)
        if not isinstance(smallest[0], float):
            raise ValueError(f"smallest={smallest}; expected fractions.")
        if num_random < 0:
            raise ValueError(f"num_random={num_random}; expected at least 0.")
        checked = dataclasses.replace(dense.config, neurons=neurons, heads=heads)
        self.dense = dense
        self.problem_type = problem_type
        self.smallest = smallest
        self.num_random = num_random
        self.neurons, self.heads = checked.neurons, checked.heads
        gated = ("rows", *self.smallest_reduction.widths)
        self.reduced = [dense.with_slots(gate_width=0.0, gated=gated) for _ in range(1 + num_random)]
        self.set_reductions([self.smallest_reduction] * len(self.reduced))
        self._distillation = answer_distance(KINDS[problem_type])

    @property
    def smallest_reduction(self) -> Reduction:
        """What the smallest model keeps."""
        return Reduction(self.smallest, self.neurons, self.heads)

    def set_reductions(self, reductions: Sequence[Reduction]) -> None:
        """Sets what the reduced models keep: S - 1 of `Reduction`, with the dimensions of the smallest one."""
        self.reductions = list(reductions)
        for model, reduction in zip(self.reduced, reductions, strict=True):
            *fractions, _ = reduction.rows  # the last encoder has nothing to eliminate
            for slot, fraction in zip(model.slots, fractions, strict=True):
                slot.fraction.assign(fraction)
            for name, widths in reduction.widths.items():
                for gate, width in zip(model.gates[name], widths, strict=False):  # one gate for encoders of one weight
                    gate.fraction.assign(width / gate.size)

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
            "problem_type": self.problem_type,
            "smallest": self.smallest,
            "num_random": self.num_random,
            "neurons": self.neurons,
            "heads": self.heads,
        }


class DrawConfigurations(keras.callbacks.Callback):
    """Draws the random reductions of a `SandwichModel` before each step.

    Args:
        seed: Seed of the draws; each training draws the same ones.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed

    def get_state(self):
        """What `TrainingState` saves."""
        smallest = self.model.smallest_reduction
        return {"random": self._random.bit_generator.state, "smallest": smallest.rows, **smallest.widths}

    def set_state(self, values):
        """Restores it, the smallest model as well: costs that were measured again might have led to another one."""
        self._random = np.random.default_rng()
        self._random.bit_generator.state = values["random"]
        self.model.smallest = tuple(values["smallest"])
        for name in self.model.smallest_reduction.widths:
            setattr(self.model, name, tuple(values[name]))

    def on_train_begin(self, logs=None):
        self._random = np.random.default_rng(self.seed)

    def on_train_batch_begin(self, batch, logs=None):
        model = self.model
        smallest = model.smallest_reduction
        drawn = [draw_reduction(smallest, model.dense.config, self._random) for _ in range(model.num_random)]
        model.set_reductions([smallest, *drawn])
