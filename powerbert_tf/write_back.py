"""Back to where models come from: a run's weights as a folder of Hugging Face's or Google's, for other tools to load.

Neither format knows of elimination: the weights are the reduced model's, what they keep is in `retention.json` beside
them, and whoever does not read it has a dense model of the same weights.
"""

from pathlib import Path
from typing import Any, cast

from powerbert_tf.checkpoints import google, hugging_face
from powerbert_tf.checkpoints.configurations import google_config
from powerbert_tf.errors import InputError
from powerbert_tf.files import write_json
from powerbert_tf.modeling import BertClassifier
from powerbert_tf.publish import exported_models
from powerbert_tf.retention_file import Retention, write_retention
from powerbert_tf.run import Run
from powerbert_tf.task_file import TASK_FILE, describe_task
from powerbert_tf.tokenizer_folder import write_tokenizer_folder, write_vocabulary


def write_hugging_face(run: Run, folder: Path) -> dict[str, Any]:
    """Writes a folder that `AutoModelForSequenceClassification.from_pretrained` and `--checkpoint` read.

    `config.json` with the names of the classes, `model.safetensors`, the tokenizer's files, and what `_describe` adds.
    """
    model, retention = _model_and_retention(run)
    hugging_face.write_checkpoint(folder, model, run.task.classes, run.tokenizer.pad_id)
    write_tokenizer_folder(run.checkpoint, run.tokenizer, folder)
    return _describe(run, folder, retention)


def write_google(run: Run, folder: Path) -> dict[str, Any]:
    """Writes a folder in the layout of Google's release of the architecture, which `--checkpoint` reads, too.

    Raises:
        InputError: There is no such release, see `check_google`.
    """
    model, retention = _model_and_retention(run)
    google.write_checkpoint(folder, model)
    write_vocabulary(run.checkpoint, run.tokenizer, folder, google=True)
    return _describe(run, folder, retention)


def check_google(run: Run) -> None:
    """Checks that Google's code has a word for all that the model does.

    Raises:
        InputError: It has not.
    """
    try:
        google_config(run.checkpoint.config)
    except InputError as error:
        raise InputError(f"--export_format=google: {error}") from None


def _model_and_retention(run: Run) -> tuple[BertClassifier, Retention]:
    """The model whose weights are written, and what `retention.json` says of it."""
    model = exported_models(run)[""]
    # What eliminates nothing keeps all of any length; the elastic weights have budgets that keep less.
    values = model.retention_configuration or (1.0,) * model.config.num_hidden_layers
    budgets = []
    if run.settings.export_model == "elastic":
        budgets = cast(dict[str, Any], run.folder.result("elastic"))["budgets"]
    configurations = {budget["target_speedup"]: tuple(budget["retention_configuration"]) for budget in budgets}
    return model, Retention(values, model.max_seq_length, model.selection, configurations)


def _describe(run: Run, folder: Path, retention: Retention) -> dict[str, Any]:
    """Adds `retention.json` and `task.json`; what `result.json` says of the folder."""
    write_retention(folder, retention)
    write_json(folder / TASK_FILE, describe_task(run.task, run.settings, run.lower_case))
    return {"retention_configuration": list(retention.values)}
