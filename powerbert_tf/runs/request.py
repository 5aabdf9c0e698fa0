"""What the command line asks for: flags, a `task.json` and data of the user's own become settings of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labelled_tables import find_tables
from powerbert_tf.data.own_data import OwnData, load_own_data
from powerbert_tf.data.settings import TABLE_FLAGS, DataSettings
from powerbert_tf.data.tables import STANDARD_INPUT
from powerbert_tf.data.tables.formats import LABEL
from powerbert_tf.data.tasks import TASK_FILE, OwnTask
from powerbert_tf.elimination.reduction import WIDTHS
from powerbert_tf.export.signatures import TEXTS
from powerbert_tf.prediction.predict import PredictRequest
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs.asked import gather, split_flags
from powerbert_tf.runs.finished_run import find_run, load_finished_run
from powerbert_tf.runs.settings import Settings, resolve_settings
from powerbert_tf.runs.task_file import read_task_file
from powerbert_tf.runs.trained_classifier import (
    TrainedClassifier,
    find_trained_classifier,
    load_unlabelled,
    require_disagreement,
)


def read_request(given: Mapping[str, Any]) -> tuple[Settings, OwnData | None]:
    """Resolves flags; reads the user's own data if there is some, as the settings depend on it.

    Args:
        given: Values of the fields of `Settings` and `DataSettings` by name; None for a flag that is not given. A flag
            wins over the same key of a `task.json`.

    Returns:
        The settings, and the data; None for a GLUE task.

    Raises:
        InputError: A flag, the `task.json` or a file of the data is wrong.
    """
    file, data, settings = gather(given)
    if not data.is_given:
        return resolve_settings(file.name, **settings), None
    own, settings = _read_own(data, file.name, file.classes, settings)
    if settings.get("metric") == ",".join(own.task.metrics):
        # The `task.json` of a run names the metrics that were inferred: given or inferred, it is the same setting.
        del settings["metric"]
    return resolve_settings(own.task, **settings), own


def _read_own(
    data: DataSettings, name: str, classes: Sequence[str], settings: Mapping[str, Any]
) -> tuple[OwnData, dict[str, Any]]:
    """Reads labelled texts, or texts for a trained classifier whose answers take the place of labels.

    Returns:
        The data, and the settings with what follows from it.
    """
    share, data = data.max_disagreement, dataclasses.replace(data, max_disagreement=0.0)
    tables = find_tables(data)
    if not (data.label_column or tables.label_column) and LABEL in tables.first("train").columns:
        data = dataclasses.replace(data, label_column=LABEL)  # as in a data frame
    if data.label_column or tables.label_column or not data.text_column:
        if share:
            raise InputError(f"--max_disagreement={share:g}: the data has labels; expected --max_loss.")
        return load_own_data(data, name, classes), dict(settings)
    trained = _find_trained(settings.get("checkpoint", ""), classes, tables.first("train").expected)
    given = dict(settings)
    if share:
        require_disagreement(trained, False, bool(given.get("max_loss")))
        given["max_loss"] = share
    own = load_unlabelled(trained, data, name)
    if not given.get("max_seq_length") and trained.checkpoint.max_seq_length:
        given["max_seq_length"] = trained.checkpoint.max_seq_length
    return own, given


def _find_trained(checkpoint: str, classes: Sequence[str], columns: str) -> TrainedClassifier:
    """The trained classifier that texts without labels need; `columns` are what the label might be, for messages.

    Raises:
        InputError: There is none.
    """
    what = f"--label_column: missing; {columns}; texts without labels need a trained classifier"
    if not checkpoint:
        raise InputError(f"{what}, which --checkpoint names.")
    try:
        return find_trained_classifier(checkpoint, classes)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def read_predict_request(
    settings: PredictSettings, given: Mapping[str, Any], root: Path | None = None
) -> PredictRequest:
    """Resolves flags for `--predict_file` and `--text`: which model answers what. Needs no training data.

    Args:
        settings: What is answered.
        given: As for `read_request`.
        root: The folder of the run; None to find it by `--task`.

    Raises:
        InputError: A flag or a file of the run is wrong.
    """
    flags, data_flags = split_flags(given)
    folder = root or find_run(flags.get("task", ""), flags.get("output_dir", Settings.output_dir))
    recorded = read_task_file(folder / TASK_FILE).data if (folder / TASK_FILE).is_file() else {}
    run = load_finished_run(folder, flags)
    task = run.task_of("retrain")
    if task.choices > 1:
        raise InputError(
            f"--predict_file: {task.name} is multiple choice, and tables hold single texts and pairs; "
            "--stage=predict answers its test files."
        )
    texts: tuple[str, ...] = ("",) * (1 + task.is_pair)  # GLUE's have no columns, and need none without a table
    if isinstance(task, OwnTask):
        texts = task.text_columns
    elif settings.predict_file == STANDARD_INPUT:
        texts = TEXTS[: 1 + task.is_pair]
    columns = ("text_column", "text_pair_column")
    return PredictRequest(
        load_model=run.reduced_model,
        weights=run.weights,
        retention_configuration=run.configuration(),
        task=task,
        tokenizer=run.tokenizer,
        max_seq_length=run.settings.inputs.max_seq_length,
        truncation=run.settings.inputs.truncation,
        inference=run.settings.inference,
        root=run.folder.root,
        settings=settings,
        # The files to answer need not be written as those of training are.
        data=DataSettings(**{**{k: value for k, value in recorded.items() if k not in TABLE_FLAGS}, **data_flags}),
        widths={name: own for name in WIDTHS if (own := run.folder.finished("retrain").get(name))},
        texts=tuple(data_flags.get(name) or text for name, text in zip(columns, texts, strict=False)),
    )
