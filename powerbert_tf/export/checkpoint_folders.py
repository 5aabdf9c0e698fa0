"""Checkpoints in the formats of Hugging Face and Google, for other tools to load.

Neither format knows of elimination: the weights are the reduced model's, what they keep is in `retention.json` beside
them, and a tool that does not read it has a dense model of the same weights.
"""

from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import google, hugging_face
from powerbert_tf.common.files import write_json
from powerbert_tf.elimination.retention import Retention, write_retention
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.saved_model import TASK_FILE
from powerbert_tf.tokenizers.files import write_tokenizer_folder, write_vocabulary


def write_hugging_face(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Writes a folder that `AutoModelForSequenceClassification.from_pretrained` and `--checkpoint` read.

    `config.json` with the names of the classes, `model.safetensors`, the tokenizer's files, `retention.json` and
    `task.json`.
    """
    model = request.models[""]
    hugging_face.write_checkpoint(folder, model, request.task.classes, request.tokenizer.pad_id)
    write_tokenizer_folder(request.checkpoint, request.tokenizer, folder)
    return _describe(request, folder)


def write_google(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Writes a folder in the layout of Google's release of the architecture, which `--checkpoint` reads, too.

    Raises:
        InputError: There is no such release, or its code cannot do what the model does.
    """
    google.write_checkpoint(folder, request.models[""])
    write_vocabulary(request.checkpoint, request.tokenizer, folder, google=True)
    return _describe(request, folder)


def _describe(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """Adds `retention.json` and `task.json`; returns what `result.json` says of the folder."""
    model = request.models[""]
    # A model that eliminates nothing keeps all of any length; the elastic weights have budgets that keep less.
    values = model.retention_configuration or (1.0,) * model.config.num_hidden_layers
    budgets = request.elastic["budgets"] if request.elastic else []
    configurations = {budget["target_speedup"]: tuple(budget["retention_configuration"]) for budget in budgets}
    write_retention(folder, Retention(values, model.max_seq_length, model.selection, configurations))
    write_json(folder / TASK_FILE, dict(request.description))
    return {"retention_configuration": list(values)}
