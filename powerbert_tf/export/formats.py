"""The formats of an export: names, folders and the packages that each needs. `writers` holds the code of each."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from powerbert_tf.common.flags import require

DEFAULT_FORMAT = "tf_saved_model"


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """A row.

    Attributes:
        title: What it is, in a few words.
        folder: Of the run's folder, where it goes.
        of_tensorflow: Whether TensorFlow traces the model, and must be Keras' backend.
        versioned: Whether the writer adds a version to the folder, instead of replacing the folder.
        packages: Optional packages that the writer imports, and what each is called where it is installed from.
        int8_packages: Those that weights of 8 bits need beyond them.
    """

    title: str
    folder: str
    of_tensorflow: bool = False
    versioned: bool = False
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    int8_packages: Mapping[str, str] = dataclasses.field(default_factory=dict)


EXPORT_FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "tf_saved_model": ExportFormat("a SavedModel to serve", "saved_model", of_tensorflow=True, versioned=True),
        "hugging_face": ExportFormat("a folder for transformers", "hugging_face"),
        "google": ExportFormat("a checkpoint of BERT or ALBERT under Google's names", "google"),
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
)


def list_formats() -> str:
    """The formats, for a help text."""
    return ", ".join(f"{name} ({row.title})" for name, row in EXPORT_FORMATS.items())


def parse_formats(text: str) -> tuple[str, ...]:
    """Names of formats, with commas between, each once and in the order of the table.

    Raises:
        InputError: One is no format, or there is none; the message names the flag.
    """
    names = {name.strip() for name in text.split(",")}
    require(names <= EXPORT_FORMATS.keys(), "export_format", text, f"of {', '.join(EXPORT_FORMATS)}, commas between")
    return tuple(name for name in EXPORT_FORMATS if name in names)
