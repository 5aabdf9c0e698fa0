"""PoWER-BERT in float64 NumPy, example by example: the independent route to expected values.

Written from the equations of the paper (Goyal et al., ICML 2020, arXiv 2001.08950) and of BERT (Devlin et al., 2019),
for legibility and not for speed. It imports nothing of the package under test.

Axis letters: B batch, T padded length, H hidden size, A heads, L encoders, C outputs, N length of the retention
parameters, K word-vectors that the encoder at hand works on (T, unless some were eliminated before).
"""

import fractions
import math

import numpy as np

LAYER_NORM_EPSILON = 1e-12

_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x):
    """GELU(x) = x * Phi(x), with Phi the cumulative normal distribution."""
    return x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    """The tanh approximation of `gelu`."""
    return x * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def relu(x):
    return np.maximum(x, 0.0)


ACTIVATIONS = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "relu": relu, "tanh": np.tanh}


def softmax(x):
    """Softmax over the last axis; entries of -inf get exactly 0."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x, gamma, beta):
    """Layer normalisation over the last axis, with the biased variance."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + LAYER_NORM_EPSILON) + beta


def self_attention(x, is_real, weights, scope, num_heads):
    """Multi-head self-attention of one example.

    Args:
        x: The word-vectors, [K, H].
        is_real: Which of them are not padding, bool [K].
        weights: All weights, float64.
        scope: The encoder's scope, such as "bert/encoder/layer_0".
        num_heads: A.

    Returns:
        The context vectors [K, H], before the output projection; attention_probs [A, K, K]: head, query, key; and the
        values' norms [A, K].
    """
    query, key, value = (
        x @ weights[f"{scope}/attention/self/{name}/kernel"] + weights[f"{scope}/attention/self/{name}/bias"]
        for name in ("query", "key", "value")
    )
    head_size = query.shape[-1] // num_heads
    contexts, attention_probs, norms = [], [], []
    for head in range(num_heads):
        columns = slice(head * head_size, (head + 1) * head_size)
        logits = query[:, columns] @ key[:, columns].T / math.sqrt(head_size)  # [K, K]: query, key
        logits[:, ~is_real] = -np.inf  # nobody attends to padding
        probs = softmax(logits)
        attention_probs.append(probs)
        contexts.append(probs @ value[:, columns])
        norms.append([math.hypot(*row) for row in value[:, columns]])
    return np.concatenate(contexts, axis=-1), np.stack(attention_probs), np.array(norms)


def significance_scores(attention_probs, is_real, padding_queries_vote=False, weights=None):
    """Sig_j(w) = sum_h sum_{w' != w} A_j,h[w', w]: the attention that w receives from the others.

    Args:
        attention_probs: [A, K, K]: head, query, key.
        is_real: Which word-vectors are not padding, bool [K].
        padding_queries_vote: Whether the query rows w' of padding count too, as in the original release.
        weights: [A, K], what attention to w by head h counts; None for 1.

    Returns:
        The scores, [K]; those of padding are 0, since nobody attends to it.
    """
    num_heads, length, _ = attention_probs.shape
    scores = np.zeros(length)
    for head in range(num_heads):
        for voter in range(length):
            if not (is_real[voter] or padding_queries_vote):
                continue
            for candidate in range(length):
                if candidate != voter:
                    weight = 1.0 if weights is None else weights[head, candidate]
                    scores[candidate] += weight * attention_probs[head, voter, candidate]
    return scores


def ranking(scores, is_real, pin_cls, selection):
    """The current positions, most significant first.

    Args:
        scores: The significance scores, [K].
        is_real: Which word-vectors are not padding, bool [K].
        pin_cls: Whether [CLS], which is at position 0, comes first whatever its score.
        selection: "attention" and "weighted" rank by score, with padding last and the earlier position first among
            equals; "head" ranks by position.

    Returns:
        A list of the K positions.
    """
    positions = range(len(scores))
    if selection == "head":
        return list(positions)
    if selection not in ("attention", "weighted"):
        raise ValueError(f'selection must be "attention", "weighted" or "head", received: {selection!r}')
    return sorted(positions, key=lambda w: (not (pin_cls and w == 0), not is_real[w], -scores[w], w))


