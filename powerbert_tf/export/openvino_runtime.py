"""OpenVINO's intermediate representation, converted from the ONNX graph; see `runtimes`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import openvino

from powerbert_tf.data.kinds import Kind
from powerbert_tf.export.onnx_graph import build_onnx
from powerbert_tf.models.classifier import BertClassifier


def write(
    model: BertClassifier,
    kind: Kind,
    lengths: Sequence[int],
    folder: Path,
    name: str,
    int8: bool,
    temperature: float = 1.0,
) -> dict[str, int]:
    """Writes `<name>.xml` with `<name>.bin`, which take any length, and with `int8` the same as `<name>-int8`."""
    source = folder / f"{name}.onnx"
    onnx.save(build_onnx(model, kind, temperature), source)
    converted = openvino.convert_model(source)
    source.unlink()
    openvino.save_model(converted, folder / f"{name}.xml", compress_to_fp16=False)
    if not int8:
        return {f"{name}.xml": model.max_seq_length}
    import nncf  # optional, and slow to import

    small = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(small, folder / f"{name}-int8.xml", compress_to_fp16=False)
    return dict.fromkeys((f"{name}.xml", f"{name}-int8.xml"), model.max_seq_length)


def load(path: Path, threads: int = 0) -> Callable:
    """Loads a file."""
    # Without the hint some processors compute in bfloat16, and answers differ from the Keras model's.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return lambda inputs: compiled(dict(inputs))[0].copy()  # the runtime reuses the memory for the next answers
