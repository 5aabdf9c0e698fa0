"""The forms in which a model leaves: a row each, whose code is imported when it is asked for.

What a row's writer needs may be an optional package; nothing of it is imported for another format.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from powerbert_tf.flag import require

DEFAULT_FORMAT = "tf_saved_model"


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """A row.

    Attributes:
        title: What it is, in a few words.
        folder: Of the run's folder, where it goes.
        writer: `module:function` of this package, `(run, folder) -> what result.json says of it`. `folder` is new and
            empty, and takes its place when the function returns; of a versioned format it is that place itself.
        check: `module:function`, `run -> None`, which raises an InputError where the run's model cannot be written so;
            called before anything is trained. Empty for none.
        of_tensorflow: Whether TensorFlow traces the model, and must be Keras' backend.
        versioned: Whether the writer adds a version to the folder, and not the folder is what is written. Its result
            says where, as `path` below the run's folder.
    """

    title: str
    folder: str
    writer: str
    check: str = ""
    of_tensorflow: bool = False
    versioned: bool = False


EXPORT_FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "tf_saved_model": ExportFormat(
            "a SavedModel to serve", "saved_model", "publish:write_saved_model", of_tensorflow=True, versioned=True
        ),
        "hugging_face": ExportFormat("a folder for transformers", "hugging_face", "write_back:write_hugging_face"),
        "google": ExportFormat(
            "a checkpoint of BERT or ALBERT under Google's names",
            "google",
            "write_back:write_google",
            check="write_back:check_google",
        ),
        "onnx": ExportFormat("ONNX", "onnx", "runtime_forms:write_onnx", "runtime_forms:check_onnx"),
        "openvino": ExportFormat(
            "OpenVINO", "openvino", "runtime_forms:write_openvino", "runtime_forms:check_openvino"
        ),
        "litert": ExportFormat(
            "LiteRT, formerly TensorFlow Lite",
            "litert",
            "runtime_forms:write_litert",
            "runtime_forms:check_litert",
            of_tensorflow=True,
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


def load_function(reference: str) -> Callable[..., Any]:
    """The function that a row's `module:function` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"powerbert_tf.{module}"), name)
