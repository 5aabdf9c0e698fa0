"""What a run's report tells, gathered from its stages as JSON values.

The report stage: a page and Markdown that tell what a run came to, and why.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import special

from powerbert_tf.batches.batching import EncodedSplit, prediction_batches
from powerbert_tf.common.files import replacing, write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import METRICS, compare_answers, confusion, predictions_from_logits
from powerbert_tf.data.reliability import reliability
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.operations import saving_steps
from powerbert_tf.reports.figures import svg_text
from powerbert_tf.reports.page import Plot, report_markdown, report_page
from powerbert_tf.reports.sections import headline, report_sections
from powerbert_tf.reports.tensorboard import write_tensorboard
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import TRAINING_STAGES
from powerbert_tf.training.evaluation import predict_logits
from powerbert_tf.training.state import LOG_FILE

_QUANTILES = (0.5, 0.95, 0.99)
_LENGTH_BINS = 32  # at most, of the histogram
_SHOWN = 10  # examples lost, and as many won
# Ways of batching the dev split: as `speed.BASELINES` calls them, and how `prediction_batches` makes them.
_WAYS: dict[str, dict[str, Any]] = {
    "padded to N": {"padding": "max", "grouped": False},
    "padded to the batch": {"padding": "batch", "grouped": False},
    "grouped by length": {"padding": "batch", "grouped": True},
}


def gather(run: Run) -> dict[str, Any]:
    """Everything that the report tells, ready for JSON.

    Args:
        run: With its stages up to `evaluate`; what `search` and `pareto` left is told where it is there.

    Returns:
        See the functions below, one an entry. `reliability`, `agreement`, `confusion` and `examples` are None, or hold
        other things, for a regression: `differences` takes their place.
    """
    evaluated = cast(dict[str, Any], run.folder.result("evaluate"))
    dev = run.split("dev")
    labels = cast(np.ndarray, dev.labels)
    logits = {
        name: predict_logits(model, dev, run.settings.inference)
        for name, model in (("dense", run.dense_model()), ("reduced", run.reduced_model()))
    }
    configuration = run.configuration()
    size = run.checkpoint.config.encoder_size
    gains = saving_steps(size, configuration, dev.lengths, run.settings.inputs.max_seq_length)
    return {
        "task": run.task.name,
        "classes": list(run.task.classes),
        "checkpoint": run.checkpoint.name,
        "settings": run.resolved(),
        "data": _data(run, dev),
        "curves": {stage: rows for stage in TRAINING_STAGES if (rows := read_log(run.folder.stage(stage)))},
        "kept_epochs": {stage: (run.folder.result(stage) or {}).get("epoch") for stage in ("finetune", "retrain")},
        "search": _search(run),
        "retention_configuration": list(configuration),
        "metric": evaluated["metric"],
        "metrics": _metrics(run, evaluated),
        "further": evaluated.get("further", {}),
        "per_class": evaluated.get("per_class", {}),
        "kept": evaluated["multiply_adds"]["kept"],
        "mean_length": evaluated["multiply_adds"]["mean_length"],
        "gains": [{"name": one.name, "multiply_adds": one.multiply_adds, "exact": one.exact} for one in gains],
        "speedup": evaluated["speedup"],
        **_answers(run.task, logits, labels, run.dataset.splits["dev"].texts),
        "pareto": run.folder.result("pareto"),
        "seeds": None,
    }


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The epochs in a training stage's log; none where there is no log."""
    path = folder / LOG_FILE
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def padding_shares(split: EncodedSplit, batch_size: int, length_buckets: int) -> dict[str, float]:
    """The share of what is computed that is padding, by the way of batching.

    Args:
        split: Word-pieces.
        batch_size: Examples of a batch.
        length_buckets: Most padded lengths.
    """
    real = int(split.lengths.sum())
    shares = {}
    for name, way in _WAYS.items():
        batches = prediction_batches(split, batch_size, length_buckets=length_buckets, **way)
        computed = sum(len(rows) * int(length) for rows, length in zip(batches.rows, batches.lengths, strict=True))
        shares[name] = 1 - real / computed
    return shares


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
    return {
        "source": run.dataset.source,
        "max_seq_length": longest,
        "splits": splits,
        "edges": edges.tolist(),
        "histogram": histogram,
        "padding": padding_shares(dev, batch_size, run.settings.inference.length_buckets),
        "batch_size": batch_size,
    }


def _search(run: Run) -> dict[str, Any] | None:
    """What the search said of itself, without its settings; None where the configuration was given."""
    result = run.folder.result("search") if run.settings.search.searches else None
    return None if result is None else {name: value for name, value in result.items() if name != "settings"}


