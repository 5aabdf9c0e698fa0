"""ONNX and ONNX Runtime; see `runtimes`."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from powerbert_tf.data.kinds import Kind
from powerbert_tf.export.loading import load_onnx as load
from powerbert_tf.export.onnx_graph import build_onnx
from powerbert_tf.models.classifier import BertClassifier

__all__ = ["load", "write"]


def write(
    model: BertClassifier,
    kind: Kind,
    lengths: Sequence[int],
    folder: Path,
    name: str,
    int8: bool,
    temperature: float = 1.0,
) -> dict[str, int]:
    """Writes `<name>.onnx`, which takes any length, and with `int8` `<name>-int8.onnx`."""
    path, small = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    onnx.save(build_onnx(model, kind, temperature), path)
    if not int8:
        return {path.name: model.max_seq_length}
    # Only products with weights. Weights have 7 bits because processors without VNNI add pairs of products in 16 bits.
    quantize_dynamic(
        path, small, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
    )
    return dict.fromkeys((path.name, small.name), model.max_seq_length)
