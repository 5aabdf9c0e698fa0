"""Narrower encoders: a plain slice of their matrices.

A narrowed encoder has fewer heads, or fewer neurons in its feed-forward network. Its matrices lose the columns and rows
of those that left; there is no mask and no other operation. Neurons and heads are brought into an order once
(`ordered`), so that any width is a prefix (`prefix`). `widened` goes back, for formats with one width for all encoders.

Axes: `H` hidden size, `A` heads, `D` size of a head, `I` neurons.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from keras import ops

from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.encoder import EncoderBlock


def take_widths(
    model: BertClassifier, neurons: Sequence[Sequence[int]], heads: Sequence[Sequence[int]]
) -> BertClassifier:
    """A classifier with weights of its own, whose encoders have some neurons and heads of another's.

    Args:
        model: A `BertClassifier`.
        neurons: Numbers of the neurons of each encoder, in their new order.
        heads: Numbers of the heads of each encoder, in their new order.

    Returns:
        A `BertClassifier`. With all neurons and heads, in any order, it computes the same.
    """
    config = dataclasses.replace(
        model.config, neurons=tuple(map(len, neurons)), heads=tuple(map(len, heads)), head_size=model.config.head_size
    )
    narrowed = type(model).from_config({**model.get_config(), "config": dataclasses.asdict(config)})
    for layer in narrowed.layers:
        if not isinstance(layer, EncoderBlock):
            layer.set_weights(model.get_layer(layer.name).get_weights())
    distinct = config.num_encoder_weights
    for source, target, *kept in zip(model.encoders[:distinct], narrowed.encoders, neurons, heads, strict=False):
        _take(source, target, *kept)
    return narrowed


def prefix(
    model: BertClassifier, neurons: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> BertClassifier:
    """A classifier whose encoders have the first neurons and heads of another's, all where None, see `take_widths`."""
    config = model.config
    return take_widths(
        model,
        [range(width) for width in neurons or config.encoder_neurons],
        [range(width) for width in heads or config.encoder_heads],
    )


def widened(model: BertClassifier, intermediate_size: int | None = None) -> BertClassifier:
    """A classifier with weights of its own whose encoders have one width, filled with zeros; `prefix` is the inverse.

    A neuron or head without outgoing weights adds exactly 0, so it computes what `model` computes. Such a head attends
    to all rows alike, which adds the same to the significance score of each, and does not change their order.

    Args:
        model: A `BertClassifier`, narrowed or not.
        intermediate_size: Neurons of each encoder, at least those of the widest; None for the configuration's.

    Returns:
        A `BertClassifier` with all heads.
    """
    width = model.config.intermediate_size if intermediate_size is None else intermediate_size
    config = dataclasses.replace(model.config, intermediate_size=width, neurons=None, heads=None)
    wide = type(model).from_config({**model.get_config(), "config": dataclasses.asdict(config)})
    for source, target in zip(model.weights, wide.weights, strict=True):
        # Queries, keys and values lie side by side.
        parts = 3 if "/query_key_value/" in target.path else 1
        *rows, columns = target.shape
        values = ops.convert_to_numpy(source)
        values = values.reshape(*values.shape[:-1], parts, -1)
        shape = (*rows, parts, columns // parts)
        missing = [(0, size - own) for size, own in zip(shape, values.shape, strict=True)]
        target.assign(np.pad(values, missing).reshape(target.shape))
    return wide


def num_removed(config: BertConfig) -> int:
    """How many weights a narrowed model has fewer than the model at full width."""
    neurons = [config.intermediate_size - width for width in config.encoder_neurons]
    columns = [config.head_columns * (config.num_attention_heads - heads) for heads in config.encoder_heads]
    # Beside its kernels, a neuron has 1 bias, and a column of a head has 3.
    removed = [
        (2 * config.hidden_size + 1) * fewer + (4 * config.hidden_size + 3) * narrower
        for fewer, narrower in zip(neurons, columns, strict=True)
    ]
    return sum(removed[: config.num_encoder_weights])


def _take(source: EncoderBlock, target: EncoderBlock, neurons: Sequence[int], heads: Sequence[int]) -> None:
    attention, config = source.attention, source.config
    columns = head_columns(heads, config.head_columns)
    projected = (3, config.num_attention_heads * config.head_columns)

    def values(variable):
        return ops.convert_to_numpy(variable)

    kernel = values(attention.query_key_value.kernel).reshape(-1, *projected)[:, :, columns]
    bias = values(attention.query_key_value.bias).reshape(projected)[:, columns]
    new = {
        target.attention.query_key_value: (kernel.reshape(len(kernel), -1), bias.ravel()),
        target.attention.output_projection: (
            values(attention.output_projection.kernel)[columns],
            values(attention.output_projection.bias),
        ),
        target.intermediate: (
            values(source.intermediate.kernel)[:, list(neurons)],
            values(source.intermediate.bias)[list(neurons)],
        ),
        target.feed_forward_output: (
            values(source.feed_forward_output.kernel)[list(neurons)],
            values(source.feed_forward_output.bias),
        ),
        target.attention_layer_norm: source.attention_layer_norm.get_weights(),
        target.output_layer_norm: source.output_layer_norm.get_weights(),
    }
    for layer, weights in new.items():
        layer.set_weights(weights)


def head_columns(heads: Sequence[int], head_size: int) -> np.ndarray:
    """The columns of some heads among those of all, `[len(heads) * D]`."""
    return (np.asarray(heads)[:, None] * head_size + np.arange(head_size)).ravel()
