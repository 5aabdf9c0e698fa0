"""The table of forms: what a model can be served as, what each needs, and the flags that export it."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

from powerbert_tf.common.machine import computes_bfloat16
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.export.settings import ExportSettings

# What a form is loaded with, from the name that is imported to the name that is installed.
_RUNTIMES = {
    DEFAULT_FORMAT: {"tensorflow": "tensorflow", "tensorflow_text": "tensorflow-text"},
    "onnx": {"onnxruntime": "onnxruntime"},
    "openvino": {"openvino": "openvino"},
    "litert": {"ai_edge_litert": "ai-edge-litert"},
}
_ANY = "any batch, padded to its longest text"
_FEW = "texts padded to the next of {lengths} tokens"


@dataclasses.dataclass(frozen=True)
class DeployForm:
    """One form.

    Attributes:
        title: For people.
        format: Its format, one of `EXPORT_FORMATS`.
        precision: float32, bfloat16 or int8.
        jit_compile: Whether XLA compiles it.
    """

    title: str
    format: str
    precision: str = "float32"
    jit_compile: bool = False

    @property
    def folder(self) -> str:
        """Name of the folder that it is exported to, which forms of one runtime share."""
        if self.format != DEFAULT_FORMAT:
            return self.format
        return "saved_model" + "-xla" * self.jit_compile + "-bfloat16" * (self.precision == "bfloat16")

    @property
    def packages(self) -> Mapping[str, str]:
        """What it is served with, from the name that is imported to the name that is installed."""
        return _RUNTIMES[self.format]

    def export_flags(self) -> dict[str, Any]:
        """The settings that export it, where they are not the defaults, by the names of `ExportSettings`."""
        wanted = {
            "export_format": self.format,
            "export_jit_compile": self.jit_compile,
            # OpenVINO chooses its precision when it loads.
            "export_precision": self.precision if self.folder.endswith("bfloat16") else "float32",
            "export_int8": self.precision == "int8",
        }
        usual = ExportSettings()
        return {name: value for name, value in wanted.items() if value != getattr(usual, name)}

    def export_settings(self, given: ExportSettings) -> ExportSettings:
        """The settings of its export: of those that are given, the model and, where it has few lengths, these."""
        lengths = given.export_lengths if self.has_few_lengths else ""
        return ExportSettings(export_model=given.export_model, export_lengths=lengths, **self.export_flags())

    @property
    def has_few_lengths(self) -> bool:
        """Whether it runs at few lengths only."""
        return self.jit_compile or self.format == "litert"

    def lengths(self, given: ExportSettings, max_seq_length: int) -> tuple[int, ...]:
        """The lengths that it pads texts to; empty for any."""
        if not self.has_few_lengths:
            return ()
        settings = dataclasses.replace(self.export_settings(given), export_jit_compile=True)
        return settings.shapes(max_seq_length).lengths

    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes that it fills batches up to; empty for any."""
        return ExportSettings(export_jit_compile=True).shapes(1).batch_sizes if self.jit_compile else ()

    def shapes(self, lengths: tuple[int, ...]) -> str:
        """The shapes that it runs, in words."""
        if not lengths:
            return _ANY
        batches = "; batches of 1, 2, 4 and so on" if self.jit_compile else ""
        return _FEW.format(lengths=", ".join(map(str, lengths))) + batches


FORMS: dict[str, DeployForm] = {
    "saved_model": DeployForm("SavedModel", DEFAULT_FORMAT),
    "saved_model-bfloat16": DeployForm("SavedModel, bfloat16", DEFAULT_FORMAT, "bfloat16"),
    "saved_model-xla": DeployForm("SavedModel, XLA", DEFAULT_FORMAT, jit_compile=True),
    "saved_model-xla-bfloat16": DeployForm("SavedModel, XLA, bfloat16", DEFAULT_FORMAT, "bfloat16", True),
    "onnx": DeployForm("ONNX Runtime", "onnx"),
    "onnx-int8": DeployForm("ONNX Runtime, int8", "onnx", "int8"),
    "openvino": DeployForm("OpenVINO", "openvino"),
    "openvino-bfloat16": DeployForm("OpenVINO, bfloat16", "openvino", "bfloat16"),
    "openvino-int8": DeployForm("OpenVINO, int8", "openvino", "int8"),
    "litert": DeployForm("LiteRT", "litert"),
    "litert-int8": DeployForm("LiteRT, int8", "litert", "int8"),
}


def why_not_here(form: DeployForm) -> str:
    """Why this machine cannot run a form, with what to install; empty if it can."""
    needed = {**form.packages, **EXPORT_FORMATS[form.format].packages}
    if form.precision == "int8":
        needed |= EXPORT_FORMATS[form.format].int8_packages
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        return f"not installed; pip install {' '.join(missing)}"
    if form.precision == "bfloat16" and not computes_bfloat16():
        return "this processor has no instructions for bfloat16"
    return ""
