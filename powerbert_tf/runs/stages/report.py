"""The report stage: a page and Markdown with the results of a run and the reasons for them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from sklearn.metrics import confusion_matrix

from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import LABELS, NUMBER, as_two_classes
from powerbert_tf.data.metrics import METRICS, compare_answers, predictions_from_answers, same_answers
from powerbert_tf.data.reliability import reliability
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.operations import saving_steps
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.reports.page import PAGE, write_pages
from powerbert_tf.reports.sections import headline, report_sections
from powerbert_tf.reports.tensorboard import write_tensorboard
from powerbert_tf.reports.verdict import judge
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import TRAINING_STAGES
from powerbert_tf.training.epoch_log import read_log, still_improving
from powerbert_tf.training.evaluation import evaluate_model, predict_logits

_MARKDOWN, _CONTENT, _LOGS = "report.md", "report.json", "tensorboard"
_QUANTILES = (0.5, 0.95, 0.99)
_LENGTH_BINS = 32  # at most, of the histogram
_SHOWN = 10  # examples lost, and as many won
_FEW = 100  # dev examples: an interval is then ten points wide or more
_EPOCHS = {"finetune": "--epochs", "retrain": "--epochs_retrain"}
# Ways of batching the dev split: names as in `speed.BASELINES`, and arguments of `prediction_batches`.
_WAYS: dict[str, dict[str, Any]] = {
    "padded to N": {"padding": "max", "grouped": False},
    "padded to the batch": {"padding": "batch", "grouped": False},
    "grouped by length": {"padding": "batch", "grouped": True},
}


def report(run: Run, folder: Path) -> dict[str, Any]:
    """Writes `index.html`, `report.md` with `figures/*.svg`, `report.json` and, if asked for, `tensorboard/`.

    Returns:
        The content of `result.json`.
    """
    content = _gather(run)
    _write(folder, content)
    if run.settings.reports.tensorboard:
        write_tensorboard(folder / _LOGS, content["curves"])
    for line in content["verdict"]:
        say(f"  {line}")
    return {"file": PAGE, "headline": headline(content)}


def find_cautions(run: Run, evaluated: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the figures of `evaluate/result.json`; nothing for most runs."""
    found = []
    for stage, flag in _EPOCHS.items():
        kept = (run.folder.result(stage) or {}).get("epoch")
        if still_improving(read_log(run.folder.stage(stage)), kept):
            found.append(f"{stage} was still improving clearly when it ended; a larger {flag} may do better.")
    if evaluated["examples"] < _FEW:
        found.append(f"There are only {evaluated['examples']} dev examples, so the figures may be chance.")
    if not run.settings.inputs.held_out_share:
        found.append("The dev rows chose the epoch, too, so figures on them are a little too high.")
    return found


def add_seeds(folders: Sequence[Path], summary: Mapping[str, Any]) -> None:
    """Adds a summary of `seeds.summarize_seeds` to the finished reports in these folders."""
    for folder in folders:
        content = json.loads((folder / _CONTENT).read_text(encoding="utf-8"))
        _write(folder, {**content, "seeds": dict(summary)})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    write_json(folder / _CONTENT, content)
    write_pages(folder, f"{content['task']}: results of the reduced model", report_sections(content), _MARKDOWN)


