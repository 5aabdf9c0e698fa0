"""What becomes of each word-vector on its way through a model: its scores, and the encoder at which it leaves."""

import dataclasses

import numpy as np
from keras import ops

from powerbert_tf.elimination.significance import significance_scores
from powerbert_tf.models.classifier import INPUTS, BertClassifier


@dataclasses.dataclass(frozen=True, eq=False)
class EliminationTrace:
    """One batch.

    Attributes:
        logits: `[B, C]`.
        outlives: How many encoders each word-vector leaves alive, `[B, T]` ints from 0 to L; padding 0, [CLS] L. The
            last encoder computes [CLS] alone: what leaves there was read all the same.
        scores: Significance of each word-vector at each encoder that it reaches, `[B, L, T]`; NaN where it does not. At
            the last encoder it is what [CLS] pays alone.
    """

    logits: np.ndarray
    outlives: np.ndarray
    scores: np.ndarray


def trace_elimination(model: BertClassifier, inputs: dict[str, np.ndarray]) -> EliminationTrace:
    """Runs a model encoder by encoder, and notes who leaves.

    Args:
        model: With extract slots or without.
        inputs: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]`.
    """
    tensors = {name: ops.convert_to_tensor(inputs[name], dtype="int32") for name in INPUTS}
    input_mask = mask = tensors["padding_mask"]
    batch, length = inputs["padding_mask"].shape
    word_vectors = model.get_layer("embeddings")(tensors["token_ids"], tensors["segment_ids"])
    positions = np.broadcast_to(np.arange(length), (batch, length))  # of the rows that are left
    outlives = np.zeros((batch, length), int)
    scores = np.full((batch, len(model.encoders), length), np.nan)
    for number, encoder in enumerate(model.encoders):
        attention_probs, value = encoder.attention.attend(word_vectors, mask, encoder.cls_only)
        weighing = value if model.selection == "weighted" else None
        if encoder.cls_only:
            # One query; what it pays to itself does not count, as everywhere.
            received = _from_cls(attention_probs)
        else:
            received = significance_scores(attention_probs, mask, value=weighing)
        _put(scores[:, number], positions, mask, received)
        word_vectors, attention_probs, value, stays = encoder.choose(word_vectors, mask, input_mask)
        context = encoder.attention.gather_heads(attention_probs, value)
        word_vectors = encoder.update(word_vectors, context, stays.get("scale"))
        if "rows" in stays:
            positions = np.take_along_axis(positions, ops.convert_to_numpy(stays["rows"]), axis=1)
        mask = stays["padding_mask"]
        positions = positions[:, : mask.shape[1]]
        _put(outlives, positions, mask, np.full(positions.shape, number + 1))
    pooled = model.get_layer("pooler")(word_vectors[:, 0])
    return EliminationTrace(ops.convert_to_numpy(model.get_layer("classifier")(pooled)), outlives, scores)


def _from_cls(attention_probs):
    """What [CLS] pays to each row but itself, `[B, A, 1, F]` -> `[B, F]`."""
    paid = ops.convert_to_numpy(ops.sum(ops.cast(attention_probs, "float32"), axis=(1, 2)))
    return np.where(np.arange(paid.shape[1]) == 0, 0.0, paid)


def _put(target, positions, mask, values) -> None:
    """`target[b, positions[b, k]] = values[b, k]` where the mask is not 0."""
    example, row = np.nonzero(ops.convert_to_numpy(mask))
    target[example, positions[example, row]] = ops.convert_to_numpy(values)[example, row]
