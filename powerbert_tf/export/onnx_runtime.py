"""ONNX, and ONNX Runtime."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from powerbert_tf.export.onnx_graph import build_onnx
from powerbert_tf.models.classifier import BertClassifier


def write(
    model: BertClassifier, is_regression: bool, lengths: Sequence[int], folder: Path, name: str, int8: bool
) -> dict[str, int]:
    """Writes `<name>.onnx`, and `<name>-int8.onnx` beside it.

    Args:
        model: Dense or reduced.
        is_regression: What its output means.
        lengths: Not used: one file takes any.
        folder: Where to.
        name: Of the file.
        int8: Whether also with weights of 8 bits.

    Returns:
        The longest input that each file takes, by its name.
    """
    path = folder / f"{name}.onnx"
    onnx.save(build_onnx(model, is_regression), path)
    if not int8:
        return {path.name: model.max_seq_length}
    small = folder / f"{name}-int8.onnx"
    # Products with weights alone. Weights of 7 bits: processors without VNNI add pairs of products in 16 bits.
    quantize_dynamic(
        path, small, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
    )
    return dict.fromkeys((path.name, small.name), model.max_seq_length)


def load(path: Path, threads: int = 0) -> Any:
    """A function from the three inputs, int32 `[B, T]`, to the answers.

    Args:
        path: Of a file that `write` wrote.
        threads: 0 for as many as the runtime likes.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return functools.partial(_run, session)


def _run(session: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return session.run(None, dict(inputs))[0]
