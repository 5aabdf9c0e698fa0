"""What becomes of each word-vector on its way through a model: its scores, and the encoder that eliminates it."""

import dataclasses

import numpy as np
from keras import ops

from powerbert_tf.elimination.significance import score_rows
from powerbert_tf.models.classifier import INPUTS, BertClassifier


@dataclasses.dataclass(frozen=True, eq=False)
class EliminationTrace:
    """The trace of one batch.

    Attributes:
        logits: `[B, C]`.
        outlives: How many encoders keep each word-vector, `[B, T]` ints from 0 to L; padding 0, [CLS] L. The last
            encoder computes [CLS] only: the rows that it does not keep were still read.
        scores: The score by which each encoder ranks each word-vector, `[B, L, T]`; NaN where it does not reach the
            encoder. An encoder that eliminates nothing does not compute scores; here it has those of the model's
            `selection`. The last encoder ranks nothing: its scores are the attention that [CLS] pays.
    """

    logits: np.ndarray
    outlives: np.ndarray
    scores: np.ndarray


def trace_elimination(model: BertClassifier, inputs: dict[str, np.ndarray]) -> EliminationTrace:
    """Runs a model encoder by encoder and records what each eliminates.

    Args:
        model: With extract layers or without.
        inputs: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]`.

    Raises:
        ValueError: The model has custom slots, which do not say which rows they keep.
    """
    if model.custom_slots:
        raise ValueError("custom_slots are given; expected extract layers, which say which rows they keep.")
    tensors = {name: ops.convert_to_tensor(inputs[name], dtype="int32") for name in INPUTS}
    input_mask = mask = tensors["padding_mask"]
    batch, length = inputs["padding_mask"].shape
    word_vectors = model.get_layer("embeddings")(tensors["token_ids"], tensors["segment_ids"])
    positions = np.broadcast_to(np.arange(length), (batch, length))  # of the rows that are left
    outlives = np.zeros((batch, length), int)
    scores = np.full((batch, len(model.encoders), length), np.nan)
    for number, encoder in enumerate(model.encoders):
        _put(scores[:, number], positions, mask, _scores(model, number, word_vectors, mask))
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


def _scores(model, number, word_vectors, mask):
    """The scores of the rows that reach an encoder, `[B, F]`."""
    encoder = model.encoders[number]
    attention_probs, value = encoder.attention.attend(word_vectors, mask, encoder.cls_only)
    if encoder.cls_only:  # one query; as everywhere, what it pays to itself does not count
        paid = ops.convert_to_numpy(ops.sum(ops.cast(attention_probs, "float32"), axis=(1, 2)))
        return np.where(np.arange(paid.shape[1]) == 0, 0.0, paid)
    if encoder.extract is not None:
        scores = encoder.extract.scores(attention_probs, mask, value)
    else:
        votes = ops.ones_like(mask) if model.padding_queries_vote else mask
        scores = score_rows(
            model.selection, attention_probs, votes, value, max_seq_length=model.max_seq_length, seed=number
        )
    return np.broadcast_to(ops.convert_to_numpy(scores), mask.shape)


def _put(target, positions, mask, values) -> None:
    """`target[b, positions[b, k]] = values[b, k]` where the mask is not 0."""
    example, row = np.nonzero(ops.convert_to_numpy(mask))
    target[example, positions[example, row]] = ops.convert_to_numpy(values)[example, row]
