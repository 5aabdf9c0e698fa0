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
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.encoder import EncoderBlock
from powerbert_tf.models.narrow import head_columns, prefix, take_widths
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
        batches: Inputs of the calibration text, arrays `[B, T]` by name; none for a model that was trained to be sliced
            (`training.elastic`), whose order and weights stay as they are.
    """

    def __init__(self, model: BertClassifier, batches: Sequence[Batch]):
        self._rebuilt: dict[tuple[int, str, int], tuple[np.ndarray, np.ndarray]] = {}
        self._scratch: BertClassifier | None = None
        self._moments: list[EncoderMoments] = []
        self.model = model
        if batches:
            self._order(dense_moments(model, batches))

    def _order(self, moments: Sequence[EncoderMoments]) -> None:
        model = self.model
        neurons, heads = importance_orders(model, moments)
        self.model = take_widths(model, neurons, heads)
        size = model.config.head_columns
        self._moments = [
            EncoderMoments(found.heads.of(head_columns(of_heads, size)), found.neurons.of(np.array(of_neurons)))
            for found, of_neurons, of_heads in zip(moments, neurons, heads, strict=False)
        ]

    def narrowed(self, neurons: Sequence[int] | None, heads: Sequence[int] | None) -> BertClassifier:
        """The model of some widths, all where None, each encoder rebuilt from the dense model's own inputs."""
        config = self.model.config
        model = prefix(self.model, neurons, heads)
        for index, encoder in enumerate(model.encoders[: config.num_encoder_weights]):
            for part, full in (("heads", config.attention_size), ("neurons", config.intermediate_size)):
                product = _product(encoder, part)
                kernel, bias = product.get_weights()
                if len(kernel) < full:
                    product.set_weights(self._solution(index, part, kernel, bias))
        return model

    def zero_filled(self, neurons: Sequence[int], heads: Sequence[int]) -> BertClassifier:
        """What `narrowed` computes, at full width: removed neurons and heads have outgoing weights of 0.

        All calls return the same model, with other weights: it is for trying many widths, of which none is kept.
        """
        config = self.model.config
        if self._scratch is None:
            self._scratch = prefix(self.model)  # a copy
        for index in range(config.num_encoder_weights):
            self._fill(self._scratch.encoders[index], index, "neurons", neurons[index])
            self._fill(self._scratch.encoders[index], index, "heads", heads[index])
        return self._scratch

    def zero_filled_encoder(self, index: int, name: str, width: int) -> EncoderBlock:
        """One encoder of `zero_filled`, with `width` neurons or heads, as `name` says, and all of the other."""
        config = self.model.config
        widths = {"neurons": list(config.encoder_neurons), "heads": list(config.encoder_heads)}
        widths[name][index % config.num_encoder_weights] = width
        return self.zero_filled(**widths).encoders[index]

    def _fill(self, encoder: EncoderBlock, index: int, part: str, width: int) -> None:
        original = _product(self.model.encoders[index], part)
        columns = width * (1 if part == "neurons" else self.model.config.head_columns)
        kernel, bias = original.get_weights()
        if columns < len(kernel):
            rebuilt, bias = self._solution(index, part, kernel[:columns], bias)
            kernel = np.concatenate([rebuilt, np.zeros_like(kernel[columns:])])
        _product(encoder, part).set_weights([kernel, bias])

    def _solution(self, index: int, part: str, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of the first columns of a product, which had these before the others left."""
        if not self._moments:
            return kernel, bias
        key = (index, part, len(kernel))
        if key not in self._rebuilt:
            moments = getattr(self._moments[index], part).of(np.arange(len(kernel)))
            self._rebuilt[key] = rebuild(moments, kernel)
        return self._rebuilt[key]


def _product(encoder: EncoderBlock, part: str) -> Any:
    """The dense layer that `"heads"` or `"neurons"` go into."""
    return encoder.attention.output_projection if part == "heads" else encoder.feed_forward_output


def importance_orders(
    model: BertClassifier, moments: Sequence[EncoderMoments]
) -> tuple[list[list[int]], list[list[int]]]:
    """Numbers of the neurons and of the heads of each encoder, the most important first."""
    config = model.config
    neurons, heads = [], []
    for encoder, found in zip(model.encoders, moments, strict=False):
        kernel = ops.convert_to_numpy(encoder.feed_forward_output.kernel)
        neurons.append(order_by_reconstruction(found.neurons.gram, kernel).tolist())
        kernel = ops.convert_to_numpy(encoder.attention.output_projection.kernel)
        heads.append(order_by_reconstruction(found.heads.gram, kernel, config.head_columns).tolist())
    repeats = config.num_hidden_layers // config.num_encoder_weights
    return neurons * repeats, heads * repeats


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
            return _numpy(ops.reshape(tensor, (-1, tensor.shape[-1])))[real]

        context = encoder.attention.gather_heads(attention_probs, value)
        attended = encoder.attention.output_projection(ops.reshape(context, (-1, context.shape[-1])))
        middle = encoder.add_context(word_vectors, context)
        active = encoder.intermediate(middle)
        yield _Step((rows(context), rows(attended)), (rows(active), rows(encoder.feed_forward_output(active))))
        word_vectors = ops.reshape(encoder.feed_forward(middle), ops.shape(word_vectors))


def rebuild_in_sequence(dense: BertClassifier, reduced: BertClassifier, batches: Sequence[Batch]) -> None:
    """Rebuilds each encoder of a reduced model from its own inputs, the first one first.

    The target of a row is what the dense model has in its place before LayerNorm, so that each product also makes up
    for what the encoders before it, and the rows that left, have changed. The last encoder keeps its weights: it has
    one row for each example, and would fit noise. So do encoders that share them, for which no one solution is right.

    Args:
        dense: The model before; keeps all rows.
        reduced: A narrower one, which may eliminate rows; its kernels and biases change.
        batches: Inputs of the calibration text, arrays `[B, T]` by name.
    """
    if reduced.config.shares_encoders:
        return
    states = [_Pair(dense, reduced, batch) for batch in batches]
    with open_bar(total=2 * len(reduced.encoders) - 2, desc="rebuild", unit="product") as bar:
        for full, narrow in zip(dense.encoders[:-1], reduced.encoders, strict=False):
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


def with_reduction(
    model: BertClassifier, reduction: Reduction, batches: Sequence[Batch] = (), **kwargs
) -> BertClassifier:
    """A model whose encoders keep some of another's word-vectors, neurons and heads.

    Args:
        model: A `BertClassifier` at full width that keeps all rows.
        reduction: What each encoder keeps.
        batches: Inputs of some text, `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` each, some 10,000
            tokens in all. With it, the neurons and heads that matter least leave, and what they contributed is rebuilt
            by least squares, see `rebuild_in_sequence`; without it, the last ones leave.
        **kwargs: Such as `selection`; the others stay as they are.

    Returns:
        A `BertClassifier`. If it is narrower it has weights of its own, otherwise it shares those of `model`.

    Raises:
        InputError: `reduction` does not fit.

    Example:
        >>> model = powerbert_tf.load_classifier("classifier", num_classes=3, max_seq_length=23)
        >>> reduction = powerbert_tf.Reduction((0.9, 0.6, 0.3), neurons=(11, 7, 7))
        >>> powerbert_tf.with_reduction(model, reduction).reduction == reduction
        True
    """
    if not reduction.is_narrowed:
        return with_retention(model, reduction.rows, **kwargs)
    narrow = RebuiltWidths(model, batches).narrowed(reduction.neurons, reduction.heads)
    reduced = with_retention(narrow, reduction.rows, **kwargs)
    if batches:
        rebuild_in_sequence(model, reduced, batches)
    return reduced


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
        self._real = ops.convert_to_numpy(self._mask).ravel() > 0

    def projection_rows(self) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(self._context), self._target()

    def add_context(self, full: EncoderBlock, narrow: EncoderBlock) -> None:
        shape = ops.shape(self._full)
        self._full = ops.reshape(full.attention_layer_norm(_flat(self._full_sum)), shape)
        self._narrow = ops.reshape(narrow.add_context(self._narrow, self._context), ops.shape(self._narrow))
        update = full.feed_forward_output(full.intermediate(_flat(self._full)))
        self._full_sum = self._full + ops.reshape(update, shape)

    def feed_forward_rows(self, narrow: EncoderBlock) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(narrow.intermediate(_flat(self._narrow))), self._target()

    def feed_forward(self, full: EncoderBlock, narrow: EncoderBlock) -> None:
        self._full = ops.reshape(full.output_layer_norm(_flat(self._full_sum)), ops.shape(self._full))
        self._narrow = ops.reshape(narrow.feed_forward(_flat(self._narrow)), ops.shape(self._narrow))

    def _target(self) -> np.ndarray:
        """What the product of the reduced model should add to its rows, `[n, H]`."""
        full = np.take_along_axis(_numpy(self._full_sum), self._places[:, :, None], axis=1)
        return self._rows(full) - self._rows(self._narrow)

    def _rows(self, tensor: Any) -> np.ndarray:
        """Real rows alone."""
        return _numpy(_flat(tensor))[self._real]


def _numpy(tensor: Any) -> np.ndarray:
    """A tensor of any precision in float32, in which NumPy multiplies."""
    return np.asarray(ops.convert_to_numpy(tensor), "float32")


def _flat(tensor: Any) -> Any:
    return ops.reshape(tensor, (-1, tensor.shape[-1]))
