"""PoWER-BERT's method: which word-vectors matter, and how the others leave.

Goyal et al., "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination", ICML 2020
(arXiv 2001.08950). Pure functions first, Keras layers on them. Nothing here knows BERT: an encoder block calls a
layer as

    (word_vectors, attention_probs, padding_mask, input_mask) -> (word_vectors, padding_mask)

between its self-attention and its feed-forward network; `input_mask` is the padding mask of the model's input, of which
fractions are meant.

Axes: `B` batch, `A` heads, `T` rows (word-vectors that reach the encoder), `K` rows kept, `H` hidden size,
`N` maximum sequence length, `n` real word-pieces of an example. Row 0 is [CLS].
"""

import keras
import numpy as np
from keras import ops

from powerbert_tf.retention import PARTS, parts_of, rows_kept

SELECTIONS = ("attention", "head", "random")  # Attn-WS, Head-WS and Rand-WS of the paper, section 3.2

_PINNED = 3.0e38  # above every score, and finite in float32 and bfloat16
_PADDING = -1.0  # below every score: scores are sums of probabilities


def significance_scores(attention_probs, padding_mask, padding_queries_vote=False):
    """Attention that each word-vector receives from the others (paper, equation 1).

        Sig(w) = sum_h sum_{w' != w} A_h[w', w]

    Args:
        attention_probs: `[B, A, T, T]`, after the softmax; rows are queries, columns are keys.
        padding_mask: `[B, T]`, 1 for a word-piece and 0 for padding.
        padding_queries_vote: Whether padding rows count as queries, as in the original release. By default they do
            not, so that the amount of padding changes nothing.

    Returns:
        `[B, T]` float32. Padding never receives attention and scores 0.
    """
    # Half precision would merge scores that lie close together, and with them ranks.
    attention_probs = ops.cast(attention_probs, "float32")
    votes = ops.sum(attention_probs, axis=1)  # [B, T, T]
    if not padding_queries_vote:
        votes = votes * ops.expand_dims(ops.cast(padding_mask, "float32"), axis=-1)
    return ops.sum(votes, axis=1) - ops.diagonal(votes, axis1=1, axis2=2)


def static_scores(selection, length, max_seq_length, seed=0):
    """Scores of the paper's static strategies, which depend on the position alone (paper, section 3.2).

    Args:
        selection: `"head"` (Head-WS: the first positions) or `"random"` (Rand-WS: fixed random positions).
        length: T, an int or a scalar tensor.
        max_seq_length: N, at least T. The score of a position does not depend on T.
        seed: Which random positions.

    Returns:
        `[T]` float32 in (0, 1].
    """
    if selection == "head":
        scores = np.arange(max_seq_length, 0, -1) / max_seq_length
    else:
        scores = (np.random.default_rng(seed).permutation(max_seq_length) + 1) / max_seq_length
    return ops.convert_to_tensor(scores.astype("float32"))[:length]


def ranking_scores(scores, padding_mask, pin_cls=True):
    """Scores with padding below, and [CLS] above, every other row.

    Args:
        scores: `[B, T]` or `[1, T]`, none negative.
        padding_mask: `[B, T]`.
        pin_cls: Whether row 0 is put first. The original release does so in extract only.

    Returns:
        `[B, T]` float32.
    """
    scores = ops.where(ops.cast(padding_mask, "bool"), scores, _PADDING)
    if pin_cls:
        is_cls = ops.expand_dims(ops.arange(ops.shape(padding_mask)[1]) == 0, axis=0)
        scores = ops.where(is_cls, _PINNED, scores)
    return scores


def ranks(scores):
    """Rank of each row, 0 for the highest score; among equals the earlier row comes first.

    Args:
        scores: `[B, T]`.

    Returns:
        `[B, T]` int32, in each example a permutation of 0, ..., T-1.
    """
    order = ops.argsort(-scores, axis=-1)  # stable on every backend
    return ops.cast(ops.argsort(order, axis=-1), "int32")


def soft_extract(word_vectors, scores, retention_parameters):
    """Scales each word-vector by the retention parameter of its rank: E'[w] = r[rank(w)] * E[w] (paper, section 3.3).

    Args:
        word_vectors: `[B, T, H]`.
        scores: `[B, T]`, from `ranking_scores`.
        retention_parameters: r, `[N]` with N >= T.

    Returns:
        `[B, T, H]`.
    """
    scale = ops.take(retention_parameters, ranks(scores), axis=0)
    return word_vectors * ops.cast(ops.expand_dims(scale, axis=-1), word_vectors.dtype)


