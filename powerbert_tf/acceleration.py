"""Makes a trained classifier faster, and reports what it lost and gained."""

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.batches.encoded_split import encode_split
from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError, NoGainError
from powerbert_tf.common.reporting import reporting, say
from powerbert_tf.data.labelled_tables import LabelledTables, find_tables, is_in_memory, memory_tables, texts_of
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.data.settings import TABLE_FLAGS, DataSettings
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tables.formats import LABEL
from powerbert_tf.export.saved_model import next_version, write_server_files
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.precision import computing_in
from powerbert_tf.prediction.answers import named_answers
from powerbert_tf.reports.acceleration_report import AccelerationReport, make_report
from powerbert_tf.runs.preparation import check_plan, prepare
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import FIELDS, Settings, resolve_settings
from powerbert_tf.runs.stage_runner import run_stage
from powerbert_tf.runs.stages.search import drop_searched_weights
from powerbert_tf.runs.trained_classifier import (
    adopt_weights,
    find_trained_classifier,
    keep_everything,
    keep_weights,
    load_labeled,
    load_unlabelled,
)
from powerbert_tf.search.settings import GIVEN
from powerbert_tf.training.evaluation import predict_logits

# Settings that `accelerate` has arguments for, or sets itself.
_TABLE_SETTINGS = (*TABLE_FLAGS, "quoting")
_NOT_SETTINGS = ("task", "checkpoint", "output_dir", "data_dir", "target_speedup", *GIVEN)


