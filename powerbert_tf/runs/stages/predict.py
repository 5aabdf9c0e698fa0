"""The predict stage: answers to the test split, in the format of GLUE's server, or as a table for the user's data."""

import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import LABELS, NUMBER
from powerbert_tf.data.metrics import compute_metrics, format_metrics
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import GlueTask, OwnTask
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.prediction.answers import answer_columns, answer_names, answer_text, probability_columns
from powerbert_tf.runs.run import Run
from powerbert_tf.training.evaluation import predict_logits

PREDICTIONS_FILE = "predictions.csv"
BLOCK = 8192  # rows that are formatted at once


def predict(run: Run, folder: Path) -> dict[str, Any]:
    """Writes the answers of the reduced model to the test split; returns the content of `result.json`."""
    model = run.reduced_model()
    if isinstance(run.task, GlueTask):
        return _predict_glue(run, run.task, model, folder)
    return _predict_own(run, model, folder)


def _predict_glue(run: Run, task: GlueTask, model: BertClassifier, folder: Path) -> dict[str, Any]:
    """Writes `<submission>.tsv` for each test split that is there, and a file with the probabilities."""
    written, fitted = [], run.task_of("retrain")
    for split, submission in task.submissions.items():
        if split not in run.dataset.splits:
            continue
        logits = _logits(run, model, split)
        if task.is_regression:
            logits = np.clip(logits, 0.0, 5.0)  # the GLUE server takes similarities from 0 to 5 only
        indices = cast(list[str], run.dataset.splits[split].indices)  # a test split has indices
        answers = answer_names(fitted, logits)
        _write_tsv(folder / f"{submission}.tsv", ["index", "prediction"], zip(indices, answers, strict=True))
        name = "probabilities.tsv" if split == "test" else f"probabilities-{submission}.tsv"
        columns, values = probability_columns(fitted, logits)
        rows = ([index, *row] for index, row in zip(indices, values, strict=True))
        _write_tsv(folder / name, ["index", *columns], rows)
        written.append({"examples": len(indices), "submission": f"{submission}.tsv"})
    return {**written[0], **({"further": written[1:]} if written[1:] else {})}


def _predict_own(run: Run, model: BertClassifier, folder: Path) -> dict[str, Any]:
    """Writes `predictions.csv`: file and line of each row, its texts, label if known, answer, and probabilities.

    Computes metrics if there are labels.
    """
    logits = _logits(run, model, "test")
    split, task = run.dataset.splits["test"], run.task_of("retrain")
    given: dict[str, Sequence[str]] = {}  # of multiple choice, texts have no columns
    if isinstance(task, OwnTask):
        given = {**dict(zip(task.text_columns, split.texts, strict=True)), **_labels(task, split)}
    places = (place.rpartition(":") for place in cast(Sequence[str], split.indices))
    known = zip(*given.values(), strict=True) if given else itertools.repeat(())
    with (folder / PREDICTIONS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", *_header(given, task.classes)])
        for start in range(0, len(logits), BLOCK):
            block = logits[start : start + BLOCK]
            _, values = probability_columns(task, block)
            of_rows = (itertools.islice(columns, len(block)) for columns in (places, known))
            answers = zip(answer_names(task, block), values, *of_rows, strict=True)
            for answer, row, (path, _, line), cells in answers:
                writer.writerow([path, line, *cells, answer, *(row if task.classes else [])])
    result = {"examples": len(split), "predictions": PREDICTIONS_FILE}
    if split.labels is None:
        return result
    metrics = compute_metrics(task, split.labels, logits)
    say(f"  {format_metrics(metrics, 'test')}")
    return {**result, "metrics": metrics}


def _labels(task: OwnTask, split: Split) -> dict[str, Sequence[str]]:
    """The column of the true labels, by its name; none if they are not known."""
    if split.labels is None:
        return {}
    labels = np.asarray(split.labels)
    if task.kind is LABELS:
        names = [answer_text([task.classes[one] for one in np.flatnonzero(row)]) for row in labels]
    else:
        names = [f"{value:g}" for value in labels] if task.kind is NUMBER else [task.classes[one] for one in labels]
    return {task.label_column: names}


def _header(given: Iterable[str], classes: Sequence[str]) -> list[str]:
    """Columns of the input, renamed where a column of the answers, or of the place, has the name; then the answers'."""
    answers = answer_columns(classes)
    taken = {"file", "line", *answers}
    return [*(f"{name} (given)" if name in taken else name for name in given), *answers]


def _logits(run: Run, model: BertClassifier, split: str) -> np.ndarray:
    return predict_logits(model, run.split(split), run.settings.inference)


def _write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerow(header)
        writer.writerows(rows)
