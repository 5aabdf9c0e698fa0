"""OpenVINO's intermediate representation, converted from the ONNX graph; see `runtimes`."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import openvino

from powerbert_tf.data.kinds import Kind
from powerbert_tf.export.loading import load_openvino as load
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
