"""The model for other runtimes: ids in, answers out, compared with the Keras model's before the folder appears."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from powerbert_tf.common.files import write_json
from powerbert_tf.export.cards import format_runtime_card
from powerbert_tf.export.expectations import Expectations
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.saved_model import CARD_FILE, TASK_FILE, expect
from powerbert_tf.export.shapes import ServingShapes, resolve_shapes
from powerbert_tf.export.signatures import in_precision


def runtime_module(name: str) -> ModuleType:
    """The module that writes and loads a runtime's files, see `powerbert_tf.export.onnx_runtime`.

    It is imported here, as what it imports is optional.
    """
    if name == "onnx":
        from powerbert_tf.export import onnx_runtime

        return onnx_runtime
    if name == "openvino":
        from powerbert_tf.export import openvino_runtime

        return openvino_runtime
    if name == "litert":
        from powerbert_tf.export import litert_runtime

        return litert_runtime
    raise ValueError(f"name={name!r}; expected onnx, openvino or litert.")


def write_runtime(request: ExportRequest, folder: Path, name: str) -> dict[str, Any]:
    """Writes a runtime's files into a folder, with what a client needs to ask it.

    Returns:
        What the files are, by model, and how far their answers are from the Keras model's.

    Raises:
        RuntimeError: A file gives other answers.
    """
    models, task, settings = request.models, request.task, request.settings
    if models[""].encoders[0].compute_dtype != "float32":
        models = in_precision(models, "float32")
    expected = expect(models, task, request.tokenizer, request.samples, ServingShapes())
    # Where a runtime wants each size constant, the lengths that a compiled SavedModel has.
    lengths = resolve_shapes(request.max_seq_length, settings.export_lengths, jit_compile=True).lengths
    module, files = runtime_module(name), {}
    for suffix, model in models.items():
        written = module.write(model, task.is_regression, lengths, folder, f"model{suffix}", settings.export_int8)
        for file, longest in written.items():
            off = largest_difference(module.load(folder / file), expected, suffix, longest)
            is_int8 = Path(file).stem.endswith("-int8")
            if not is_int8 and not off <= expected.tolerance:
                raise RuntimeError(
                    f"{folder / file}: gives other answers, off by {off:.2g}; expected at most {expected.tolerance:g}."
                )
            files[file] = {
                "retention_configuration": model.retention_configuration,
                "int8": is_int8,
                "max_length": longest,
                "largest_difference": off,
            }
    for path in request.tokenizer.files:
        shutil.copyfile(path, folder / Path(path).name)
    write_json(folder / TASK_FILE, dict(request.description))
    (folder / CARD_FILE).write_text(format_runtime_card(request, name, files), encoding="utf-8")
    return {"files": files}


def largest_difference(serve: Any, expected: Expectations, suffix: str, longest: int) -> float:
    """How far a runtime's answers are from the model's, to usual and hostile texts, in batches and alone.

    Args:
        serve: Three inputs -> answers.
        expected: The model's.
        suffix: Of the model.
        longest: The longest input that the file takes; others are left to another file.
    """
    differences = [0.0]
    for rows in expected.batches():
        inputs = {name: values.numpy() for name, values in expected.ids_request(rows).items()}
        if inputs["token_ids"].shape[1] <= longest:
            found = serve(inputs)
            differences.append(float(np.max(np.abs(found - expected.answers[suffix][list(rows)]))))
    return max(differences)
