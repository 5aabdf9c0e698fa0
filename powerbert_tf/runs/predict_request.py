"""What the command line asks for with `--predict_file`: which model answers what."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tables import STANDARD_INPUT
from powerbert_tf.data.tasks import TASK_FILE, OwnTask, Task
from powerbert_tf.export.signatures import TEXTS
from powerbert_tf.prediction.request import PredictRequest
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs.settings import Settings
from powerbert_tf.runs.task_file import read_task_file
from powerbert_tf.runs.trained import find_run, load_trained


def read_predict_request(settings: PredictSettings, given: Mapping[str, Any]) -> PredictRequest:
    """Resolves flags; needs none of the data that the model was trained on.

    Args:
        settings: With a `predict_file`.
        given: Values of the fields of `Settings` and `DataSettings` by name; None for a flag that is not given.

    Raises:
        InputError: A flag, or what the run left.
    """
    flags = {name: value for name, value in given.items() if value is not None}
    folder = find_run(flags.get("task", ""), flags.get("output_dir", Settings.output_dir))
    data_fields = {field.name for field in dataclasses.fields(DataSettings)}
    own = (folder / TASK_FILE).is_file()
    recorded = dict(read_task_file(folder / TASK_FILE).data) if own else {}
    in_flags = {name: value for name, value in flags.items() if name in data_fields}
    trained = load_trained(folder, {name: value for name, value in flags.items() if name not in data_fields})
    if trained.run.task.choices > 1:
        raise InputError(
            f"--predict_file: {trained.run.task.name} is multiple choice, and tables hold single texts and pairs; "
            "--stage=predict answers its test files."
        )
    data = DataSettings(**{**recorded, **in_flags})
    run = trained.run
    return PredictRequest(
        load_model=trained.model,
        weights=trained.weights,
        retention_configuration=trained.retention_configuration,
        task=run.task,
        tokenizer=run.tokenizer,
        max_seq_length=run.settings.inputs.max_seq_length,
        truncation=run.settings.inputs.truncation,
        inference=run.settings.inference,
        root=run.folder.root,
        settings=settings,
        data=data,
        texts=_texts(run.task, settings.predict_file, in_flags),
    )


def _texts(task: Task, predict_file: str, flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of the texts: by flag, else those of the task; GLUE's has none, but texts without a table need none."""
    defaults: tuple[str, ...] = ("",) * (1 + task.is_pair)
    if isinstance(task, OwnTask):
        defaults = task.text_columns
    elif predict_file == STANDARD_INPUT:
        defaults = TEXTS[: 1 + task.is_pair]
    names = ("text_column", "text_pair_column")
    return tuple(flags.get(name) or default for name, default in zip(names, defaults, strict=False))