def _metrics(run: Run, evaluated: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a dev metric: fine-tuned, reduced before re-training (None where not known), reduced."""
    before = (run.folder.result("retrain") or {}).get("metrics_before", {})
    return [
        {
            "name": name,
            "dense": value,
            "before": before.get(name),
            "reduced": evaluated["reduced"]["metrics"][name],
        }
        for name, value in evaluated["dense"]["metrics"].items()
    ]


def _answers(
    task: Task, logits: dict[str, np.ndarray], labels: np.ndarray, texts: tuple[Sequence[str], ...]
) -> dict[str, Any]:
    dense, reduced = logits["dense"], logits["reduced"]
    if task.is_regression:
        return {"reliability": None, "agreement": None, "confusion": None, **_of_numbers(dense, reduced, labels, texts)}
    right, still = (np.argmax(values, axis=-1) == labels for values in (dense, reduced))
    probabilities = {name: special.softmax(values, axis=-1) for name, values in logits.items()}
    own = {name: values[np.arange(len(labels)), labels] for name, values in probabilities.items()}
    change = own["reduced"] - own["dense"]

    def shown(which: np.ndarray, key: np.ndarray) -> list[dict[str, Any]]:
        rows = np.flatnonzero(which)
        return [
            {
                "number": int(row),
                "texts": [column[row] for column in texts],
                "label": task.classes[labels[row]],
                "dense": _answer(task, probabilities["dense"][row]),
                "reduced": _answer(task, probabilities["reduced"][row]),
            }
            for row in rows[np.argsort(key[rows], kind="stable")][:_SHOWN]
        ]

    return {
        "reliability": {name: reliability(values, labels) for name, values in logits.items()},
        "agreement": {"examples": len(labels), **compare_answers(dense, reduced, labels)},
        "confusion": {
            name: confusion(predictions_from_logits(task, values), labels, len(task.classes)).tolist()
            for name, values in logits.items()
        },
        "differences": None,
        "examples": {"lost": shown(right & ~still, change), "won": shown(~right & still, -change)},
    }


def _answer(task: Task, probabilities: np.ndarray) -> str:
    best = int(np.argmax(probabilities))
    return f"{task.classes[best]} ({probabilities[best]:.2f})"


def _of_numbers(
    dense: np.ndarray, reduced: np.ndarray, labels: np.ndarray, texts: tuple[Sequence[str], ...]
) -> dict[str, Any]:
    """Of a regression: how far the two models' numbers lie apart, and where most."""
    before, after = dense[:, 0].astype("float64"), reduced[:, 0].astype("float64")
    worse = np.abs(after - labels) - np.abs(before - labels)
    order = np.argsort(-worse, kind="stable")

    def shown(rows: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "number": int(row),
                "texts": [column[row] for column in texts],
                "label": f"{labels[row]:.3f}",
                "dense": f"{before[row]:.3f}",
                "reduced": f"{after[row]:.3f}",
            }
            for row in rows
        ]

    return {
        "differences": {
            "examples": len(labels),
            "pearson": METRICS["pearson"](before, after),
            "mean": float(np.mean(np.abs(after - before))),
            "largest": float(np.max(np.abs(after - before))),
            "mean_error": {
                "dense": float(np.mean(np.abs(before - labels))),
                "reduced": float(np.mean(np.abs(after - labels))),
            },
            "points": [[round(float(x), 4), round(float(y), 4)] for x, y in zip(before, after, strict=True)],
        },
        "examples": {
            "lost": shown(order[worse[order] > 0][:_SHOWN]),
            "won": shown(order[::-1][worse[order[::-1]] < 0][:_SHOWN]),
        },
    }


_PAGE, _MARKDOWN, _CONTENT, _FIGURES, _LOGS = "index.html", "report.md", "report.json", "figures", "tensorboard"


def report(run: Run, folder: Path) -> dict[str, Any]:
    """Writes `index.html`, `report.md` with `figures/*.svg`, `report.json` and, if asked for, `tensorboard/`.

    Returns:
        For `result.json`.
    """
    content = gather(run)
    _write(folder, content)
    if run.settings.reports.tensorboard:
        write_tensorboard(folder / _LOGS, content["curves"])
    say(f"  {headline(content)}")
    return {"file": _PAGE, "headline": headline(content)}


def tell_spread(folders: Sequence[Path], summary: Mapping[str, Any]) -> None:
    """Writes the finished reports of several seeds anew, with mean and spread in each.

    Args:
        folders: Of the reports.
        summary: From `seeds.summarize_seeds`.
    """
    for folder in folders:
        content = json.loads((folder / _CONTENT).read_text(encoding="utf-8"))
        _write(folder, {**content, "seeds": dict(summary)})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    sections = report_sections(content)
    title = f"{content['task']}: what the reduced model came to"
    write_json(folder / _CONTENT, content)
    figures = folder / _FIGURES
    figures.mkdir(exist_ok=True)
    texts = {
        folder / _PAGE: report_page(title, sections),
        folder / _MARKDOWN: report_markdown(title, sections, _FIGURES),
    }
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Plot):
                texts[figures / f"{block.name}.svg"] = svg_text(block.figure, block.name)
    for path, text in texts.items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
