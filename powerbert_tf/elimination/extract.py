"""PoWER-BERT's method: eliminate the word-vectors that matter least.

Goyal et al., "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination", ICML 2020
(arXiv 2001.08950). Pure functions first, then the Keras layers that use them. Nothing here knows BERT. An encoder calls
a layer as soon as it has its attention probabilities, so that it computes nothing else for the rows that leave:

    (attention_probs, padding_mask, input_mask, value) -> dict

    padding_mask   [B, K], of the rows that stay
    rows           [B, K] int32, the numbers of the rows that stay; missing if all stay
    scale          [B, T], factors of the rows before the feed-forward network; missing for 1

`input_mask` is the padding mask of the model's input, which fractions refer to; `value` is what the attention weights.

Axes: `B` batch, `A` heads, `D` size of a head, `T` rows (word-vectors that reach the encoder), `K` rows kept, `N`
maximum sequence length, `n` tokens of an example without padding. Row 0 is [CLS].
"""

import keras
import numpy as np
from keras import ops

from powerbert_tf.elimination.retention import PARTS, parts_of, rows_kept
from powerbert_tf.elimination.significance import find_score, ranking_scores, ranks, score_rows


def soft_scale(scores, retention_parameters):
    """The factor of each word-vector in soft-extract, r[rank(w)] (paper, section 3.3).

    Args:
        scores: `[B, T]`, from `ranking_scores`.
        retention_parameters: r, `[N]` with N >= T.

    Returns:
        `[B, T]`.
    """
    return ops.take(retention_parameters, ranks(scores), axis=0)


def kept_rows(scores, padding_mask, num_kept, own_share=None):
    """The `num_kept` rows of highest score, in the order of the sequence (paper, section 3.2).

    Args:
        scores: `[B, T]`, from `ranking_scores`.
        padding_mask: `[B, T]`.
        num_kept: l, at least 1; an int, or a scalar tensor where T is unknown.
        own_share: How many of these rows each example keeps, `[B]` integers up to n; the others are masked. None for
            all of them.

    Returns:
        Numbers of the rows `[B, K]` int32 and their padding mask `[B, K]`, with K = min(l, T).
    """
    length = ops.shape(padding_mask)[1]
    is_static = isinstance(length, int) and isinstance(num_kept, int)
    num_kept = min(num_kept, length) if is_static else ops.minimum(num_kept, length)
    _, rows = ops.top_k(scores, num_kept)  # [B, K], in the order of their ranks
    if own_share is None:
        rows = ops.sort(rows, axis=-1)
        return rows, gather_rows(padding_mask, rows)
    is_own = ops.expand_dims(ops.arange(num_kept), axis=0) < ops.expand_dims(own_share, axis=-1)
    rows = ops.sort(ops.where(is_own, rows, length), axis=-1)  # rows that are not the example's own sort last
    return ops.minimum(rows, length - 1), ops.cast(is_own, padding_mask.dtype)