def _gather(run: Run) -> dict[str, Any]:
    """The content of a report, as JSON values.

    Results of `search` and `pareto` are included if they are there. For a regression, `reliability`, `agreement` and
    `confusion` are None; otherwise `differences` is. Several labels have no confusion matrix.
    """
    evaluated = run.results.finished("evaluate")
    dev = run.split("dev")
    models = {"dense": run.dense_model(), "reduced": run.reduced_model()}
    logits = {name: predict_logits(model, dev, run.settings.inference) for name, model in models.items()}
    reduction = models["reduced"].reduction
    narrowed = models["reduced"].config.encoder_size if reduction.is_narrowed else None
    max_seq_length = run.settings.inputs.max_seq_length
    steps = saving_steps(run.checkpoint.config.encoder_size, reduction.rows, dev.lengths, max_seq_length, narrowed)
    search = run.results.result("search") if run.settings.search.searches else None
    before = (run.results.result("retrain") or {}).get("metrics_before", {})
    answers = _compare_numbers if run.task.kind is NUMBER else _compare_classes
    tasks = {"dense": run.task_of("finetune"), "reduced": run.task_of("retrain")}
    verdict = judge(evaluated)
    return {
        "verdict": list(verdict.lines),
        "is_worth": verdict.is_worth,
        "cautions": find_cautions(run, evaluated),
        "task": run.task.name,
        "classes": list(run.task.classes),
        "checkpoint": run.checkpoint.name,
        "settings": run.resolved(),
        "data": _data(run, dev),
        "curves": {stage: rows for stage in TRAINING_STAGES if (rows := read_log(run.folder.stage(stage)))},
        "kept_epochs": {stage: (run.results.result(stage) or {}).get("epoch") for stage in ("finetune", "retrain")},
        "search": search and {name: value for name, value in search.items() if name != "settings"},
        **reduction.to_json(),
        "weights": {name: model.count_params() for name, model in models.items()},
        "metric": evaluated["metric"],
        "metrics": [
            {"name": name, "dense": dense, "before": before.get(name), "reduced": evaluated["reduced"]["metrics"][name]}
            for name, dense in evaluated["dense"]["metrics"].items()
        ],
        "test": _test_metrics(run, models, tasks),
        "further": evaluated.get("further", {}),
        "per_class": evaluated.get("per_class", {}),
        "kept": evaluated["multiply_adds"]["kept"],
        "mean_length": evaluated["multiply_adds"]["mean_length"],
        "gains": [dataclasses.asdict(step) for step in steps],
        "speedup": evaluated["speedup"],
        "calibration": evaluated.get("calibration"),
        **answers(tasks, logits, cast(np.ndarray, dev.labels), run.dataset.splits["dev"].texts),
        "pareto": run.results.result("pareto"),
        "seeds": None,
    }


def _test_metrics(
    run: Run, models: Mapping[str, BertClassifier], tasks: Mapping[str, Task]
) -> dict[str, dict[str, float]] | None:
    """Metrics of both models on the test split; None where it has no labels."""
    split = run.dataset.splits.get("test")
    if split is None or split.labels is None:
        return None
    test = run.split("test")
    return {name: evaluate_model(model, tasks[name], test, run.settings.inference) for name, model in models.items()}


def _data(run: Run, dev: EncodedSplit) -> dict[str, Any]:
    """Sizes, lengths and padding: `splits` (examples, mean, quantiles, longest, share that fills N), `histogram`."""
    longest = run.settings.inputs.max_seq_length
    edges = np.unique(np.linspace(0, longest, min(_LENGTH_BINS, longest) + 1).round().astype(int))
    splits, histogram = {}, {}
    for name in ("train", "dev"):
        lengths = run.split(name).lengths
        splits[name] = {
            "examples": len(lengths),
            "mean": float(np.mean(lengths)),
            **{f"{100 * q:g} %": float(np.quantile(lengths, q)) for q in _QUANTILES},
            "longest": int(np.max(lengths)),
            "full": float(np.mean(lengths == longest)),
        }
        # Lengths e_i < n <= e_{i+1}.
        counts = np.histogram(lengths - 0.5, bins=edges)[0]
        histogram[name] = (counts / len(lengths)).tolist()
    batch_size = run.settings.measuring.latency_batch_size
    padding = {}  # the share of the computed word-vectors that is padding
    for name, way in _WAYS.items():
        batches = prediction_batches(dev, batch_size, length_buckets=run.settings.inference.length_buckets, **way)
        computed = sum(len(batches.rows(at)) * int(length) for at, length in enumerate(batches.lengths))
        padding[name] = 1 - int(dev.lengths.sum()) / computed
    return {
        "source": run.dataset.source,
        "max_seq_length": longest,
        "splits": splits,
        "edges": edges.tolist(),
        "histogram": histogram,
        "padding": padding,
        "batch_size": batch_size,
    }