@dataclasses.dataclass(frozen=True, eq=False)
class Accelerated:
    """The result of `accelerate`.

    Attributes:
        model: The reduced model: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`. It
            eliminates nothing if no configuration was found that is faster.
        report: What it lost and gained; `print(report)` shows it.
        run: Settings, data, tokenizer and folder.
    """

    model: BertClassifier
    report: AccelerationReport
    run: Run

    def logits(self, texts: Any, text_pairs: Any = None) -> np.ndarray:
        """Computes logits `[n, C]` of raw texts.

        Args:
            texts: A list, a Series, an array, a tensor or a `tf.data.Dataset` of texts; one string is one text.
            text_pairs: As many second texts, for a model on pairs.

        Raises:
            InputError: `text_pairs` is missing for a model on pairs, is given for another model, or has another length;
                or something is no text.
        """
        given = {"texts": texts} if text_pairs is None else {"texts": texts, "text_pairs": text_pairs}
        columns = tuple(texts_of(column, name) for name, column in given.items())
        if len(columns) != 1 + self.run.task.is_pair:
            expected = "texts and text_pairs" if self.run.task.is_pair else "texts only"
            raise InputError(f"text_pairs: the model was made on {expected}; expected them here, too.")
        if len({len(column) for column in columns}) > 1:
            raise InputError(f"text_pairs: {len(columns[-1])} for {len(columns[0])} texts; expected the same number.")
        if not columns[0]:
            return np.zeros((0, self.run.task.num_outputs), "float32")
        settings = self.run.settings
        split = encode_split(Split(columns, None, None), self.run.tokenizer, settings.inputs.max_seq_length)
        with computing_in(settings.inference.precision):
            return predict_logits(self.model, split, settings.inference)

    def predict(self, texts: Any, text_pairs: Any = None) -> list[Any]:
        """Predicts the name of each text's class, or the list of its labels; for a regression, the number.

        Labels are those with a probability of at least `thresholds`. Arguments: see `logits`.
        """
        task = self.run.task
        return named_answers(task, task.answers(self.logits(texts, text_pairs)))

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Least probability of each label to be an answer, in the order of `run.task.classes`; else empty."""
        return self.run.task.thresholds

    def probabilities(self, texts: Any, text_pairs: Any = None) -> np.ndarray:
        """Computes probabilities `[n, C]` in the order of `run.task.classes`. Arguments: see `logits`.

        Raises:
            InputError: See `logits`; or the model is a regression.
        """
        if self.run.task.is_regression:
            raise InputError("probabilities: the model is a regression; expected predict.")
        return self.run.task.answers(self.logits(texts, text_pairs))

    def export(self, folder: str | Path) -> Path:
        """Writes a SavedModel that takes text, as the next version in `folder`, see `docs/serving.md`.

        Returns:
            The folder of the version.

        Raises:
            OSError: It cannot be written.
        """
        settings, run_folder = self.run.settings, self.run.folder
        with reporting(verbose=0), computing_in(settings.inference.precision):
            run_stage(self.run, "export")
        exported = run_folder.root / run_folder.finished("export")["path"]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_server_files(folder, self.run.task.name, settings.export.shapes(settings.inputs.max_seq_length))
        version = folder / str(next_version(folder))
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as scratch:  # a server sees all of it or none
            shutil.copytree(exported, Path(scratch, "copy")).rename(version)
        return version


def accelerate(
    model: Any,
    data: Any,
    target_speedup: float | None = 3.0,
    retrain: bool = True,
    *,
    dev_data: Any = None,
    classes: Sequence[str] = (),
    text_column: str = "",
    text_pair_column: str = "",
    label_column: str | Sequence[str] = "",
    label_separator: str = "",
    max_disagreement: float | None = None,
    on_bad_row: str = "error",
    name: str = "",
    output_dir: str | Path | None = None,
    verbose: int = 1,
    **settings: Any,
) -> Accelerated:
    """Makes a trained classifier faster: each encoder keeps the word-vectors, neurons and heads that matter most.

    The search needs no training and takes minutes. Re-training then brings the answers of the reduced model back
    towards the original's on the training texts.

    Args:
        model: A KerasHub classifier, its `.keras` file or preset folder, or a folder of a Hugging Face or Google
            checkpoint with a trained head.
        data: Texts with or without labels, such as last week's requests: the path of a table (`docs/data.md`), a
            `pandas.DataFrame`, a pair `(texts, labels)`, a `tf.data.Dataset` of `(text, label)` or `((text, other),
            label)`; or texts alone in any container. Labels are names of the model's classes or their numbers from 0;
            for a multi-label model, lists of them, or arrays `[n, C]` of 0 and 1; for a model with one output, the
            numbers that it predicts. Without labels (no label column), the model's own answers take their place, and
            the metric is the agreement with them.
        target_speedup: Times faster than the original on the same length-grouped batches; None if the settings have
            `max_loss` or `target_latency_ms` instead.
        retrain: Whether to train the reduced model; if not, only encoders that are narrowed change, by least squares.
        dev_data: Data to measure on, of any of these kinds; without it, a share of the data is split off.
        classes: Names of the classes in the order of the model's outputs; by default the model's own.
        text_column: Column of the texts in a table or data frame; by default `text` in a data frame.
        text_pair_column: Column of the second texts, for a model on pairs.
        label_column: Column of the labels; by default `label`, if there is one. Several have 0 or 1 for each label.
        max_disagreement: For texts without labels and one class of several: the share of answers on held-out texts that
            may change, such as 0.01. It takes the place of `target_speedup`.
        label_separator: What is between the labels of a row, for a multi-label model; found by default.
        on_bad_row: `"error"`, or `"skip"` to leave out rows that cannot be used.
        name: Name of the task.
        output_dir: A new or empty folder for settings, weights and results; None for a temporary one, which lives as
            long as the returned object.
        verbose: 0 for no output, 1 for progress. The report is printed by neither; it is in the returned object.
        **settings: Settings of the run, by the names of its flags: `max_seq_length`, `epochs_retrain`,
            `learning_rate_retrain`, `distillation`, `batch_size`, `metric`, `max_loss`, `latency_batch_size`, `seed`
            and so on; of a table, `delimiter`, `encoding`, `columns` and `quoting`.

    Returns:
        The reduced model with its report, which can predict and be exported.

    Raises:
        InputError: The model has no head or is unsupported, the data does not fit it, a setting is unknown, or the
            target is out of reach. All this is found before anything is searched or trained.
        OSError: A file cannot be read or written.
    """
    of_tables = {name: settings.pop(name) for name in _TABLE_SETTINGS if name in settings}
    _check_settings(settings, retrain)
    if output_dir is not None and Path(output_dir).exists() and any(Path(output_dir).iterdir()):
        raise InputError(f"output_dir={output_dir}: holds files; expected a new or empty folder.")
    if not retrain:
        settings["max_loss_of"] = "searched"
    trained = find_trained_classifier(model, classes)
    columns = DataSettings(
        text_column=text_column,
        text_pair_column=text_pair_column,
        label_column=label_column if isinstance(label_column, str) else ",".join(label_column),
        label_separator=label_separator,
        on_bad_row=on_bad_row,
        **of_tables,
    )
    given, tables = _read(data, dev_data, columns, name)
    if tables is None and not given.label_column and LABEL in find_tables(given).first("train").columns:
        given = dataclasses.replace(given, label_column=LABEL)  # as in a data frame
    with_labels = bool(given.label_column or (tables or find_tables(given)).label_column)
    if max_disagreement is not None:
        if with_labels:
            raise InputError("max_disagreement: the data has labels; expected max_loss, or texts without labels.")
        if trained.num_outputs == 1 or trained.checkpoint.is_multi_label:
            raise InputError("max_disagreement: is for a model of one class of several; expected max_loss.")
        if "max_loss" in settings:
            raise InputError("max_disagreement and max_loss are given; expected one of them.")
        target_speedup, settings["max_loss"] = None, max_disagreement
    own = (load_labeled if with_labels else load_unlabelled)(trained, given, name, tables)
    settings["max_seq_length"] = settings.get("max_seq_length") or trained.checkpoint.max_seq_length
    root = Path(tempfile.mkdtemp(prefix="powerbert-") if output_dir is None else output_dir)
    try:
        with reporting(verbose):
            say(own.summary)
            resolved = resolve_settings(own.task, target_speedup=target_speedup, output_dir=str(root), **settings)
            accelerated = _accelerate(resolved, own, trained.checkpoint, retrain)
    except BaseException:
        if output_dir is None:
            shutil.rmtree(root, ignore_errors=True)
        raise
    if output_dir is None:
        weakref.finalize(accelerated, shutil.rmtree, root, ignore_errors=True)
    return accelerated


def _accelerate(settings: Settings, own: OwnData, checkpoint: Checkpoint, retrain: bool) -> Accelerated:
    """Runs the stages, except that the checkpoint's own weights take the place of fine-tuned ones."""
    with computing_in(settings.inference.precision):
        run = prepare(settings, Path(settings.output_dir), own, checkpoint)
        check_plan(run, ("finetune", "search", "retrain", "export"))
        run = adopt_weights(run)
        reason = ""
        try:
            run_stage(run, "search")
        except NoGainError as error:
            keep_everything(run)
            reason = str(error)
        retrains = retrain and not reason
        if retrains:
            run_stage(run, "retrain")
        else:
            keep_weights(run)
        drop_searched_weights(run)
        run_stage(run, "evaluate")
        report = make_report(
            run.folder.finished("evaluate"),
            cast(np.ndarray, run.split("dev").labels),
            run.task,
            run.settings.inputs.max_seq_length,  # which may have been proposed
            retrains,
            reason,
        )
        answering = dataclasses.replace(run, task=run.task_of("retrain"))
        return Accelerated(run.reduced_model(), report, answering)


def _check_settings(settings: dict[str, Any], retrain: bool) -> None:
    known = [*(name for name in FIELDS if name not in _NOT_SETTINGS), *_TABLE_SETTINGS]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]}: no setting of accelerate; expected one of {', '.join(known)}.")
    method = settings.get("search_method", "calibrate")
    if method == "paper" or (method != "calibrate" and not retrain):
        raise InputError(
            f"search_method={method}: expected calibrate{', which trains nothing' if not retrain else ' or soft'}."
        )


def _read(data: Any, dev_data: Any, settings: DataSettings, name: str) -> tuple[DataSettings, LabelledTables | None]:
    """Returns settings with the paths of tables, or the tables of data in memory."""
    given = {"train": data} if dev_data is None else {"train": data, "dev": dev_data}
    in_memory = {split for split, of_split in given.items() if is_in_memory(of_split)}
    if not in_memory:
        dev_file = "" if dev_data is None else str(dev_data)
        return dataclasses.replace(settings, train_file=str(data), dev_file=dev_file), None
    if len(in_memory) < len(given):
        raise InputError("data and dev_data: one is a path, the other is not; expected both of one kind.")
    return settings, memory_tables(given, settings, name or "texts")