def extract(word_vectors, padding_mask, scores, num_kept, own_share=None):
    """Keeps the `num_kept` rows of highest score, in their order of the sequence (paper, section 3.2).

    Args:
        word_vectors: `[B, T, H]`.
        padding_mask: `[B, T]`.
        scores: `[B, T]`, from `ranking_scores`.
        num_kept: l, at least 1; an int, or a scalar tensor where T is unknown.
        own_share: Rows that each example keeps of these, `[B]` integers; the rest is masked. None: all of them.

    Returns:
        Word-vectors `[B, K, H]` and their padding mask `[B, K]`, with K = min(l, T).
    """
    length = ops.shape(word_vectors)[1]
    if isinstance(length, int) and isinstance(num_kept, int):
        if length <= num_kept and own_share is None:  # all stay: the same result without a copy
            return word_vectors, padding_mask
        num_kept = min(num_kept, length)
    else:  # a TensorFlow graph of unknown length
        num_kept = ops.minimum(num_kept, length)
    _, kept = ops.top_k(scores, num_kept)  # [B, K], in the order of their ranks
    if own_share is None:
        kept = ops.sort(kept, axis=-1)
        return gather_rows(word_vectors, kept), gather_rows(padding_mask, kept)
    rank = ops.expand_dims(ops.arange(num_kept), axis=0)
    kept = ops.where(rank < ops.expand_dims(own_share, axis=-1), kept, length)  # rows of no example sort last
    kept = ops.sort(kept, axis=-1)
    is_own = ops.cast(kept < length, padding_mask.dtype)
    kept = ops.minimum(kept, length - 1)
    return gather_rows(word_vectors, kept), gather_rows(padding_mask, kept) * is_own