def _compare_classes(
    tasks: dict[str, Task], logits: dict[str, np.ndarray], labels: np.ndarray, texts: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """How the answers of the two models of a classification differ, and the examples that changed most."""
    task = tasks["dense"]
    several = task.kind is LABELS
    probabilities = {name: tasks[name].answers(values) for name, values in logits.items()}
    predictions = {name: predictions_from_answers(tasks[name], values) for name, values in probabilities.items()}
    right, still = (same_answers(values, labels) for values in predictions.values())
    gained = probabilities["reduced"] - probabilities["dense"]  # of the right class, or in the right directions
    change = np.mean(gained * (2.0 * labels - 1), axis=-1) if several else gained[np.arange(len(labels)), labels]

    def answer(name: str, row: int) -> str:
        found = predictions[name][row]
        numbers = np.flatnonzero(found) if several else [found]
        return " + ".join(f"{task.classes[at]} ({probabilities[name][row, at]:.2f})" for at in numbers) or "none"

    def named(label: Any) -> str:
        if not several:
            return task.classes[label]
        return " + ".join(task.classes[at] for at in np.flatnonzero(label)) or "none"

    def shown(which: np.ndarray, key: np.ndarray) -> list[dict[str, Any]]:
        rows = np.flatnonzero(which)
        rows = rows[np.argsort(key[rows], kind="stable")]
        answers = {name: [answer(name, row) for row in rows[:_SHOWN]] for name in logits}
        return _examples(rows, texts, [named(labels[row]) for row in rows[:_SHOWN]], answers)

    both = tasks["dense"], tasks["reduced"]
    scaled = {name: values / tasks[name].temperature for name, values in logits.items()}
    return {
        "reliability": {
            # Each label of each row is an answer of its own, yes or no.
            name: reliability(as_two_classes(values.ravel()), labels.ravel())
            if several
            else reliability(values, labels)
            for name, values in scaled.items()
        },
        "agreement": {"examples": len(labels), **compare_answers(both, logits["dense"], logits["reduced"], labels)},
        "confusion": None
        if several
        else {
            name: confusion_matrix(labels, values, labels=np.arange(len(task.classes))).tolist()
            for name, values in predictions.items()
        },
        "differences": None,
        "examples": {"lost": shown(right & ~still, change), "won": shown(~right & still, -change)},
    }


def _compare_numbers(
    _: dict[str, Task], logits: dict[str, np.ndarray], labels: np.ndarray, texts: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """How far the numbers of the two models of a regression are apart, and the examples that changed most."""
    numbers = {name: values[:, 0].astype("float64") for name, values in logits.items()}
    dense, reduced = numbers.values()
    errors = {name: np.abs(values - labels) for name, values in numbers.items()}
    worse = errors["reduced"] - errors["dense"]
    order = np.argsort(-worse, kind="stable")

    def shown(rows: np.ndarray) -> list[dict[str, Any]]:
        label, *answers = ([f"{values[row]:.3f}" for row in rows[:_SHOWN]] for values in (labels, dense, reduced))
        return _examples(rows, texts, label, dict(zip(numbers, answers, strict=True)))

    return {
        "reliability": None,
        "agreement": None,
        "confusion": None,
        "differences": {
            "examples": len(labels),
            "pearson": METRICS["pearson"](dense, reduced),
            "mean": float(np.mean(np.abs(reduced - dense))),
            "largest": float(np.max(np.abs(reduced - dense))),
            "mean_error": {name: float(np.mean(values)) for name, values in errors.items()},
            "points": np.column_stack([dense, reduced]).round(4).tolist(),
        },
        "examples": {
            "lost": shown(order[worse[order] > 0]),
            "won": shown(order[::-1][worse[order[::-1]] < 0]),
        },
    }


def _examples(
    rows: np.ndarray, texts: Sequence[Sequence[str]], labels: Sequence[str], answers: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The first examples of `rows`, as far as there are labels: number, texts, label and the answer of each model."""
    return [
        {
            "number": int(row),
            "texts": [column[row] for column in texts],
            "label": label,
            **{name: values[place] for name, values in answers.items()},
        }
        for place, (row, label) in enumerate(zip(rows, labels, strict=False))
    ]
