"""What the paper's figures show of the inside of a fine-tuned model.

Axes: `B` batch, `T` rows, `H` hidden size, `L` encoders.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from powerbert_tf.elimination.significance import ranking_scores, ranks, significance_scores
from powerbert_tf.models.classifier import INPUTS, BertClassifier

Inputs = Mapping[str, np.ndarray]


def cosine_similarities(dense: BertClassifier, batches: Iterable[Inputs]) -> list[float]:
    """Mean cosine of two word-vectors of an example, of the embeddings and after each encoder, `[L + 1]`.

    All pairs of an example's own word-vectors count, [CLS] and [SEP] among them; examples weigh alike.
    """
    # Soft-extract that ranks [CLS] like any other needs all rows, and multiplies them by r = 1.
    model = dense.with_slots(soft_extract=True, pin_cls=False)
    total, count = np.zeros(len(model.encoders) + 1), 0
    for batch in batches:
        mask = np.asarray(batch["padding_mask"])
        states = [_mean_cosines(ops.convert_to_numpy(state), mask) for state in _states(model, batch)]
        alone = mask.sum(axis=1) < 2
        total += np.sum(np.array(states)[:, ~alone], axis=1)
        count += int(np.sum(~alone))
    return (total / count).tolist()


def _states(model: BertClassifier, batch: Inputs) -> Iterator[Any]:
    """Word-vectors `[B, T, H]` of the embeddings, and after each encoder."""
    tensors = {name: ops.convert_to_tensor(batch[name], dtype="int32") for name in INPUTS}
    mask = tensors["padding_mask"]
    state = model.get_layer("embeddings")(tensors["token_ids"], tensors["segment_ids"])
    yield state
    for encoder in model.encoders:
        state, mask = encoder(state, mask, tensors["padding_mask"])
        yield state


def _mean_cosines(state: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over the pairs of each example, `[B]`; NaN where it has no two word-vectors."""
    units = state / np.linalg.norm(state, axis=-1, keepdims=True) * mask[:, :, None]
    n = mask.sum(axis=1)
    with np.errstate(invalid="ignore"):
        # |sum of units|^2 counts each pair twice, and each unit with itself once.
        return (np.sum(np.sum(units, axis=1) ** 2, axis=-1) - n) / (n * (n - 1))


def logits_without(dense: BertClassifier, batch: Inputs, encoder: int, eliminated: Sequence[int]) -> list[np.ndarray]:
    """Logits where one word-vector alone is eliminated at one encoder, its k-th most significant.

    Args:
        dense: The fine-tuned model.
        batch: Inputs.
        encoder: Which, from 0; not the last.
        eliminated: Ranks k, each for itself; 0 is [CLS].

    Returns:
        Logits `[B, C]` for each k. Examples with fewer word-vectors keep all.
    """
    tensors = {name: ops.convert_to_tensor(batch[name], dtype="int32") for name in INPUTS}
    input_mask = tensors["padding_mask"]
    state = dense.get_layer("embeddings")(tensors["token_ids"], tensors["segment_ids"])
    for block in dense.encoders[:encoder]:
        state, _ = block(state, input_mask, input_mask)
    block = dense.encoders[encoder]
    attention_probs, _ = block.attention.attend(state, input_mask, False)
    rank = ranks(ranking_scores(significance_scores(attention_probs, input_mask), input_mask))
    state, _ = block(state, input_mask, input_mask)
    found = []
    for k in eliminated:
        # To later encoders a masked row is a row that is not there.
        after, mask = state, input_mask * ops.cast(rank != k, input_mask.dtype)
        for later in dense.encoders[encoder + 1 :]:
            after, mask = later(after, mask, input_mask)
        found.append(ops.convert_to_numpy(dense.get_layer("classifier")(dense.get_layer("pooler")(after[:, 0]))))
    return found


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two answers `[n]`, class numbers, in nats: sum p(x, y) log(p(x, y) / p(x) p(y))."""
    size = int(max(first.max(), second.max())) + 1
    joint = np.bincount(first * size + second, minlength=size**2).reshape(size, size) / len(first)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])))


def first_encoders(dense: BertClassifier, count: int) -> BertClassifier:
    """The dense model of the first encoders, with the same pooler and head; weights are shared, not copied."""
    config = dataclasses.replace(dense.config, num_hidden_layers=count)
    return BertClassifier(config, dense.num_classes, dense.max_seq_length, shared=dense)
