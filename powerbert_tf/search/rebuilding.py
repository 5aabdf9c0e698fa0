"""Calibration: what a model's neurons and heads put out on some text, and the narrowed model that comes closest to it.

No labels, no training: forward passes and least squares (`reconstruction`).

Axes: `B` batch, `T` rows of the input, `K` rows that leave a reduced encoder, `H` hidden size, `S` outputs of all heads
of an encoder, `I` neurons.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from powerbert_tf.common.reporting import open_bar
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.encoder import EncoderBlock
from powerbert_tf.models.narrow import head_columns, take_widths
from powerbert_tf.search.importance import order_by_reconstruction
from powerbert_tf.search.reconstruction import Moments, rebuild

Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class EncoderMoments:
    """Moments of one encoder of the dense model; of all encoders together where they share their weights.

    Attributes:
        heads: Of the outputs of its heads, `S`, and what the output projection makes of them.
        neurons: Of its neurons, `I`, and what the feed-forward network adds.
    """

    heads: Moments
    neurons: Moments


class RebuiltWidths:
    """The dense model with its moments: any width of it, rebuilt.

    Attributes:
        model: The dense model, its neurons and heads in the order of their importance; it computes what it did before.

    Args:
        model: A `BertClassifier` that keeps all rows.
        batches: Inputs of the calibration text, arrays `[B, T]` by name.
    """

    def __init__(self, model: BertClassifier, batches: Sequence[Batch]):
        moments = dense_moments(model, batches)
        distinct = model.config.num_encoder_weights
        neurons, heads = [], []
        for encoder, found in zip(model.encoders[:distinct], moments, strict=True):
            kernel = ops.convert_to_numpy(encoder.feed_forward_output.kernel)
            neurons.append(order_by_reconstruction(found.neurons.gram, kernel))
            kernel = ops.convert_to_numpy(encoder.attention.output_projection.kernel)
            heads.append(order_by_reconstruction(found.heads.gram, kernel, model.config.head_columns))
        repeats = len(model.encoders) // distinct
        self.model = take_widths(model, neurons * repeats, heads * repeats)
        size = model.config.head_columns
        self._moments = [
            EncoderMoments(found.heads.of(head_columns(of_heads, size)), found.neurons.of(of_neurons))
            for found, of_neurons, of_heads in zip(moments, neurons, heads, strict=True)
        ]
        self._rebuilt: dict[tuple[int, str, int], tuple[np.ndarray, np.ndarray]] = {}

    def narrowed(self, neurons: Sequence[int], heads: Sequence[int]) -> BertClassifier:
        """The model of some widths, each encoder rebuilt from the dense model's own inputs."""
        config = self.model.config
        model = take_widths(self.model, [np.arange(width) for width in neurons], [np.arange(width) for width in heads])
        for index, encoder in enumerate(model.encoders[: config.num_encoder_weights]):
            if heads[index] < config.num_attention_heads:
                projection = encoder.attention.output_projection
                projection.set_weights(self._solution(index, "heads", heads[index] * config.head_columns, projection))
            if neurons[index] < config.intermediate_size:
                output = encoder.feed_forward_output
                output.set_weights(self._solution(index, "neurons", neurons[index], output))
        return model

    def _solution(self, index: int, part: str, width: int, layer: Any) -> tuple[np.ndarray, np.ndarray]:
        key = (index, part, width)
        if key not in self._rebuilt:
            moments = getattr(self._moments[index], part).of(np.arange(width))
            self._rebuilt[key] = rebuild(moments, ops.convert_to_numpy(layer.kernel))
        return self._rebuilt[key]


def dense_moments(model: BertClassifier, batches: Sequence[Batch]) -> list[EncoderMoments]:
    """Moments of each encoder of a model that keeps all rows; of the last one, [CLS] alone."""
    config = model.config
    moments = [
        EncoderMoments(
            Moments.zeros(config.attention_size, config.hidden_size),
            Moments.zeros(config.intermediate_size, config.hidden_size),
        )
        for _ in range(config.num_encoder_weights)
    ]
    with open_bar(total=len(batches), desc="neurons and heads", unit="batch") as bar:
        for batch in batches:
            for index, step in enumerate(_steps(model, batch)):
                found = moments[index % len(moments)]
                found.heads.add(*step.heads)
                found.neurons.add(*step.neurons)
            bar.update()
    return moments


@dataclasses.dataclass
class _Step:
    heads: tuple[np.ndarray, np.ndarray]
    neurons: tuple[np.ndarray, np.ndarray]


def _steps(model: BertClassifier, batch: Batch) -> Iterator[_Step]:
    """Inputs and outputs of the two products of each encoder, real rows alone."""
    mask = input_mask = ops.convert_to_tensor(batch["padding_mask"], "int32")
    word_vectors = model.get_layer("embeddings")(batch["token_ids"], batch["segment_ids"])
    for encoder in model.encoders:
        word_vectors, attention_probs, value, stays = encoder.choose(word_vectors, mask, input_mask)
        mask = stays["padding_mask"]
        real = ops.convert_to_numpy(mask).ravel() > 0

        def rows(tensor, real=real):
            return ops.convert_to_numpy(ops.reshape(tensor, (-1, tensor.shape[-1])))[real]

        context = encoder.attention.gather_heads(attention_probs, value)
        attended = encoder.attention.output_projection(ops.reshape(context, (-1, context.shape[-1])))
        middle = encoder.add_context(word_vectors, context)
        active = encoder.intermediate(middle)
        yield _Step((rows(context), rows(attended)), (rows(active), rows(encoder.feed_forward_output(active))))
        word_vectors = ops.reshape(encoder.feed_forward(middle), ops.shape(word_vectors))


