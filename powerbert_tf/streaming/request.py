"""What the command line asks for with `--predict_file`: which model answers what."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from powerbert_tf.data_settings import DataSettings
from powerbert_tf.errors import InputError
from powerbert_tf.predict_settings import PredictSettings
from powerbert_tf.serving import TEXTS
from powerbert_tf.settings import Settings
from powerbert_tf.tables import STANDARD_INPUT
from powerbert_tf.task_file import TASK_FILE, read_task_file
from powerbert_tf.tasks import OwnTask, Task
from powerbert_tf.trained import Trained, find_run, load_trained


@dataclasses.dataclass(frozen=True, eq=False)
class PredictRequest:
    """A model and what it is to answer.

    Attributes:
        trained: The model.
        settings: What is read and written.
        data: How tables are quoted, and what becomes of bad rows.
        texts: Columns of the texts; an empty name for one that no flag names.
    """

    trained: Trained
    settings: PredictSettings
    data: DataSettings
    texts: tuple[str, ...]


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
    return PredictRequest(trained, settings, data, _texts(trained.run.task, settings.predict_file, in_flags))


def _texts(task: Task, predict_file: str, flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of the texts: by flag, else those of the task; GLUE's has none, but texts without a table need none."""
    defaults: tuple[str, ...] = ("",) * (1 + task.is_pair)
    if isinstance(task, OwnTask):
        defaults = task.text_columns
    elif predict_file == STANDARD_INPUT:
        defaults = TEXTS[: 1 + task.is_pair]
    names = ("text_column", "text_pair_column")
    return tuple(flags.get(name) or default for name, default in zip(names, defaults, strict=False))