def own_shares(parts, input_mask):
    """Rows that each example keeps of its own: max(1, ceil(f * n)).

    Args:
        parts: The fraction f in `retention.PARTS`, an int or an int32 scalar tensor.
        input_mask: `[B, T]`, the padding mask of the model's input.

    Returns:
        `[B]` int32.
    """
    lengths = ops.sum(ops.cast(input_mask, "int32"), axis=-1)
    return ops.maximum((parts * lengths + (PARTS - 1)) // PARTS, 1)


def gates(scores, padding_mask, fraction, input_mask, width):
    """How open each word-vector stands to later encoders: 1 at ranks within the fraction, 0 beyond, a ramp between.

        ramp = max(1, width n)
        gate(rank) = clip((f (n + ramp) - rank) / ramp, 0, 1)

    so that all are open at f = 1, none at f = 0, and the cut of extraction, rank f n, always lies on the ramp. [CLS]
    stands open. With a width of 0 the gates are what extraction keeps, to the row.

    Args:
        scores: `[B, T]`, from `ranking_scores`.
        padding_mask: `[B, T]`, what stands open before; gates multiply.
        fraction: f, a scalar tensor.
        input_mask: `[B, T]`, the padding mask of the model's input.
        width: Of the ramp, as a fraction of n.

    Returns:
        `[B, T]` float32 in [0, 1].
    """
    rank = ranks(scores)
    if width:
        rank = ops.cast(rank, "float32")
        lengths = ops.sum(ops.cast(input_mask, "float32"), axis=-1, keepdims=True)
        ramp = ops.maximum(width * lengths, 1.0)
        gate = ops.clip((fraction * (lengths + ramp) - rank) / ramp, 0.0, 1.0)
        gate = ops.where(rank == 0, 1.0, gate)
    else:
        parts = ops.cast(ops.round(fraction * PARTS), "int32")
        gate = rank < ops.expand_dims(own_shares(parts, input_mask), axis=-1)
    return ops.cast(padding_mask, "float32") * ops.cast(gate, "float32")


def gather_rows(tensor, rows):
    """Picks rows of each example: `result[b, k] = tensor[b, rows[b, k]]`.

    Args:
        tensor: `[B, T, ...]`.
        rows: `[B, K]` integers.

    Returns:
        `[B, K, ...]`.
    """
    # One flat take is a single fast gather on every backend; `take_along_axis` would broadcast the indices over H.
    batch, length = ops.shape(tensor)[:2]
    rows = ops.cast(rows, "int32")
    first_row = ops.expand_dims(ops.arange(batch, dtype="int32") * length, axis=-1)
    flat = ops.reshape(tensor, (-1, *tensor.shape[2:]))
    return ops.take(flat, rows + first_row, axis=0)


class _Selection(keras.layers.Layer):
    """What the layers share: the order in which word-vectors matter.

    Attributes:
        mask_dtype: Type of the padding mask that comes out; None for that of the one that goes in.

    Args:
        max_seq_length: N.
        selection: `"attention"` (Attn-WS), or one of the static `"head"` (Head-WS) and `"random"` (Rand-WS).
        padding_queries_vote: See `significance_scores`.
        seed: Which positions `"random"` keeps.

    Raises:
        ValueError: `selection` is none of `SELECTIONS`.
    """

    mask_dtype: str | None = None

    def __init__(self, max_seq_length, selection="attention", padding_queries_vote=False, seed=0, **kwargs):
        super().__init__(**kwargs)
        if selection not in SELECTIONS:
            raise ValueError(f"selection={selection!r}; expected one of {', '.join(SELECTIONS)}.")
        self.max_seq_length = max_seq_length
        self.selection = selection
        self.padding_queries_vote = padding_queries_vote
        self.seed = seed

    def build(self, word_vectors_shape, attention_probs_shape, padding_mask_shape, input_mask_shape):
        """Nothing to build, unless a subclass learns something."""

    def ranking_scores(self, attention_probs, padding_mask, pin_cls=True):
        """Scores `[B, T]` float32 in whose descending order the word-vectors matter."""
        if self.selection == "attention":
            scores = significance_scores(attention_probs, padding_mask, self.padding_queries_vote)
        else:
            # Departure: the paper's static strategies may keep padding and drop words; here padding is last as well.
            length = ops.shape(padding_mask)[1]
            scores = ops.expand_dims(static_scores(self.selection, length, self.max_seq_length, self.seed), axis=0)
        return ranking_scores(scores, padding_mask, pin_cls)

    def get_config(self):
        return {
            **super().get_config(),
            "max_seq_length": self.max_seq_length,
            "selection": self.selection,
            "padding_queries_vote": self.padding_queries_vote,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("powerbert_tf")
class UnitInterval(keras.constraints.Constraint):
    """Clips to [0, 1] after each step (paper, section 3.3)."""

    def __call__(self, w):
        return ops.clip(w, 0.0, 1.0)


@keras.saving.register_keras_serializable("powerbert_tf")
class MassPenalty(keras.regularizers.Regularizer):
    """The search's loss term of one encoder: coefficient * mass(r) (paper, section 3.3)."""

    def __init__(self, coefficient):
        self.coefficient = coefficient

    def __call__(self, x):
        return self.coefficient * ops.sum(x)

    def get_config(self):
        return {"coefficient": self.coefficient}


@keras.saving.register_keras_serializable("powerbert_tf")
class SoftExtract(_Selection):
    """Extraction relaxed to a learned scale for each rank, for the configuration search.

    Args:
        max_seq_length: N, the number of retention parameters.
        mass_penalty: Coefficient of this encoder's mass in the loss; lambda * j for encoder j (1-based).
        pin_cls: Whether [CLS] has rank 0. The original release ranks it like any other word-vector.
        **kwargs: `selection`, `padding_queries_vote` and `seed`, see `_Selection`; and the layer's own.
    """

    def __init__(self, max_seq_length, mass_penalty=0.0, pin_cls=True, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        self.mass_penalty = mass_penalty
        self.pin_cls = pin_cls

    def build(self, word_vectors_shape, attention_probs_shape, padding_mask_shape, input_mask_shape):
        self.retention_parameters = self.add_weight(
            shape=(self.max_seq_length,),
            initializer="ones",
            constraint=UnitInterval(),
            regularizer=MassPenalty(self.mass_penalty),
            name="retention_parameters",
        )

    def call(self, word_vectors, attention_probs, padding_mask, input_mask):
        """`[B, T, H]`, `[B, A, T, T]`, `[B, T]`, `[B, N']` -> `[B, T, H]`, `[B, T]`."""
        scores = self.ranking_scores(attention_probs, padding_mask, self.pin_cls)
        return soft_extract(word_vectors, scores, self.retention_parameters), padding_mask

    def compute_num_kept(self, length, input_length):
        """All rows stay."""
        return length

    @property
    def mass(self):
        """The mass sum_k r[k], between 0 and N."""
        return float(np.sum(self.retention_parameters.numpy(), dtype="float64"))

    def get_config(self):
        return {**super().get_config(), "mass_penalty": self.mass_penalty, "pin_cls": self.pin_cls}


@keras.saving.register_keras_serializable("powerbert_tf")
class GatedExtract(_Selection):
    """Extraction relaxed to gates on the attention that later encoders pay, for searches to a target.

    All rows stay. What leaves is not the word-vector but the mask: it becomes a gate in [0, 1], which scales the
    attention that the row receives, and the weight of its own votes, in every later encoder; so a gate of 0 does what
    elimination does, exactly, and there is nothing to gain from scaling all gates alike.

    Args:
        max_seq_length: N.
        width: Of the ramp, see `gates`; with 0 the layer eliminates what `Extract` does.
        **kwargs: `selection`, `padding_queries_vote` and `seed`, see `_Selection`; and the layer's own.
    """

    mask_dtype = "float32"

    def __init__(self, max_seq_length, width=0.0, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        self.width = width

    def build(self, word_vectors_shape, attention_probs_shape, padding_mask_shape, input_mask_shape):
        self.fraction = self.add_weight(
            shape=(),
            initializer="ones",
            constraint=UnitInterval(),
            trainable=self.width > 0,
            name="fraction",
            dtype="float32",
        )

    def call(self, word_vectors, attention_probs, padding_mask, input_mask):
        """`[B, T, H]`, `[B, A, T, T]`, `[B, T]`, `[B, T]` -> `[B, T, H]`, gates `[B, T]`."""
        scores = self.ranking_scores(attention_probs, padding_mask)
        return word_vectors, gates(scores, padding_mask, self.fraction, input_mask, self.width)

    def compute_num_kept(self, length, input_length):
        """All rows stay."""
        return length

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("powerbert_tf")
class Extract(_Selection):
    """Extraction: `num_kept` word-vectors stay, or the fraction of each example's own, [CLS] always among them.

    With a fraction f the tensor has ceil(f * N') rows for an input of N' rows; those beyond an example's own share
    max(1, ceil(f * n)) are masked, so that what is kept of an example depends on the example alone.

    Args:
        num_kept: l, a count (int; shorter inputs keep all) or a fraction (float).
        max_seq_length: N.
        **kwargs: `selection`, `padding_queries_vote` and `seed`, see `_Selection`; and the layer's own.

    Raises:
        ValueError: `num_kept` is a count below 1, or no fraction above 0 and up to 1.
    """

    def __init__(self, num_kept, max_seq_length, **kwargs):
        super().__init__(max_seq_length, **kwargs)
        if isinstance(num_kept, float):
            if not 0 < num_kept <= 1:
                raise ValueError(f"num_kept={num_kept}; expected a fraction above 0 and up to 1.")
        elif num_kept < 1:
            raise ValueError(f"num_kept={num_kept}; expected at least 1: [CLS] never leaves.")
        self.num_kept = num_kept

    def call(self, word_vectors, attention_probs, padding_mask, input_mask):
        """`[B, T, H]`, `[B, A, T, T]`, `[B, T]`, `[B, N']` -> `[B, K, H]`, `[B, K]`."""
        scores = self.ranking_scores(attention_probs, padding_mask)
        if not isinstance(self.num_kept, float):
            return extract(word_vectors, padding_mask, scores, self.num_kept)
        num_rows = rows_kept(self.num_kept, ops.shape(input_mask)[1])
        own_share = own_shares(parts_of(self.num_kept), input_mask)
        return extract(word_vectors, padding_mask, scores, num_rows, own_share)

    def compute_num_kept(self, length, input_length):
        """K for `length` rows of an input of `input_length`; None where they are unknown."""
        if length is None:
            return None
        return min(length, rows_kept(self.num_kept, input_length))

    def get_config(self):
        return {**super().get_config(), "num_kept": self.num_kept}