def rebuild_in_sequence(dense: BertClassifier, reduced: BertClassifier, batches: Sequence[Batch]) -> None:
    """Rebuilds each encoder of a reduced model from its own inputs, the first one first.

    The target of a row is what the dense model has in its place before LayerNorm, so that each product also makes up
    for what the encoders before it, and the rows that left, have changed.

    Args:
        dense: The model before; keeps all rows.
        reduced: A narrower one, which may eliminate rows; its kernels and biases change.
        batches: Inputs of the calibration text, arrays `[B, T]` by name.
    """
    states = [_Pair(dense, reduced, batch) for batch in batches]
    with open_bar(total=2 * len(reduced.encoders), desc="rebuild", unit="product") as bar:
        for full, narrow in zip(dense.encoders, reduced.encoders, strict=True):
            for state in states:
                state.attend(full, narrow)
            _solve(narrow.attention.output_projection, [state.projection_rows() for state in states])
            bar.update()
            for state in states:
                state.add_context(full, narrow)
            _solve(narrow.feed_forward_output, [state.feed_forward_rows(narrow) for state in states])
            bar.update()
            for state in states:
                state.feed_forward(full, narrow)


def _solve(layer: Any, rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    kernel = ops.convert_to_numpy(layer.kernel)
    moments = Moments.zeros(*kernel.shape)
    for inputs, targets in rows:
        moments.add(inputs, targets)
    layer.set_weights(rebuild(moments, kernel))


class _Pair:
    """One batch on its way through both models."""

    def __init__(self, dense: BertClassifier, reduced: BertClassifier, batch: Batch):
        self._input_mask = ops.convert_to_tensor(batch["padding_mask"], "int32")
        self._full_mask = self._mask = self._input_mask
        self._full = dense.get_layer("embeddings")(batch["token_ids"], batch["segment_ids"])
        self._narrow = reduced.get_layer("embeddings")(batch["token_ids"], batch["segment_ids"])
        batch_size, length = batch["token_ids"].shape
        self._places = np.broadcast_to(np.arange(length), (batch_size, length))  # of the reduced model's rows

    def attend(self, full: EncoderBlock, narrow: EncoderBlock) -> None:
        word_vectors, probs, value, stays = full.choose(self._full, self._full_mask, self._input_mask)
        self._full, self._full_mask = word_vectors, stays["padding_mask"]
        context = full.attention.gather_heads(probs, value)
        self._full_sum = word_vectors + ops.reshape(
            full.attention.output_projection(_flat(context)), ops.shape(word_vectors)
        )
        word_vectors, probs, value, stays = narrow.choose(self._narrow, self._mask, self._input_mask)
        self._narrow, self._mask = word_vectors, stays["padding_mask"]
        self._context = narrow.attention.gather_heads(probs, value)
        if "rows" in stays:
            self._places = np.take_along_axis(self._places, ops.convert_to_numpy(stays["rows"]), axis=1)
        elif narrow.cls_only:
            self._places = self._places[:, :1]
        self._real = ops.convert_to_numpy(self._mask).ravel() > 0

    def projection_rows(self) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(self._context), self._rows(self._of_places(self._full_sum) - self._narrow)

    def add_context(self, full: EncoderBlock, narrow: EncoderBlock) -> None:
        shape = ops.shape(self._full)
        self._full = ops.reshape(full.attention_layer_norm(_flat(self._full_sum)), shape)
        self._narrow = ops.reshape(narrow.add_context(self._narrow, self._context), ops.shape(self._narrow))
        update = full.feed_forward_output(full.intermediate(_flat(self._full)))
        self._full_sum = self._full + ops.reshape(update, shape)

    def feed_forward_rows(self, narrow: EncoderBlock) -> tuple[np.ndarray, np.ndarray]:
        active = narrow.intermediate(_flat(self._narrow))
        return ops.convert_to_numpy(active)[self._real], self._rows(self._of_places(self._full_sum) - self._narrow)

    def feed_forward(self, full: EncoderBlock, narrow: EncoderBlock) -> None:
        self._full = ops.reshape(full.output_layer_norm(_flat(self._full_sum)), ops.shape(self._full))
        self._narrow = ops.reshape(narrow.feed_forward(_flat(self._narrow)), ops.shape(self._narrow))

    def _of_places(self, tensor: Any) -> Any:
        return np.take_along_axis(ops.convert_to_numpy(tensor), self._places[:, :, None], axis=1)

    def _rows(self, tensor: Any) -> np.ndarray:
        return np.asarray(_flat(tensor))[self._real]


def _flat(tensor: Any) -> Any:
    return ops.reshape(tensor, (-1, tensor.shape[-1]))
