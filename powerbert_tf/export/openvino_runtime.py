"""OpenVINO: its intermediate representation, made from the ONNX graph."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino

from powerbert_tf.export.onnx_graph import build_onnx
from powerbert_tf.models.classifier import BertClassifier


def write(
    model: BertClassifier, is_regression: bool, lengths: Sequence[int], folder: Path, name: str, int8: bool
) -> dict[str, int]:
    """Writes `<name>.xml` with `<name>.bin`, and `<name>-int8` beside it; all else as of `onnx_form.write`."""
    source = folder / f"{name}.onnx"
    onnx.save(build_onnx(model, is_regression), source)
    converted = openvino.convert_model(source)
    source.unlink()
    openvino.save_model(converted, folder / f"{name}.xml", compress_to_fp16=False)
    if not int8:
        return {f"{name}.xml": model.max_seq_length}
    import nncf  # of the optional packages the one that takes longest to import

    small = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(small, folder / f"{name}-int8.xml", compress_to_fp16=False)
    return dict.fromkeys((f"{name}.xml", f"{name}-int8.xml"), model.max_seq_length)


def load(path: Path, threads: int = 0) -> Any:
    """A function from the three inputs, int32 `[B, T]`, to the answers; arguments as of `onnx_form.load`."""
    # Float32 where the processor would like to compute in bfloat16: answers are those of the Keras model.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    return functools.partial(_run, openvino.Core().compile_model(path, "CPU", options))


def _run(compiled: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return compiled(dict(inputs))[0].copy()  # the runtime writes the next answers into the same place