def forward(
    weights,
    config,
    token_ids,
    segment_ids,
    padding_mask,
    *,
    retention_parameters=None,
    retention_configuration=None,
    padding_queries_vote=False,
    pin_cls_in_soft_extract=True,
    selection="attention",
):
    """Plain BERT, BERT with soft-extract, or BERT with extract, and a linear output on the pooled [CLS].

    Args:
        weights: Arrays by Google's variable names, without ":0".
        config: The content of `bert_config.json`.
        token_ids: int [B, T].
        segment_ids: int [B, T].
        padding_mask: [B, T], 1 for a real word-piece and 0 for padding; at least the first of each row is real.
        retention_parameters: r, [L, N] with N >= T: each encoder soft-extracts.
        retention_configuration: l, [L]: each encoder extracts; counts (ints) or fractions of each example's own
            length (floats).
        padding_queries_vote: Whether query rows of padding count in the significance scores (original release).
        pin_cls_in_soft_extract: Whether [CLS] has rank 0 in soft-extract; extract always keeps it.
        selection: "attention" (by significance score), "weighted" (the same, attention weighted by the norms of
            values) or "head" (by position).

    Returns:
        A dict:
            logits: [B, C].
            pooled_output: [B, H].
            word_vectors: For each encoder the output of its (soft-)extract step [B, K_j, H]; None for plain BERT.
            kept: For each encoder the original positions that extract kept, int [B, K_j]; None unless it extracts.
            scores: For each encoder the significance scores of the word-vectors that enter it, [B, K_{j-1}].
    """
    if retention_parameters is not None and retention_configuration is not None:
        raise ValueError("Give retention_parameters or retention_configuration, not both.")
    weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    examples = [
        _forward_example(
            weights,
            config,
            *example,
            retention_parameters,
            retention_configuration,
            padding_queries_vote,
            pin_cls_in_soft_extract,
            selection,
        )
        for example in zip(np.asarray(token_ids), np.asarray(segment_ids), np.asarray(padding_mask), strict=True)
    ]

    def stack_encoders(key):
        per_encoder = zip(*(example[key] for example in examples), strict=True)
        return [None if values[0] is None else stack(values) for values in per_encoder]

    def stack(values):
        # With fractions examples keep different numbers of rows: a list then.
        return np.stack(values) if len({len(value) for value in values}) == 1 else list(values)

    return {
        "logits": np.stack([example["logits"] for example in examples]),
        "pooled_output": np.stack([example["pooled_output"] for example in examples]),
        "word_vectors": stack_encoders("word_vectors"),
        "kept": stack_encoders("kept"),
        "scores": stack_encoders("scores"),
    }


def _forward_example(
    weights,
    config,
    token_ids,
    segment_ids,
    padding_mask,
    retention_parameters,
    retention_configuration,
    padding_queries_vote,
    pin_cls_in_soft_extract,
    selection,
):
    """`forward` of one example: the inputs are [T], and the results have no batch axis."""

    def dense(x, scope):
        return x @ weights[f"{scope}/kernel"] + weights[f"{scope}/bias"]

    def norm(x, scope):
        return layer_norm(x, weights[f"{scope}/LayerNorm/gamma"], weights[f"{scope}/LayerNorm/beta"])

    activation = ACTIVATIONS[config["hidden_act"]]
    is_real = padding_mask.astype(bool)
    positions = np.arange(len(token_ids))  # where each word-vector stood in the input
    result = {"word_vectors": [], "kept": [], "scores": []}

    x = (
        weights["bert/embeddings/word_embeddings"][token_ids]
        + weights["bert/embeddings/token_type_embeddings"][segment_ids]
        + weights["bert/embeddings/position_embeddings"][positions]
    )
    x = norm(x, "bert/embeddings")

    for j in range(config["num_hidden_layers"]):
        scope = f"bert/encoder/layer_{j}"

        context, attention_probs, value_norms = self_attention(
            x, is_real, weights, scope, config["num_attention_heads"]
        )
        x = norm(x + dense(context, f"{scope}/attention/output/dense"), f"{scope}/attention/output")

        weighing = value_norms if selection == "weighted" else None
        scores = significance_scores(attention_probs, is_real, padding_queries_vote, weighing)
        result["scores"].append(scores)
        if retention_parameters is not None:
            # E'_j[w] = r_j[rank_j(w)] * E_j[w]
            scaled = np.empty_like(x)
            for rank, w in enumerate(ranking(scores, is_real, pin_cls_in_soft_extract, selection)):
                scaled[w] = float(retention_parameters[j][rank]) * x[w]
            x = scaled
        elif retention_configuration is not None:
            kept = retention_configuration[j]
            if isinstance(kept, float):  # of the example's own length
                kept = min(max(1, math.ceil(fractions.Fraction(str(kept)) * int(padding_mask.sum()))), len(x))
            keep = ranking(scores, is_real, True, selection)[:kept]
            keep = sorted(keep)  # in their order of the sequence
            x, is_real, positions = x[keep], is_real[keep], positions[keep]
        soft_extracts, extracts = retention_parameters is not None, retention_configuration is not None
        result["word_vectors"].append(x if soft_extracts or extracts else None)
        result["kept"].append(positions if extracts else None)

        intermediate = activation(dense(x, f"{scope}/intermediate/dense"))
        x = norm(x + dense(intermediate, f"{scope}/output/dense"), f"{scope}/output")

    result["pooled_output"] = np.tanh(dense(x[0], "bert/pooler/dense"))
    result["logits"] = result["pooled_output"] @ weights["output_weights"].T + weights["output_bias"]
    return result
