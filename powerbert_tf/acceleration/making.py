"""The stages from data to a `FastClassifier`, in memory or in a folder; the command line runs the same functions."""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

from powerbert_tf.acceleration.fast_classifier import FastClassifier
from powerbert_tf.acceleration.given_data import TABLE_SETTINGS
from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError, NoGainError
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.models.precision import computing_in
from powerbert_tf.reports.acceleration_report import make_report
from powerbert_tf.runs.pipeline import write_settings
from powerbert_tf.runs.preparation import check_plan, prepare
from powerbert_tf.runs.results import MemoryResults
from powerbert_tf.runs.settings import FIELDS, Settings
from powerbert_tf.runs.stage_runner import run_stage
from powerbert_tf.runs.stages.search import drop_searched_weights, keep_everything
from powerbert_tf.search.settings import GIVEN

# Settings of a run that a call has arguments for, or that mean nothing there.
_NOT_SETTINGS = ("task", "checkpoint", "output_dir", "data_dir", "target_speedup", *GIVEN)


def make_fast(
    settings: Settings, own: OwnData, checkpoint: Checkpoint | None, root: Path | None, adopts: bool
) -> FastClassifier:
    """Fine-tunes, or takes a trained classifier as it is; then searches, re-trains and evaluates.

    Args:
        settings: Settings of the run.
        own: The data.
        checkpoint: The checkpoint; None for the one that the settings name.
        root: Folder of the results; None to write nothing.
        adopts: Whether the checkpoint is a trained classifier.

    Raises:
        InputError: Something does not fit; as far as possible before anything is trained.
    """
    with computing_in(settings.inference.precision):
        run = prepare(settings, root, own, checkpoint, adopts)
        check_plan(run, ("finetune", "search", "retrain"))
        if root is not None:
            write_settings(run, own)
        run_stage(run, "finetune")
        reason = ""
        try:
            run_stage(run, "search")
        except NoGainError as error:
            reason = str(error)
            run_stage(run, "search", function=lambda run, _: keep_everything(run, reason))
            run = run.replaced(settings=run.settings.replace(epochs_retrain=0))
            if root is not None:
                write_settings(run, own)
        run_stage(run, "retrain")
        drop_searched_weights(run)
        run_stage(run, "evaluate")
        report = make_report(
            run.results.finished("evaluate"),
            run.settings.inputs.max_seq_length,  # which may have been proposed
            run.settings.training.epochs_retrain > 0,
            reason,
        )
        model = run.reduced_model()
        if isinstance(run.results, MemoryResults):
            run.results.forget("finetune")
        return FastClassifier(model, report, run.replaced(task=run.task_of("retrain")))


def check_settings(call: str, settings: Collection[str]) -> None:
    """Refuses names that are no settings of a call.

    Raises:
        InputError: A name is unknown; the message lists those that are known.
    """
    known = known_settings()
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]}: no setting of {call}; expected one of {', '.join(known)}.")


@functools.cache
def known_settings() -> tuple[str, ...]:
    """Names of the settings that a call takes beside its arguments."""
    return (*(name for name in FIELDS if name not in _NOT_SETTINGS), *TABLE_SETTINGS)


def take_table_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Takes the settings of tables out of those of a call."""
    return {name: settings.pop(name) for name in TABLE_SETTINGS if name in settings}


def require_new(output_dir: str | Path | None) -> Path | None:
    """The folder as a path.

    Raises:
        InputError: It holds files.
    """
    if output_dir is None:
        return None
    folder = Path(output_dir)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"output_dir={output_dir}: holds files; expected a new or empty folder.")
    return folder
