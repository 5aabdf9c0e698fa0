"""A writer for each format of `EXPORT_FORMATS`: takes a request and a folder, returns the entry of `result.json`."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import google, hugging_face
from powerbert_tf.checkpoints.config_files import google_config
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.elimination.reduction import WIDTHS
from powerbert_tf.elimination.retention import Retention, write_retention
from powerbert_tf.export.cards import CARD_FILE, ONE_WIDTH, format_checkpoint_card
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.runtimes import write_runtime
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.models.config import BertConfig
from powerbert_tf.tokenizers.files import write_tokenizer_folder, write_vocabulary


def write_hugging_face(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Writes a folder that `AutoModelForSequenceClassification.from_pretrained` and `--checkpoint` read.

    It holds `config.json` with the class names, `model.safetensors`, the tokenizer's files, `retention.json` and
    `task.json`.
    """
    task = request.task
    hugging_face.write_checkpoint(folder, request.models[""], task.classes, request.tokenizer.pad_id, task.kind)
    write_tokenizer_folder(request.checkpoint, request.tokenizer, folder)
    return _describe(request, folder)


def write_google(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Writes a folder in the layout of Google's release of the architecture, which `--checkpoint` reads, too.

    Raises:
        InputError: Google released no such architecture, or its code cannot run this model.
    """
    google.write_checkpoint(folder, request.models[""])
    write_vocabulary(request.checkpoint, request.tokenizer, folder, google=True)
    return _describe(request, folder)


def _describe(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Adds `retention.json` and `task.json` to a checkpoint, whose own format knows no elimination and one width.

    A tool that does not read `retention.json` sees a dense model with the weights of the reduced one, filled up with
    zeros where it is narrowed; a card says so.
    """
    model = request.models[""]
    if model.custom_slots:
        raise ValueError("custom_slots are given; expected extract layers, which retention.json describes.")
    reduction = model.reduction  # without elimination, everything; the elastic weights also have smaller budgets
    budgets = request.elastic["budgets"] if request.elastic else []
    retention = Retention(
        reduction.rows,
        model.max_seq_length,
        model.selection,
        budgets={budget["target_speedup"]: budget["retention_configuration"] for budget in budgets},
        budget_widths={
            budget["target_speedup"]: {name: budget[name] for name in WIDTHS if budget.get(name)} for budget in budgets
        },
        **reduction.widths,
    )
    write_retention(folder, retention)
    write_json(folder / TASK_FILE, dict(request.description))
    if reduction.is_narrowed:
        say(f"  {folder.name}: {ONE_WIDTH}")
        (folder / CARD_FILE).write_text(format_checkpoint_card(request), encoding="utf-8")
    return reduction.to_json()


# Each fills a new, empty folder. The versioned format has a context manager instead, `saved_model.write_saved_model`.
WRITERS: dict[str, Callable[[ExportRequest, Path], dict[str, Any]]] = {
    "hugging_face": write_hugging_face,
    "google": write_google,
    **{name: functools.partial(write_runtime, name=name) for name in ("onnx", "openvino", "litert")},
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
        name: Name of the format.
        settings: Flags of the export.
        config: Sizes of the model.
        selection: Score of the model; None if it eliminates nothing.
        custom_slots: Slots of the model, see `BertClassifier`.

    Raises:
        InputError: A package is missing, or the format does not support the model or the flags.
    """
    form = EXPORT_FORMATS[name]
    needed = {**form.packages, **(form.int8_packages if settings.export_int8 else {})}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        flag = f"--export_format={name}{' --export_int8' * settings.export_int8}"
        raise InputError(f"{flag}: {', '.join(missing)} not installed; pip install {' '.join(missing)}.")
    if form.packages and settings.export_precision != "float32":
        raise InputError(
            f"--export_precision={settings.export_precision}: only for tf_saved_model; expected float32 with "
            f"--export_format={name}."
        )
    if custom_slots and name != DEFAULT_FORMAT:
        raise InputError(f"--export_format={name}: cannot hold custom_slots; expected {DEFAULT_FORMAT}.")
    try:
        if name == "google":
            google_config(config)
        if name in ("onnx", "openvino") and selection is not None:
            from powerbert_tf.export.onnx_graph import check_score  # needs optional packages

            check_score(selection)
    except InputError as error:
        raise InputError(f"--export_format={name}: {error}") from None
