"""The classifier as an ONNX graph, written node by node from its weights.

`SCORE_WRITERS` says how each score of `elimination.significance` is written, by the same names. Static scores need no
writer: they become constants.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, Kind
from powerbert_tf.elimination.extract import Extract
from powerbert_tf.elimination.retention import PARTS, parts_of
from powerbert_tf.elimination.significance import RANKED_FIRST, RANKED_LAST, find_score
from powerbert_tf.models.classifier import INPUTS, BertClassifier
from powerbert_tf.models.config import BertConfig

OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # that came with it: readers of that age take the file
_LINKS = {"softmax": "Softmax", "sigmoid": "Sigmoid"}  # operator of each `Kind.link`


class GraphWriter:
    """Collects the nodes and constants of a graph; a tensor is known by its name, a constant is kept once."""

    def __init__(self):
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[Any, onnx.TensorProto] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns its first output."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds a node of as many outputs; returns them."""
        name = f"{operator}_{len(self._nodes)}"
        outputs = [f"{name}:{number}" for number in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs

    def constant(self, values: Any, dtype: str = "int64") -> str:
        """A small constant: an axis, a size, a number."""
        array = np.asarray(values, dtype)
        return self.weight((array.tobytes(), array.dtype.str, array.shape), array, "constant")

    def weight(self, key: Any, array: np.ndarray, title: str) -> str:
        """A constant, kept once for each key."""
        if key not in self._constants:
            name = f"{title}_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def size(self, tensor: str, axis: int) -> str:
        """The size of an axis, int64 `[1]`."""
        return self.node("Shape", tensor, start=axis, end=axis + 1)

    def range(self, size: str) -> str:
        """0, 1, … up to a size, int64 `[1]`, without it."""
        zero, one = self.constant(0), self.constant(1)
        return self.node("Range", zero, self.node("Squeeze", size, self.constant([0])), one)

    def shape(self, *sizes: int | str) -> str:
        """A shape, int64, of sizes that are numbers, or int64 `[1]`."""
        parts = [size if isinstance(size, str) else self.constant([size]) for size in sizes]
        return self.node("Concat", *parts, axis=0)

    def reshape(self, tensor: str, *sizes: int | str) -> str:
        """Reshapes; sizes are numbers, or int64 `[1]`."""
        return self.node("Reshape", tensor, self.shape(*sizes))

    def unsqueeze(self, tensor: str, *axes: int) -> str:
        """Inserts axes of size 1."""
        return self.node("Unsqueeze", tensor, self.constant(axes))

    def cast(self, tensor: str, dtype: str) -> str:
        """Casts."""
        return self.node("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(self, output: str, axes: Sequence[Any], tensor: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The graph as a model that has passed ONNX's checker: inputs are `INPUTS`, int32 `[batch, length]`.

        The tensor becomes the output, which is called `output`, float32 with these axes.

        Raises:
            onnx.checker.ValidationError: The graph is not valid ONNX.
        """
        self._nodes.append(helper.make_node("Identity", [tensor], [output], "answers"))
        inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT32, ["batch", "length"]) for name in INPUTS]
        outputs = [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, axes)]
        graph = helper.make_graph(self._nodes, "powerbert", inputs, outputs, [*self._constants.values()])
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="powerbert_tf")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


def _significance(graph: GraphWriter, probs: str, votes: str, value: str | None, size: str) -> str:
    """Attention that each row receives from the others, weighted by the norms of the values, if any."""
    received = graph.node("MatMul", graph.unsqueeze(votes, 1, 2), probs)  # [B, A, 1, F]
    received = graph.node("Squeeze", received, graph.constant([2]))
    # The diagonal: of F * F numbers every (F + 1)th.
    places = graph.node("Mul", graph.range(size), graph.node("Add", size, graph.constant(1)))
    flat = graph.reshape(probs, 0, 0, graph.node("Mul", size, size))  # 0 keeps an axis
    own = graph.node("Mul", graph.node("Gather", flat, places, axis=2), graph.unsqueeze(votes, 1))
    from_others = graph.node("Sub", received, own)  # [B, A, F]
    if value is not None:
        norms = graph.node("ReduceL2", value, graph.constant([3]), keepdims=0)
        from_others = graph.node("Mul", from_others, norms)
    return graph.node("ReduceSum", from_others, graph.constant([1]), keepdims=0)


# Score -> a function that adds its nodes to a graph: attention probabilities `[B, A, F, F]`, votes `[B, F]`, values
# `[B, A, F, D]` (float32) and F (int64 `[1]`) -> scores `[B, F]` float32, each by the name of its tensor.
SCORE_WRITERS: dict[str, Callable[[GraphWriter, str, str, str, str], str]] = {
    "attention": lambda graph, probs, votes, value, size: _significance(graph, probs, votes, None, size),
    "weighted": _significance,
}


def check_score(selection: str) -> None:
    """Checks that models with a score can be written.

    Raises:
        InputError: There is neither a writer of this name nor a static score.
    """
    if not find_score(selection).is_static and selection not in SCORE_WRITERS:
        raise InputError(
            f"selection={selection!r} has no ONNX writer; expected one of {', '.join(SCORE_WRITERS)}, a static score, "
            "or a name that was added to powerbert_tf.export.onnx_graph.SCORE_WRITERS."
        )


_CLOSED = 1.0e9  # subtracted from masked attention scores, as in `encoder._attention_bias`


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows that reach an encoder.

    Attributes:
        vectors: `[B, F, H]`.
        mask: `[B, F]` float32, 1 for a token and 0 for padding.
        size: F, int64 `[1]`.
    """

    vectors: str
    mask: str
    size: str


def build_onnx(model: BertClassifier, kind: Kind = CLASSES, temperature: float = 1.0) -> onnx.ModelProto:
    """An ONNX model: `token_ids`, `segment_ids`, `padding_mask`, int32 `[B, T]` -> answers, float32.

    B is any number, T any up to N. Answers are `probabilities` `[B, C]`, or `scores` `[B]` of a regression.

    Args:
        model: Dense, or with extract layers.
        kind: What the logits mean.
        temperature: What they are divided by.

    Raises:
        InputError: The score of the model has no writer.
        ValueError: The slots hold layers of a search, or the user's own.
    """
    if model.slots:
        check_score(model.selection)
    if model.gates:
        raise ValueError(f"gates on {', '.join(model.gates)}; expected none: models of a search cannot be exported.")
    if model.custom_slots:
        raise ValueError("custom_slots are given; expected extract layers: ONNX cannot hold layers of your own.")
    return _Writer(model).write(kind, temperature)


class _Writer:
    """Writes one model, layer by layer as `models.encoder` and `elimination.extract` compute it."""

    def __init__(self, model: BertClassifier):
        self._model, self._config = model, model.config
        self._graph = GraphWriter()

    def write(self, kind: Kind, temperature: float) -> onnx.ModelProto:
        graph = self._graph
        token_ids, segment_ids, padding_mask = INPUTS
        length = graph.size(token_ids, 1)
        rows = _Rows(
            self._embeddings(token_ids, segment_ids, length),
            graph.cast(padding_mask, "float32"),
            length,
        )
        # Tokens of each example, int64 [B, 1], which fractions refer to.
        own = graph.node("ReduceSum", graph.cast(padding_mask, "int64"), graph.constant([1]), keepdims=1)
        for encoder in self._model.encoders:
            rows = self._encoder(encoder, rows, length, own)
        cls = graph.node("Gather", rows.vectors, graph.constant(0), axis=1)  # [B, H]
        pooled = self._dense(self._model.get_layer("pooler"), cls, self._config.pooler_act)
        logits = self._dense(self._model.get_layer("classifier"), pooled)
        if kind.link:
            scaled = graph.node("Div", logits, graph.constant(temperature, "float32")) if temperature != 1 else logits
            axes, answers = ["batch", self._model.num_classes], graph.node(_LINKS[kind.link], scaled)
        else:
            axes, answers = ["batch"], graph.node("Squeeze", logits, graph.constant([1]))
        return graph.finish(kind.output, axes, answers, {"max_seq_length": str(self._model.max_seq_length)})

    def _weight(self, variable: Any, part: slice | None = None, scale: np.ndarray | None = None) -> str:
        """A weight, or some of its columns, scaled. Encoders that share weights share the constant."""
        columns = None if part is None else (part.start, part.stop)
        values = np.asarray(keras.ops.convert_to_numpy(variable.value), "float32")
        values = values if scale is None else values * scale
        values = values if part is None else values[..., part]
        return self._graph.weight((id(variable), columns), values, "weight")

    def _product(self, layer: Any, rows: str, part: slice | None = None, scale: np.ndarray | None = None) -> str:
        """A dense layer without activation, or some of its outputs."""
        product = self._graph.node("MatMul", rows, self._weight(layer.kernel, part, scale))
        return self._graph.node("Add", product, self._weight(layer.bias, part, scale))

    def _dense(self, layer: Any, rows: str, activation: str | None = None) -> str:
        outputs = self._product(layer, rows)
        return outputs if activation is None else self._activation(outputs, activation)

    def _activation(self, rows: str, activation: str) -> str:
        graph = self._graph
        if activation == "gelu":
            return graph.node("Gelu", rows, approximate="none")
        if activation in ("gelu_new", "gelu_pytorch_tanh"):
            return graph.node("Gelu", rows, approximate="tanh")
        if activation == "silu":
            return graph.node("Mul", rows, graph.node("Sigmoid", rows))
        return graph.node({"relu": "Relu", "tanh": "Tanh"}[activation], rows)

    def _layer_norm(self, layer: Any, rows: str) -> str:
        weights = (self._weight(layer.gamma), self._weight(layer.beta))
        return self._graph.node("LayerNormalization", rows, *weights, axis=-1, epsilon=self._config.layer_norm_eps)

    def _embeddings(self, token_ids: str, segment_ids: str, length: str) -> str:
        graph, config = self._graph, self._config
        layer = self._model.get_layer("embeddings")
        vectors = graph.node("Gather", self._weight(layer.word_embeddings), token_ids, axis=0)
        first = config.position_offset
        used = np.asarray(keras.ops.convert_to_numpy(layer.position_embeddings.value), "float32")[first:]
        if config.type_vocab_size == 1:
            used = used + keras.ops.convert_to_numpy(layer.segment_embeddings.value)[0]
        positions = graph.weight("positions", used[: self._model.max_seq_length], "weight")
        vectors = graph.node(
            "Add", vectors, graph.node("Slice", positions, graph.constant([0]), length, graph.constant([0]))
        )
        if config.type_vocab_size > 1:
            segments = graph.node("Gather", self._weight(layer.segment_embeddings), segment_ids, axis=0)
            vectors = graph.node("Add", vectors, segments)
        vectors = self._layer_norm(layer.layer_norm, vectors)
        return self._dense(layer.projection, vectors) if config.has_projection else vectors

    def _heads(self, projected: str, config: BertConfig, parts: int, size: int | str) -> list[str]:
        """`[B, F, parts * A * D]` -> a list of `[B, A, F, D]`, with one transposition for all."""
        graph, heads = self._graph, config.num_attention_heads
        split = graph.reshape(projected, -1, size, parts * heads, config.head_columns)
        split = graph.node("Transpose", split, perm=[0, 2, 1, 3])
        return graph.nodes("Split", parts, split, axis=1, num_outputs=parts) if parts > 1 else [split]

    def _query_key_value(self, encoder: Any, rows: _Rows) -> list[str]:
        """`[B, A, Q, D]`, and twice `[B, A, F, D]`. The weights of the query include its scale."""
        graph, config = self._graph, encoder.config
        layer, columns = encoder.attention.query_key_value, config.attention_size
        scale = np.ones(3 * columns, "float32")
        scale[:columns] = config.head_columns**-0.5
        if not encoder.cls_only:
            return self._heads(self._product(layer, rows.vectors, scale=scale), config, 3, rows.size)
        cls = graph.node("Gather", rows.vectors, graph.constant([0]), axis=1)
        query = self._heads(self._product(layer, cls, slice(0, columns), scale), config, 1, 1)
        key_value = self._product(layer, rows.vectors, slice(columns, 3 * columns), scale)
        return query + self._heads(key_value, config, 2, rows.size)

    def _encoder(self, encoder: Any, rows: _Rows, length: str, own: str) -> _Rows:
        graph = self._graph
        query, key, value = self._query_key_value(encoder, rows)
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 1, 3, 2]))  # [B, A, Q, F]
        one, closed = graph.constant(1, "float32"), graph.constant(_CLOSED, "float32")
        bias = graph.node("Mul", graph.node("Sub", rows.mask, one), closed)
        scores = graph.node("Add", scores, graph.unsqueeze(bias, 1, 2))
        probs = graph.node("Softmax", scores, axis=-1)

        if encoder.cls_only:
            first = graph.constant([0])
            cls, mask = (graph.node("Gather", tensor, first, axis=1) for tensor in (rows.vectors, rows.mask))
            kept = _Rows(cls, mask, graph.constant([1]))
        elif encoder.extract is None:
            kept = rows
        else:
            probs, kept = self._extract(encoder, probs, value, rows, length, own)
        context = graph.node("Transpose", graph.node("MatMul", probs, value), perm=[0, 2, 1, 3])  # [B, K, A, D]
        context = graph.reshape(context, -1, kept.size, encoder.config.attention_size)
        attended = self._product(encoder.attention.output_projection, context)
        vectors = self._layer_norm(encoder.attention_layer_norm, graph.node("Add", attended, kept.vectors))
        update = self._dense(encoder.intermediate, vectors, self._config.hidden_act)
        update = self._product(encoder.feed_forward_output, update)
        vectors = self._layer_norm(encoder.output_layer_norm, graph.node("Add", update, vectors))
        return dataclasses.replace(kept, vectors=vectors)

    def _extract(self, encoder: Any, probs: str, value: str, rows: _Rows, length: str, own: str) -> tuple[str, _Rows]:
        """The rows that stay, and their attention probabilities, `[B, A, K, F]`."""
        slot = encoder.extract
        if not isinstance(slot, Extract):
            raise ValueError(f"slot {type(slot).__name__}; expected Extract: models of a search cannot be exported.")
        graph = self._graph
        if isinstance(slot.num_kept, float):
            parts, unit = graph.constant(parts_of(slot.num_kept)), graph.constant(PARTS)
            above = graph.node("Add", graph.node("Mul", length, parts), graph.constant(PARTS - 1))
            num_kept = graph.node("Div", above, unit)
            order = self._top(self._ranking_scores(slot, probs, value, rows), num_kept, largest=1)[1]  # [B, K]
            # rank < ceil(f n), without dividing n: OpenVINO would round, not floor.
            rank = graph.node("Mul", graph.range(num_kept), unit)
            is_own = graph.node("Less", rank, graph.node("Mul", own, parts))  # [B, K]
            numbers = self._top(graph.node("Where", is_own, order, rows.size), num_kept, largest=0)[0]
            last = graph.node("Sub", rows.size, graph.constant(1))
            numbers, mask = graph.node("Min", numbers, last), graph.cast(is_own, "float32")
        else:
            num_kept = graph.node("Min", graph.constant([slot.num_kept]), rows.size)
            order = self._top(self._ranking_scores(slot, probs, value, rows), num_kept, largest=1)[1]
            numbers = self._top(order, num_kept, largest=0)[0]
            mask = graph.node("GatherElements", rows.mask, numbers, axis=1)
        batch, heads = graph.size(rows.mask, 0), encoder.config.num_attention_heads
        vectors = self._pick(rows.vectors, self._config.hidden_size, numbers, [batch], rows.size)
        probs = self._pick(probs, rows.size, graph.unsqueeze(numbers, 1), [batch, heads], rows.size)
        return probs, _Rows(vectors, mask, num_kept)

    def _top(self, values: str, number: str, largest: int) -> list[str]:
        """The largest or smallest values and their places, `[B, number]` each; the earlier of equals first."""
        return self._graph.nodes("TopK", 2, values, number, axis=-1, largest=largest, sorted=1)

    def _ranking_scores(self, slot: Extract, probs: str, value: str, rows: _Rows) -> str:
        """Scores `[B, F]`, with padding below and [CLS] above every other row."""
        graph, score = self._graph, find_score(slot.selection)
        if score.is_static:
            positions = graph.weight(
                (slot.selection, slot.seed), score.of_positions(slot.max_seq_length, slot.seed), "scores"
            )
            scores = graph.node("Slice", positions, graph.constant([0]), rows.size, graph.constant([0]))
        else:
            votes = rows.mask
            if slot.padding_queries_vote:
                votes = graph.node("Max", votes, graph.constant(1, "float32"))
            scores = SCORE_WRITERS[slot.selection](graph, probs, votes, value, rows.size)
        scores = graph.node("Where", graph.cast(rows.mask, "bool"), scores, graph.constant(RANKED_LAST, "float32"))
        is_cls = graph.node("Equal", graph.range(rows.size), graph.constant(0))
        return graph.node("Where", is_cls, graph.constant(RANKED_FIRST, "float32"), scores)

    def _pick(self, tensor: str, width: int | str, numbers: str, outer: list, size: str) -> str:
        """Rows of each example, or of each of its heads, by one flat gather.

        Args:
            tensor: `[*outer, F, width]`.
            width: Size of a row.
            numbers: Which rows, `[B, K]`, or `[B, 1, K]` for heads.
            outer: Sizes before the rows: of the batch, and of the heads, if any.
            size: F.
        """
        graph = self._graph
        groups = graph.node("Mul", outer[0], graph.constant([outer[1]])) if len(outer) > 1 else outer[0]
        first = graph.reshape(graph.node("Mul", graph.range(groups), size), *outer, 1)
        return graph.node("Gather", graph.reshape(tensor, -1, width), graph.node("Add", numbers, first), axis=0)
