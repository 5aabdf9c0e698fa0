"""Exported models as functions, for processes that only serve: nothing here needs Keras, or another runtime's package.

Each `load_...` returns a function from the three inputs, int32 `[B, T]`, to the answers; with 0 threads, the runtime
chooses the number.
"""

import glob
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ID_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def load_signatures(version: str | os.PathLike[str]) -> Mapping[str, Callable]:
    """Loads the signatures of a SavedModel, by name, with the operations of its tokenizer.

    `import tensorflow_text` would also load these operations, but it imports Keras. `tensorflow_model_server` has them
    built in.

    Raises:
        ModuleNotFoundError: tensorflow_text is not installed.
    """
    import tensorflow as tf

    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("tensorflow_text is not installed; it has the operations of the tokenizer.")
    for library in sorted(glob.glob(os.path.join(spec.submodule_search_locations[0], "python", "ops", "*.so"))):
        tf.load_op_library(library)
    return tf.saved_model.load(os.fspath(version)).signatures


def load_onnx(path: Path, threads: int = 0) -> Callable:
    """Loads a file for ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))[0]


def load_openvino(path: Path, threads: int = 0, precision: str = "f32") -> Callable:
    """Loads a file for OpenVINO, which computes in `precision`: f32 or bf16."""
    import openvino

    # Without the hint some processors compute in bfloat16, and answers differ from the Keras model's.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return lambda inputs: compiled(dict(inputs))[0].copy()  # the runtime reuses the memory for the next answers


def load_litert(path: Path, threads: int = 0) -> Callable:
    """Loads a file for LiteRT; its function pads inputs to the file's length."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads or None)
    (signature,) = interpreter.get_signature_list()
    runner, length = interpreter.get_signature_runner(signature), int(signature.rpartition("_")[2])

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        more = [(0, 0), (0, length - inputs[ID_INPUTS[0]].shape[1])]
        (answers,) = runner(**{name: np.pad(inputs[name], more) for name in ID_INPUTS}).values()
        return answers

    return run
