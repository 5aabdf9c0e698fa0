"""Which word-vectors matter: significance scores, the static strategies' scores, and ranks by either.

Goyal et al., "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination", ICML 2020
(arXiv 2001.08950). Pure functions.

Axes: `B` batch, `A` heads, `D` size of a head, `T` rows (word-vectors that reach the encoder), `N` maximum sequence
length. Row 0 is [CLS].
"""

import numpy as np
from keras import ops

# Attn-WS, the same weighted by the norms of values, and Head-WS and Rand-WS of the paper, section 3.2.
SELECTIONS = ("attention", "weighted", "head", "random")

RANKED_FIRST = 3.0e38  # above every score, and finite in float32 and bfloat16
RANKED_LAST = -1.0  # below every score: scores are sums of probabilities


def significance_scores(attention_probs, padding_mask, padding_queries_vote=False, value=None, diagonal=None):
    """Attention that each word-vector receives from the others (paper, equation 1).

        Sig(w) = sum_h sum_{w' != w} A_h[w', w]

    Departure, where values are given: what a word-vector contributes is attention times value, and a value may be
    near zero, as that of [SEP], where heads park attention that they have no use for (Kobayashi et al., "Attention is
    Not Only a Weight", EMNLP 2020, arXiv 2004.10102). So each head's attention counts as much as its value is long:

        Sig(w) = sum_h ||V_h[w]|| sum_{w' != w} A_h[w', w]

    Args:
        attention_probs: `[B, A, T, T]`, after the softmax; rows are queries, columns are keys.
        padding_mask: `[B, T]`, 1 for a word-piece and 0 for padding.
        padding_queries_vote: Whether padding rows count as queries, as in the original release. By default they do
            not, so that the amount of padding changes nothing.
        value: `[B, A, T, D]`, or None for the paper's scores.
        diagonal: `[B, A, T, T]` -> `[B, A, T]`, for what runs where the backend's own operation is not.

    Returns:
        `[B, T]` float32. Padding never receives attention and scores 0.
    """
    # Half precision would merge scores that lie close together, and with them ranks.
    attention_probs = ops.cast(attention_probs, "float32")
    votes = ops.cast(padding_mask, "float32")
    if padding_queries_vote:
        votes = ops.ones_like(votes)
    # A product with a row vector reads the probabilities once and makes no other tensor of their size.
    received = ops.matmul(votes[:, None, None, :], attention_probs)[:, :, 0]  # [B, A, T]
    own = (diagonal or _diagonal)(attention_probs) * votes[:, None, :]
    from_others = received - own
    if value is not None:
        from_others = from_others * ops.sqrt(ops.sum(ops.square(ops.cast(value, "float32")), axis=-1))
    return ops.sum(from_others, axis=1)


def _diagonal(attention_probs):
    return ops.diagonal(attention_probs, axis1=2, axis2=3)


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
