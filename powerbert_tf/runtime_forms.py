"""The model for other runtimes: ids in, answers out, compared with the Keras model's before the folder appears.

A form's module has `write` and `load`, see `powerbert_tf.onnx_form`; it imports packages that are optional.
"""

import dataclasses
import functools
import importlib
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.errors import InputError
from powerbert_tf.expectations import Expectations
from powerbert_tf.export import CARD_FILE, expect
from powerbert_tf.files import write_json
from powerbert_tf.publish import exported_models, sample_texts
from powerbert_tf.run import Run
from powerbert_tf.runtime_card import format_runtime_card
from powerbert_tf.serving import in_precision
from powerbert_tf.serving_shapes import ServingShapes, resolve_shapes
from powerbert_tf.task_file import TASK_FILE, describe_task


@dataclasses.dataclass(frozen=True)
class RuntimeForm:
    """A row.

    Attributes:
        name: Of the format.
        module: That writes and loads it.
        packages: What it imports, and what that is called where it is installed from.
        int8_packages: What 8 bits take beyond them.
    """

    name: str
    module: str
    packages: Mapping[str, str]
    int8_packages: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load_module(self) -> Any:
        """The module, imported."""
        return importlib.import_module(f"powerbert_tf.{self.module}")


_ONNX = {"onnx": "onnx"}
FORMS = {
    "onnx": RuntimeForm("onnx", "onnx_form", {**_ONNX, "onnxruntime": "onnxruntime"}),
    "openvino": RuntimeForm("openvino", "openvino_form", {**_ONNX, "openvino": "openvino"}, {"nncf": "nncf"}),
    "litert": RuntimeForm("litert", "litert_form", {"ai_edge_litert": "ai-edge-litert"}),
}


def _check(run: Run, form: RuntimeForm) -> None:
    """Checks that the form can be written.

    Raises:
        InputError: A package is missing, or the flags ask for what it has not.
    """
    settings = run.settings
    needed = {**form.packages, **(form.int8_packages if settings.export_int8 else {})}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        flag = f"--export_format={form.name}{' --export_int8' * settings.export_int8}"
        raise InputError(f"{flag}: {', '.join(missing)} not installed; pip install {' '.join(missing)}.")
    if settings.export_precision != "float32":
        raise InputError(
            f"--export_precision={settings.export_precision}: of tf_saved_model alone; expected float32 with "
            f"--export_format={form.name}."
        )


def _write(run: Run, folder: Path, form: RuntimeForm) -> dict[str, Any]:
    """Writes the form into a folder, with what a client needs to ask it.

    Returns:
        What the files are, by model, and how far their answers are from the Keras model's.

    Raises:
        RuntimeError: A file gives other answers.
    """
    models, task, settings = exported_models(run), run.task, run.settings
    if settings.precision != "float32":
        models = in_precision(models, "float32")
    expected = expect(models, task, run.tokenizer, sample_texts(run), ServingShapes())
    # Where a runtime wants each size constant, the lengths that a compiled SavedModel has.
    lengths = resolve_shapes(settings.max_seq_length, settings.export_lengths, jit_compile=True).lengths
    module, files = form.load_module(), {}
    for suffix, model in models.items():
        written = module.write(model, task.is_regression, lengths, folder, f"model{suffix}", settings.export_int8)
        for name, longest in written.items():
            off = largest_difference(module.load(folder / name), expected, suffix, longest)
            is_int8 = Path(name).stem.endswith("-int8")
            if not is_int8 and not off <= expected.tolerance:
                raise RuntimeError(
                    f"{folder / name}: gives other answers, off by {off:.2g}; expected at most {expected.tolerance:g}."
                )
            files[name] = {
                "retention_configuration": model.retention_configuration,
                "int8": is_int8,
                "max_length": longest,
                "largest_difference": off,
            }
    for path in run.tokenizer.files:
        shutil.copyfile(path, folder / Path(path).name)
    write_json(folder / TASK_FILE, describe_task(task, settings, run.lower_case))
    card = format_runtime_card(run, form.name, files)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
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


check_onnx, check_openvino, check_litert = (
    functools.partial(_check, form=FORMS[name]) for name in ("onnx", "openvino", "litert")
)
write_onnx, write_openvino, write_litert = (
    functools.partial(_write, form=FORMS[name]) for name in ("onnx", "openvino", "litert")
)
