"""The table of export formats: names, folders and the packages that each needs. `writers` has their code."""

import dataclasses
from collections.abc import Mapping

DEFAULT_FORMAT = "tf_saved_model"


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        title: A short description.
        folder: Name of its folder in the run's folder.
        of_tensorflow: Whether TensorFlow traces the model, so Keras' backend must be TensorFlow.
        versioned: Whether an export adds a version to the folder instead of replacing it.
        packages: Optional packages, from the name that is imported to the name that is installed.
        int8_packages: Further packages for weights of 8 bits.
    """

    title: str
    folder: str
    of_tensorflow: bool = False
    versioned: bool = False
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    int8_packages: Mapping[str, str] = dataclasses.field(default_factory=dict)


EXPORT_FORMATS: dict[str, ExportFormat] = {
    "tf_saved_model": ExportFormat("a SavedModel to serve", "saved_model", of_tensorflow=True, versioned=True),
    "hugging_face": ExportFormat("a folder for transformers", "hugging_face"),
    "google": ExportFormat("a checkpoint of BERT or ALBERT with Google's names", "google"),
    "onnx": ExportFormat("ONNX", "onnx", packages={"onnx": "onnx", "onnxruntime": "onnxruntime"}),
    "openvino": ExportFormat(
        "OpenVINO",
        "openvino",
        packages={"onnx": "onnx", "openvino": "openvino"},
        int8_packages={"nncf": "nncf"},
    ),
    "litert": ExportFormat(
        "LiteRT, formerly TensorFlow Lite",
        "litert",
        of_tensorflow=True,
        packages={"ai_edge_litert": "ai-edge-litert"},
    ),
}
