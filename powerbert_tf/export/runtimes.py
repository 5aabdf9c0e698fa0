"""The model for other runtimes: ids in, answers out, compared with the Keras model's before the folder appears.

Each runtime has a module with two functions:

- `write(model, kind, lengths, folder, name, int8, temperature=1.0)` writes files whose names begin with `name`;
  `int8` adds files with weights of 8 bits, `lengths` are for a runtime that needs a file for each length, and
  `temperature` is what logits are divided by. It returns the longest input that each file takes, by the file's name.
- `load(path, threads=0)` returns a function from the three inputs, int32 `[B, T]`, to the answers; with 0 threads, the
  runtime chooses the number.
"""

import dataclasses
import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.files import write_json
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.export.cards import CARD_FILE, format_runtime_card
from powerbert_tf.export.expected_answers import ExpectedAnswers
from powerbert_tf.export.request import ExportRequest, describe_reduction
from powerbert_tf.export.settings import ServingShapes
from powerbert_tf.export.signatures import in_precision

_MODULES = {
    "onnx": "powerbert_tf.export.onnx_runtime",
    "openvino": "powerbert_tf.export.openvino_runtime",
    "litert": "powerbert_tf.export.litert_runtime",
}


def runtime_module(name: str) -> Any:
    """The module of a runtime, which is imported here because it needs optional packages."""
    return importlib.import_module(_MODULES[name])


def write_runtime(request: ExportRequest, folder: Path, name: str) -> dict[str, Any]:
    """Writes a runtime's files into a folder, with the tokenizer's files, `task.json` and a card.

    Returns:
        For each file, what it holds and how far its answers are from the Keras model's.

    Raises:
        RuntimeError: A file gives other answers.
    """
    if request.models[""].encoders[0].compute_dtype != "float32":
        request = dataclasses.replace(request, models=in_precision(request.models, "float32"))
    settings, kind = request.settings, request.task.kind
    expected = request.expected_answers(ServingShapes())
    # A runtime that needs constant sizes gets the lengths of a compiled SavedModel.
    lengths = dataclasses.replace(settings, export_jit_compile=True).shapes(request.max_seq_length).lengths
    module, files = runtime_module(name), {}
    for suffix, model in request.models.items():
        temperature = request.temperatures[suffix]
        written = module.write(model, kind, lengths, folder, f"model{suffix}", settings.export_int8, temperature)
        for file, longest in written.items():
            off = _largest_difference(module.load(folder / file), expected, suffix, longest)
            is_int8 = Path(file).stem.endswith("-int8")
            if not is_int8 and not off <= expected.tolerance:
                raise RuntimeError(
                    f"{folder / file}: gives other answers, off by {off:.2g}; expected at most {expected.tolerance:g}."
                )
            files[file] = {
                **describe_reduction(model),
                "int8": is_int8,
                "max_length": longest,
                "largest_difference": off,
            }
    for path in request.tokenizer.files:
        shutil.copyfile(path, folder / Path(path).name)
    write_json(folder / TASK_FILE, dict(request.description))
    (folder / CARD_FILE).write_text(format_runtime_card(request, name, files), encoding="utf-8")
    return {"files": files}


def _largest_difference(serve: Any, expected: ExpectedAnswers, suffix: str, longest: int) -> float:
    """The largest difference of a file's answers from the model's; requests longer than `longest` are left out."""
    differences = [0.0]
    for rows in expected.batches():
        inputs = {name: values.numpy() for name, values in expected.ids_request(rows).items()}
        if inputs["token_ids"].shape[1] <= longest:
            differences.append(float(np.max(np.abs(serve(inputs) - expected.answers[suffix][list(rows)]))))
    return max(differences)
