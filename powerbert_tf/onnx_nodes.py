"""Writing an ONNX graph node by node: names are given out here, constants are kept once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # that came with it: readers of that age take the file


class GraphWriter:
    """Nodes and constants of a graph to be; a tensor is known by its name."""

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
        """A constant that is kept once for each key."""
        if key not in self._constants:
            name = f"{title}_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def size(self, tensor: str, axis: int) -> str:
        """Its size along an axis, int64 `[1]`."""
        return self.node("Shape", tensor, start=axis, end=axis + 1)

    def range(self, size: str) -> str:
        """0, 1, … below a size that is int64 `[1]`."""
        zero, one = self.constant(0), self.constant(1)
        return self.node("Range", zero, self.node("Squeeze", size, self.constant([0])), one)

    def shape(self, *sizes: int | str) -> str:
        """A shape of numbers and of sizes that are int64 `[1]`."""
        parts = [size if isinstance(size, str) else self.constant([size]) for size in sizes]
        return self.node("Concat", *parts, axis=0)

    def reshape(self, tensor: str, *sizes: int | str) -> str:
        """`tensor` in a shape of numbers and of sizes that are int64 `[1]`."""
        return self.node("Reshape", tensor, self.shape(*sizes))

    def unsqueeze(self, tensor: str, *axes: int) -> str:
        """`tensor` with axes of size 1 more."""
        return self.node("Unsqueeze", tensor, self.constant(axes))

    def cast(self, tensor: str, dtype: str) -> str:
        """`tensor` in another type."""
        return self.node("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(
        self,
        name: str,
        inputs: Sequence[tuple[str, str, Sequence[str]]],
        output: tuple[str, str, Sequence[Any]],
        tensor: str,
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The graph as a model, checked.

        Args:
            name: Of the graph.
            inputs: Name, dtype and axes of each.
            output: The same of the output.
            tensor: What comes out.
            metadata: Properties of the model.

        Raises:
            onnx.checker.ValidationError: It is no valid ONNX.
        """
        self._nodes.append(helper.make_node("Identity", [tensor], [output[0]], "answers"))

        def describe(value):
            name, dtype, axes = value
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), axes)

        graph = helper.make_graph(
            self._nodes, name, [describe(value) for value in inputs], [describe(output)], [*self._constants.values()]
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="powerbert_tf")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
