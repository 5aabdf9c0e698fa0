"""A writer for each format of `EXPORT_FORMATS`: a request and a folder in, what `result.json` says out."""

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints.configurations import google_config
from powerbert_tf.common.errors import InputError
from powerbert_tf.export.cards import format_card
from powerbert_tf.export.checkpoint_folders import write_google, write_hugging_face
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.runtimes import write_runtime
from powerbert_tf.export.saved_model import saved_model_written
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.models.config import BertConfig


@contextlib.contextmanager
def saved_model(request: ExportRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Adds a version to the folder, which is there when the block ends."""
    configurations = {suffix: model.retention_configuration for suffix, model in request.models.items()}
    shapes = request.settings.shapes(request.max_seq_length)
    with saved_model_written(
        request.models,
        request.task,
        request.tokenizer,
        request.tokenizer.files,
        folder,
        request.samples,
        shapes,
        format_card(request, configurations, shapes),
        request.description,
    ) as version:
        last = configurations[list(configurations)[-1]]
        yield {
            "version": int(version.name),
            "path": f"{folder.name}/{version.name}",
            "retention_configuration": None if last is None else list(last),
        }


# Each fills a new, empty folder; `saved_model`, the one versioned format, is a context manager instead.
WRITERS: dict[str, Callable[[ExportRequest, Path], dict[str, Any]]] = {
    "hugging_face": write_hugging_face,
    "google": write_google,
    "onnx": functools.partial(write_runtime, name="onnx"),
    "openvino": functools.partial(write_runtime, name="openvino"),
    "litert": functools.partial(write_runtime, name="litert"),
}


def check_format(
    name: str,
    settings: ExportSettings,
    config: BertConfig,
    selection: str | None = None,
    custom_slots: Sequence[Any] | None = None,
) -> None:
    """Checks that a model can be written in a format, before anything is trained.

    Args:
        name: Of the format.
        settings: Flags of the export.
        config: Sizes.
        selection: Score of the model; None where it eliminates nothing.
        custom_slots: Slots of the model, see `BertClassifier`.

    Raises:
        InputError: A package is missing, or the format cannot hold what the model or the flags ask for.
    """
    form = EXPORT_FORMATS[name]
    needed = {**form.packages, **(form.int8_packages if settings.export_int8 else {})}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        flag = f"--export_format={name}{' --export_int8' * settings.export_int8}"
        raise InputError(f"{flag}: {', '.join(missing)} not installed; pip install {' '.join(missing)}.")
    if form.packages and settings.export_precision != "float32":
        raise InputError(
            f"--export_precision={settings.export_precision}: of tf_saved_model alone; expected float32 with "
            f"--export_format={name}."
        )
    if custom_slots and not form.of_tensorflow:
        traced = ", ".join(each for each, row in EXPORT_FORMATS.items() if row.of_tensorflow)
        raise InputError(f"--export_format={name}: cannot hold custom_slots; expected one of {traced}.")
    try:
        if name == "google":
            google_config(config)
        if name in ("onnx", "openvino") and selection is not None:
            from powerbert_tf.export.onnx_graph import check_score  # needs optional packages

            check_score(selection)
    except InputError as error:
        raise InputError(f"--export_format={name}: {error}") from None
