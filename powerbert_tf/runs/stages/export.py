"""The export stage: the models of a run in the formats of `--export_format`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.reporting import say
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.saved_model import write_saved_model
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.export.signatures import budget_suffix
from powerbert_tf.export.writers import WRITERS
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.task_file import describe_task

_SAMPLES = 5


def export(run: Run, _: Path) -> dict[str, Any]:
    """Writes each format to a temporary folder, which gets its name when the result of the stage appears.

    Returns:
        The content of `result.json`: where each format is, including those of an earlier export with the same settings.
    """
    elastic = run.results.result("elastic") if run.settings.export.export_model == "elastic" else None
    request = export_request(run, models_to_export(run, elastic), run.settings.export, elastic)
    results = run.exported()
    for name in run.settings.export.formats:
        results[name] = _write(run, request, name)
    results = {name: results[name] for name in EXPORT_FORMATS if name in results}
    first, *_others = results.values()
    return {**first, "formats": results}


def _write(run: Run, request: ExportRequest, name: str) -> dict[str, Any]:
    folder = run.folder.root / EXPORT_FORMATS[name].folder
    if EXPORT_FORMATS[name].versioned:
        result = run.folder.names.enter_context(write_saved_model(request, folder))
    else:
        written = WRITERS[name](request, run.folder.names.enter_context(run.folder.replacing(folder.name)))
        result = {"path": folder.name, **written}
    say(f"  {run.folder.root / result['path']}")
    return result


def export_request(
    run: Run, models: Mapping[str, BertClassifier], settings: ExportSettings, elastic: Mapping[str, Any] | None = None
) -> ExportRequest:
    """The request to export models of a run, see `ExportRequest`."""
    task = run.task_of(settings.export_model)
    return ExportRequest(
        models=models,
        task=task,
        tokenizer=run.tokenizer,
        checkpoint=run.checkpoint,
        settings=settings,
        truncation=run.settings.inputs.truncation,
        samples=_sample_texts(run),
        description=describe_task(
            task,
            run.settings.inputs,
            run.tokenizer.lower_case,
            run.tokenizer.pair_truncation if task.is_pair else "",
        ),
        origin={"data": run.dataset.source, "fingerprint": run.fingerprint},
        evaluated=run.results.result("evaluate"),
        elastic=elastic,
    )


def models_to_export(run: Run, elastic: Mapping[str, Any] | None = None) -> dict[str, BertClassifier]:
    """Models by the suffixes of their signatures."""
    if elastic is None:
        return {"": run.dense_model() if run.settings.export.export_model == "finetune" else run.reduced_model()}
    full = run.load_model("elastic")
    reduced = {
        budget_suffix(budget["target_speedup"]): run.reduce(full, run.reduction_of(budget))
        for budget in elastic["budgets"]
    }
    return {"": full, **reduced}


def _sample_texts(run: Run) -> list[tuple[str, ...]]:
    """A few dev texts, from the shortest to the longest; where there is no data, some of these lengths."""
    if "dev" not in run.dataset.splits:
        lengths = np.linspace(1, run.settings.inputs.max_seq_length, _SAMPLES).astype(int)
        return [("the " * length,) * (1 + run.task.is_pair) for length in lengths]
    texts = run.dataset.splits["dev"].texts
    by_length = np.argsort(run.split("dev").lengths, kind="stable")
    places = np.unique(np.linspace(0, len(by_length) - 1, _SAMPLES).astype(int))
    return [tuple(str(column[row]) for column in texts) for row in by_length[places]]