def own_shares(parts, input_mask):
    """How many rows each example keeps, max(1, ceil(f * n)), `[B]` int32.

    Args:
        parts: The fraction f in `retention.PARTS`, an int or an int32 scalar tensor.
        input_mask: `[B, T]`, the padding mask of the model's input.
    """
    lengths = ops.sum(ops.cast(input_mask, "int32"), axis=-1)
    return ops.maximum((parts * lengths + (PARTS - 1)) // PARTS, 1)


def ramp_gates(rank, total, fraction, width):
    """Gates of things that stand in an order: 1 at ranks within a fraction of them, then a ramp down to 0.

        ramp = max(1, width n)
        gate(rank) = clip((f (n + ramp) - rank) / ramp, 0, 1)

    At f = 1 all gates are open, at f = 0 the first one only, and rank f n always lies on the ramp.

    Args:
        rank: Their numbers in the order, from 0, float32.
        total: n, how many there are; a float, or a tensor that broadcasts with `rank`.
        fraction: f, a scalar tensor.
        width: Width of the ramp, as a fraction of n, above 0.

    Returns:
        Gates in [0, 1], float32.
    """
    ramp = ops.maximum(width * total, 1.0)
    gate = ops.clip((fraction * (total + ramp) - rank) / ramp, 0.0, 1.0)
    return ops.where(rank == 0, 1.0, gate)


def gates(scores, padding_mask, fraction, input_mask, width):
    """How far each word-vector is open to later encoders, see `ramp_gates`; [CLS] always is.

    The cut of extraction, rank f n, lies on the ramp. With a width of 0 the gates are 1 for exactly the rows that
    extraction keeps.

    Args:
        scores: `[B, T]`, from `ranking_scores`.
        padding_mask: `[B, T]`, or the gates of the encoder before; the new gates multiply it.
        fraction: f, a scalar tensor.
        input_mask: `[B, T]`, the padding mask of the model's input.
        width: Width of the ramp, as a fraction of n.

    Returns:
        `[B, T]` float32 in [0, 1].
    """
    rank = ranks(scores)
    if width:
        lengths = ops.sum(ops.cast(input_mask, "float32"), axis=-1, keepdims=True)
        gate = ramp_gates(ops.cast(rank, "float32"), lengths, fraction, width)
    else:
        parts = ops.cast(ops.round(fraction * PARTS), "int32")
        gate = rank < ops.expand_dims(own_shares(parts, input_mask), axis=-1)
    return ops.cast(padding_mask, "float32") * ops.cast(gate, "float32")


def gather_rows(tensor, rows):
    """Rows of each example, `result[b, k] = tensor[b, rows[b, k]]`: `[B, T, ...]`, `[B, K]` -> `[B, K, ...]`."""
    # One flat take is a single fast gather on every backend; `take_along_axis` would broadcast the indices over H.
    batch, length = ops.shape(tensor)[:2]
    rows = ops.cast(rows, "int32")
    first_row = ops.expand_dims(ops.arange(batch, dtype="int32") * length, axis=-1)
    flat = ops.reshape(tensor, (-1, *tensor.shape[2:]))
    return ops.take(flat, rows + first_row, axis=0)


def gather_queries(attention_probs, rows):
    """Queries of each example, `result[b, a, k] = attention_probs[b, a, rows[b, k]]`.

    Args:
        attention_probs: `[B, A, T, T]`; rows are queries, columns are keys.
        rows: `[B, K]` integers.

    Returns:
        `[B, A, K, T]`.
    """
    batch, heads, length = ops.shape(attention_probs)[:3]
    first_row = ops.reshape(ops.arange(batch * heads, dtype="int32") * length, (batch, heads, 1))
    flat = ops.reshape(attention_probs, (-1, ops.shape(attention_probs)[3]))
    return ops.take(flat, ops.expand_dims(ops.cast(rows, "int32"), axis=1) + first_row, axis=0)


class _Selection(keras.layers.Layer):
    """The base of the layers: ranks word-vectors, and keeps all of them.

    Attributes:
        mask_dtype: Type of the padding mask that leaves; None for the type of the one that enters.

    Args:
        max_seq_length: N.
        selection: Name of the score, see `significance.score_names`: `"attention"` (Attn-WS), `"weighted"` (the same,
            weighted by the norms of values), one of the static `"head"` (Head-WS) and `"random"` (Rand-WS), or a name
            that was given to `register_score`.
        padding_queries_vote: Whether the attention that padding pays counts, as in the original release.
        seed: Which positions `"random"` keeps.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        InputError: `selection` is unknown.
    """

    mask_dtype: str | None = None

    def __init__(self, max_seq_length, selection="attention", padding_queries_vote=False, seed=0, **kwargs):
        # Learned parameters and gates are float32 in every precision: others would change ranks and shares. Keras
        # heeds this inside another layer only, so that each weight says it again.
        super().__init__(autocast=False, **kwargs)
        find_score(selection)
        self.max_seq_length = max_seq_length
        self.selection = selection
        self.padding_queries_vote = padding_queries_vote
        self.seed = seed

    def build(self, attention_probs_shape, padding_mask_shape, input_mask_shape):
        """Nothing to build, unless a subclass learns something."""

    def scores(self, attention_probs, padding_mask, value=None):
        """The score of each row, `[B, T]`, or `[1, T]` for a static one, float32."""
        votes = ops.ones_like(padding_mask) if self.padding_queries_vote else padding_mask
        return score_rows(
            self.selection, attention_probs, votes, value, max_seq_length=self.max_seq_length, seed=self.seed
        )

    def ranking_scores(self, attention_probs, padding_mask, value=None, pin_cls=True):
        """Scores `[B, T]` float32 that rank [CLS] first and padding last."""
        # Departure: the paper's static strategies may keep padding and eliminate words; here padding is always last.
        return ranking_scores(self.scores(attention_probs, padding_mask, value), padding_mask, pin_cls)

    def compute_num_kept(self, length, input_length):
        """K for `length` rows of an input of `input_length`; None where they are unknown."""
        return length

    def get_config(self):
        names = ("max_seq_length", "selection", "padding_queries_vote", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("powerbert_tf")
class UnitInterval(keras.constraints.Constraint):
    """Clips to [0, 1] after each step (paper, section 3.3)."""

    def __call__(self, w):
        return ops.clip(w, 0.0, 1.0)


@keras.saving.register_keras_serializable("powerbert_tf")
class MassPenalty(keras.regularizers.Regularizer):
    """The loss term of one encoder in the paper's search, coefficient * mass(r) (section 3.3)."""

    def __init__(self, coefficient):
        self.coefficient = coefficient

    def __call__(self, x):
        return self.coefficient * ops.sum(x)

    def get_config(self):
        return {"coefficient": self.coefficient}


@keras.saving.register_keras_serializable("powerbert_tf")
class SoftExtract(_Selection):
    """Extraction relaxed to a learned scale for each rank, for the paper's search.

    Args:
        max_seq_length: N, the number of retention parameters.
        coefficient: Weight of this encoder's mass in the loss; lambda * j for encoder j (1-based).
        pin_cls: Whether [CLS] has rank 0. The original release ranks it like any other word-vector.
        **kwargs: Arguments of `_Selection`.
    """

    def __init__(self, max_seq_length, coefficient=0.0, pin_cls=True, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        self.coefficient = coefficient
        self.pin_cls = pin_cls

    def build(self, attention_probs_shape, padding_mask_shape, input_mask_shape):
        self.retention_parameters = self.add_weight(
            shape=(self.max_seq_length,),
            initializer="ones",
            constraint=UnitInterval(),
            regularizer=MassPenalty(self.coefficient),
            name="retention_parameters",
            autocast=False,
        )

    def call(self, attention_probs, padding_mask, input_mask, value=None):
        """`[B, A, T, T]`, `[B, T]`, `[B, N']`, `[B, A, T, D]` -> `{"padding_mask", "scale"}`, `[B, T]` each."""
        scores = self.ranking_scores(attention_probs, padding_mask, value, self.pin_cls)
        return {"padding_mask": padding_mask, "scale": soft_scale(scores, self.retention_parameters)}

    def cls_scale(self, padding_mask):
        """The scale of [CLS], `[B, 1]`, for an encoder that computes no other row.

        Raises:
            ValueError: The rank of [CLS] depends on the other rows.
        """
        if not self.pin_cls:
            raise ValueError("pin_cls=False; expected True: [CLS] has rank 0 only then.")
        return ops.broadcast_to(self.retention_parameters[:1], (ops.shape(padding_mask)[0], 1))

    @property
    def mass(self):
        """The mass sum_k r[k], between 0 and N."""
        return float(np.sum(self.retention_parameters.numpy(), dtype="float64"))

    def get_config(self):
        return {**super().get_config(), "coefficient": self.coefficient, "pin_cls": self.pin_cls}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if "mass_penalty" in config:  # its name before
            config["coefficient"] = config.pop("mass_penalty")
        return cls(**config)


def add_fraction(layer):
    """Gives a layer of gates its variables: a `fraction` in [0, 1], which starts at 1, and, if it learns, its `price`.

    It learns if the layer's ramp has a `width`. Then `price * fraction` is a term of the loss.
    """
    learns = layer.width > 0
    if learns:
        # A weight, because JAX compiles everything else that a step reads as a constant.
        layer.price = layer.add_weight(
            shape=(), initializer="zeros", trainable=False, name="price", dtype="float32", autocast=False
        )
    layer.fraction = layer.add_weight(
        shape=(),
        initializer="ones",
        regularizer=(lambda fraction: layer.price * fraction) if learns else None,
        constraint=UnitInterval(),
        trainable=learns,
        name="fraction",
        dtype="float32",
        autocast=False,
    )


@keras.saving.register_keras_serializable("powerbert_tf")
class GatedExtract(_Selection):
    """Extraction relaxed to gates on attention, for searches to a target.

    All rows stay, and the padding mask becomes a gate in [0, 1]. It scales the attention that a row receives, and the
    weight of its own votes, in every later encoder. So a gate of 0 has exactly the effect of elimination, and scaling
    all gates alike changes nothing.

    Attributes:
        fraction: f, a scalar variable.
        price: If the fraction learns, `price * f` is a term of the loss; a search may change the price at every step.

    Args:
        max_seq_length: N.
        width: Width of the ramp, see `gates`; with 0 the layer eliminates what `Extract` does, and learns nothing.
        **kwargs: Arguments of `_Selection`.
    """

    mask_dtype = "float32"

    def __init__(self, max_seq_length, width=0.0, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        self.width = width

    def build(self, attention_probs_shape, padding_mask_shape, input_mask_shape):
        add_fraction(self)

    def call(self, attention_probs, padding_mask, input_mask, value=None):
        """`[B, A, T, T]`, `[B, T]`, `[B, T]`, `[B, A, T, D]` -> `{"padding_mask"}`, gates `[B, T]`."""
        scores = self.ranking_scores(attention_probs, padding_mask, value)
        return {"padding_mask": gates(scores, padding_mask, self.fraction, input_mask, self.width)}

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("powerbert_tf")
class Extract(_Selection):
    """Extraction: keeps a number of word-vectors, or a fraction of each example's own, [CLS] always among them.

    With a fraction f the tensor has ceil(f * N') rows for an input of N' rows. Those beyond an example's own share
    max(1, ceil(f * n)) are masked, so that what an example keeps depends on the example alone.

    Args:
        num_kept: l, a count (int; shorter inputs keep all) or a fraction (float).
        max_seq_length: N.
        **kwargs: Arguments of `_Selection`.

    Raises:
        ValueError: `num_kept` is a count below 1, or a fraction outside (0, 1].

    Example:
        >>> attention, mask = np.full((1, 2, 5, 5), 1 / 5, "float32"), np.ones((1, 5), "int32")
        >>> kept = powerbert_tf.Extract(3, max_seq_length=23)(attention, mask, mask)
        >>> kept["rows"].shape == (1, 3)
        True
    """

    def __init__(self, num_kept, max_seq_length, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        if isinstance(num_kept, float):
            if not 0 < num_kept <= 1:
                raise ValueError(f"num_kept={num_kept}; expected a fraction above 0 and up to 1.")
        elif num_kept < 1:
            raise ValueError(f"num_kept={num_kept}; expected at least 1: [CLS] always stays.")
        self.num_kept = num_kept

    def call(self, attention_probs, padding_mask, input_mask, value=None):
        """`[B, A, T, T]`, `[B, T]`, `[B, N']`, `[B, A, T, D]` -> `{"padding_mask", "rows"}`, `[B, K]` each."""
        length, own_share = ops.shape(padding_mask)[1], None
        num_kept = self.num_kept
        if isinstance(num_kept, float):
            own_share = own_shares(parts_of(num_kept), input_mask)
            num_kept = rows_kept(num_kept, ops.shape(input_mask)[1])
        elif isinstance(length, int) and length <= num_kept:
            return {"padding_mask": padding_mask}
        scores = self.ranking_scores(attention_probs, padding_mask, value)
        rows, padding_mask = kept_rows(scores, padding_mask, num_kept, own_share)
        return {"padding_mask": padding_mask, "rows": rows}

    def compute_num_kept(self, length, input_length):
        if length is None:
            return None
        return min(length, rows_kept(self.num_kept, input_length))

    def get_config(self):
        return {**super().get_config(), "num_kept": self.num_kept}
