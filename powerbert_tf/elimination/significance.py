"""Which word-vectors matter: the scores by which they are ranked, and the registry that names them.

Goyal et al., "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination", ICML 2020
(arXiv 2001.08950). Pure functions.

Axes: `B` batch, `A` heads, `D` size of a head, `T` rows (word-vectors that reach the encoder), `N` maximum sequence
length. Row 0 is [CLS].
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import wrapt

from powerbert_tf.common.errors import InputError

ops = wrapt.lazy_import("keras.ops")  # the names of scores, which flags list, need no Keras

NEEDS = ("attention", "values", "nothing")  # what a score is computed from

RANKED_FIRST = 3.0e38  # above every score, and finite in float32 and bfloat16
RANKED_LAST = -RANKED_FIRST


def significance_scores(attention_probs, votes, value=None):
    """Attention that each word-vector receives from the others (paper, equation 1).

        Sig(w) = sum_h sum_{w' != w} A_h[w', w]

    Departure, where values are given: a word-vector contributes attention times value, and the value may be near zero,
    as that of [SEP], where heads park attention that they have no use for (Kobayashi et al., "Attention is Not Only a
    Weight", EMNLP 2020, arXiv 2004.10102). So the norm of the value weights each head's attention:

        Sig(w) = sum_h ||V_h[w]|| sum_{w' != w} A_h[w', w]

    Args:
        attention_probs: `[B, A, T, T]`, after the softmax; rows are queries, columns are keys.
        votes: `[B, T]`, how much the attention that each row pays counts. The padding mask, so that the amount of
            padding changes nothing; all 1 in the original release.
        value: `[B, A, T, D]`, or None for the paper's scores.

    Returns:
        `[B, T]` float32. Padding never receives attention and scores 0.

    Example:
        >>> attention = np.full((1, 1, 3, 3), 1 / 3)  # of the last row, which is padding, nothing counts
        >>> scores = powerbert_tf.significance_scores(attention, np.array([[1, 1, 0]]))
        >>> [f"{score:.2f}" for score in np.asarray(scores)[0, :2]]
        ['0.33', '0.33']
    """
    # Half precision would merge scores that lie close together, and with them ranks.
    attention_probs = ops.cast(attention_probs, "float32")
    votes = ops.cast(votes, "float32")
    # A product with a row vector reads the probabilities once and makes no other tensor of their size.
    received = ops.matmul(votes[:, None, None, :], attention_probs)[:, :, 0]  # [B, A, T]
    batch, heads, length, _ = ops.shape(attention_probs)
    # The diagonal: of T * T numbers every (T + 1)th. LiteRT has no operation for it.
    flat = ops.reshape(attention_probs, (batch, heads, length * length))
    own = ops.take(flat, ops.arange(length, dtype="int32") * (length + 1), axis=2)
    from_others = received - own * votes[:, None, :]
    if value is not None:
        from_others = from_others * ops.sqrt(ops.sum(ops.square(ops.cast(value, "float32")), axis=-1))
    return ops.sum(from_others, axis=1)


def _head_scores(max_seq_length, seed):
    """Head-WS: the first positions (paper, section 3.2)."""
    return np.arange(max_seq_length, 0, -1) / max_seq_length


def _random_scores(max_seq_length, seed):
    """Rand-WS: the same random positions for every example (paper, section 3.2)."""
    return (np.random.default_rng(seed).permutation(max_seq_length) + 1) / max_seq_length


@dataclasses.dataclass(frozen=True)
class Score:
    """One row of the registry.

    Attributes:
        function: Computes the scores. Its arguments depend on `needs`.
        needs: What it is computed from, one of `NEEDS`.
    """

    function: Callable[..., Any]
    needs: str = "attention"

    @property
    def is_static(self) -> bool:
        """Whether a score depends on the position alone."""
        return self.needs == "nothing"

    def of_positions(self, max_seq_length: int, seed: int = 0) -> np.ndarray:
        """Scores of all positions by a static score, `[N]` float32."""
        return np.asarray(self.function(max_seq_length, seed), "float32")


_BUILT_IN = {
    "attention": Score(significance_scores),
    "weighted": Score(significance_scores, "values"),
    "head": Score(_head_scores, "nothing"),
    "random": Score(_random_scores, "nothing"),
}
_scores = dict(_BUILT_IN)


def register_score(name: str, function: Callable[..., Any], needs: str = "attention") -> None:
    """Adds a score, which every `selection` and `--selection` then accepts by its name.

    Word-vectors of the highest score stay. Any finite score is allowed: padding is always ranked last, and [CLS]
    first.

    Args:
        name: An identifier. A name that was registered before is replaced, unless it is one of the package's own.
        function: Returns a score for each row. `needs` decides how it is called, and what it returns:

            "attention"  `function(attention_probs, votes)` -> `[B, T]`
            "values"     `function(attention_probs, votes, value)` -> `[B, T]`
            "nothing"    `function(max_seq_length, seed)` -> `[N]`, a NumPy array; the seed is the number of the encoder

            `attention_probs` is `[B, A, T, T]`, queries by keys; `value` is `[B, A, T, D]`, what the attention weights;
            `votes` is `[B, T]`, the padding mask, or during a search the gates in [0, 1] in its place. All are float32
            in every precision. Use `keras.ops`.
        needs: What the score is computed from.

    Raises:
        InputError: The name is taken or is no identifier, the function cannot be called, or `needs` is unknown.

    Example:
        >>> powerbert_tf.register_score("last", lambda max_seq_length, seed: np.arange(max_seq_length), "nothing")
        >>> model = powerbert_tf.load_classifier("classifier", num_classes=3, max_seq_length=23)
        >>> powerbert_tf.with_retention(model, (0.9, 0.6, 0.3), selection="last").selection
        'last'
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"name={name!r}; expected an identifier, such as my_score.")
    if name in _BUILT_IN:
        raise InputError(f"name={name!r} is a score of powerbert_tf; expected another name.")
    if not callable(function):
        raise InputError(f"function={function!r}; expected a function.")
    if needs not in NEEDS:
        raise InputError(f"needs={needs!r}; expected one of {', '.join(NEEDS)}.")
    _scores[name] = Score(function, needs)


