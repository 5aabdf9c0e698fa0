"""Reads a `FastClassifier` from the folder that `save` wrote, or from that of a finished run."""

import dataclasses
import os
from pathlib import Path

from powerbert_tf.acceleration.fast_classifier import FastClassifier
from powerbert_tf.acceleration.saved_folder import SAVED_FILE, read_saved
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import reporting
from powerbert_tf.models.precision import computing_in
from powerbert_tf.reports.acceleration_report import make_report
from powerbert_tf.runs.finished_run import load_finished_run
from powerbert_tf.runs.result_schema import RESULT_FILE
from powerbert_tf.runs.run import Run


def load(folder: str | os.PathLike[str]) -> FastClassifier:
    """Reads a reduced classifier.

    Args:
        folder: What `FastClassifier.save` wrote, or the folder of a finished run of the command line, such as
            `runs/reviews`. A run also needs the checkpoint that it was made from, for its tokenizer.

    Returns:
        The classifier; it answers as it did where it was saved, to 1e-6.

    Raises:
        InputError: There is no such folder, it is neither of the two, or a file in it is damaged or missing.

    Example:
        >>> fast = powerbert_tf.load("saved")
        >>> fast.predict(["a film to remember"])[0] in ("dull", "fair", "fine")
        True
    """
    path = Path(folder)
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise InputError(f"{path}: {what}; expected a folder that save wrote, or that of a finished run.")
    with reporting(verbose=0):
        if (path / SAVED_FILE).exists():
            run: Run
            run, model, content = read_saved(path)
            evaluated = run.results.result("evaluate")
            retrained, no_gain = bool(content.get("retrained")), str(content.get("no_gain", ""))
        else:
            _require_run(path)
            run = load_finished_run(path, {})
            if run.task.choices > 1:
                raise InputError(
                    f"{path}: {run.task.name} is multiple choice; expected a classifier of texts or pairs."
                )
            run = dataclasses.replace(run, task=run.task_of("retrain"))
            with computing_in(run.settings.inference.precision):
                model = run.reduced_model()
            evaluated = run.results.result("evaluate")
            retrained, no_gain = run.results.finished("retrain").get("epoch", 1) > 0, ""
    length = run.settings.inputs.max_seq_length
    report = None if evaluated is None else make_report(evaluated, length, retrained, no_gain)
    return FastClassifier(model, report, run)


def _require_run(folder: Path) -> None:
    """Refuses a folder that holds no finished run of texts, and says what it holds instead."""
    if (folder / "retrain" / RESULT_FILE).is_file():
        return
    places = [*folder.glob(f"*/retrain/{RESULT_FILE}"), *folder.glob(f"*/{SAVED_FILE}")]
    inside = sorted({str(folder / place.relative_to(folder).parts[0]) for place in places})
    hint = f"; {' and '.join(inside[:3])} {'is one' if len(inside) == 1 else 'are some'}" if inside else ""
    if not inside and (folder / "config.json").is_file():
        hint = "; accelerate makes a classifier in such a folder faster"
    raise InputError(f"{folder}: expected a folder that save wrote, or that of a finished run{hint}.")