def score_names() -> tuple[str, ...]:
    """The names of all scores, the package's own first."""
    return tuple(_scores)


def find_score(name: str) -> Score:
    """The row of a score.

    Raises:
        InputError: The name is unknown. The message lists those that are known.
    """
    if name not in score_names():
        raise InputError(
            f"selection={name!r}; expected one of {', '.join(_scores)}, or a name given to powerbert_tf.register_score."
        )
    return _scores[name]


def score_rows(selection, attention_probs, votes, value=None, *, max_seq_length, seed=0):
    """Scores of all rows that reach an encoder, before [CLS] and padding are given their places.

    Args:
        selection: Name of the score.
        attention_probs: `[B, A, T, T]`.
        votes: `[B, T]`, see `significance_scores`.
        value: `[B, A, T, D]`; only some scores need it.
        max_seq_length: N.
        seed: For static scores.

    Returns:
        `[B, T]` float32, or `[1, T]` of a static score. A position has the same static score whatever T is.

    Raises:
        InputError: The name is unknown.
        ValueError: The score needs values, and there are none.
    """
    score = find_score(selection)
    if score.is_static:
        length = ops.shape(votes)[1]
        return ops.convert_to_tensor(score.of_positions(max_seq_length, seed))[None, :length]
    # In float32, see `significance_scores`.
    needed = [ops.cast(attention_probs, "float32"), ops.cast(votes, "float32")]
    if score.needs == "values":
        if value is None:
            raise ValueError(f"value=None; expected the values [B, A, T, D], which selection={selection!r} asks for.")
        needed.append(ops.cast(value, "float32"))
    return ops.cast(score.function(*needed), "float32")


def ranking_scores(scores, padding_mask, pin_cls=True):
    """Scores with padding below, and [CLS] above, every other row.

    Args:
        scores: `[B, T]` or `[1, T]`.
        padding_mask: `[B, T]`.
        pin_cls: Whether row 0 is put first. The original release does so in extract only.

    Returns:
        `[B, T]` float32.
    """
    scores = ops.where(ops.cast(padding_mask, "bool"), scores, RANKED_LAST)
    if pin_cls:
        is_cls = ops.expand_dims(ops.arange(ops.shape(padding_mask)[1]) == 0, axis=0)
        scores = ops.where(is_cls, RANKED_FIRST, scores)
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
