"""The stage that exports, and its SavedModel: which models, which requests to try them on, what their card says."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.export import saved_model_written
from powerbert_tf.export_formats import EXPORT_FORMATS, ExportFormat, load_function
from powerbert_tf.model_card import format_card
from powerbert_tf.modeling import BertClassifier, with_retention
from powerbert_tf.run import Run
from powerbert_tf.serving import budget_suffix
from powerbert_tf.task_file import describe_task

_SAMPLES = 5  # dev texts, from the shortest to the longest


def export_run(run: Run, _: Path) -> dict[str, Any]:
    """Writes the formats of `--export_format` aside, and tells what goes where, and what is there already."""
    written = {name: _write(run, EXPORT_FORMATS[name]) for name in run.settings.export_formats}
    every = {**run.exported(), **written}
    results = {name: every[name] for name in EXPORT_FORMATS if name in every}
    first, *_others = results.values()
    return {**first, "formats": results}


def _write(run: Run, form: ExportFormat) -> dict[str, Any]:
    write = load_function(form.writer)
    if form.versioned:
        return write(run, run.folder.root / form.folder)
    result = write(run, run.folder.names.enter_context(run.folder.replacing(form.folder)))
    print(f"  {run.folder.root / form.folder}", flush=True)
    return {"path": form.folder, **result}


def write_saved_model(run: Run, folder: Path) -> dict[str, Any]:
    """Exports the re-trained model, or the elastic weights with a set of signatures for each budget."""
    models = exported_models(run)
    configurations = {suffix: model.retention_configuration for suffix, model in models.items()}
    shapes = run.settings.serving_shapes
    version = run.folder.names.enter_context(
        saved_model_written(
            models,
            run.task,
            run.tokenizer,
            run.tokenizer.files,
            folder,
            sample_texts(run),
            shapes,
            format_card(run, configurations, shapes),
            describe_task(run.task, run.settings, run.lower_case),
        )
    )
    print(f"  {version}", flush=True)
    last = configurations[list(configurations)[-1]]
    return {
        "version": int(version.name),
        "path": str(version.relative_to(run.folder.root)),
        "retention_configuration": None if last is None else list(last),
    }


def exported_models(run: Run) -> dict[str, BertClassifier]:
    """What `--export_model` asks for, by the suffix of their signatures, over one set of weights."""
    if run.settings.export_model == "finetune":
        return {"": run.dense_model()}
    if run.settings.export_model == "retrain":
        return {"": run.reduced_model()}
    full = run.load_model("elastic")
    budgets = cast(dict[str, Any], run.folder.result("elastic"))["budgets"]
    reduced = {
        budget_suffix(budget["target_speedup"]): with_retention(full, budget["retention_configuration"])
        for budget in budgets
    }
    return {"": full, **reduced}


def sample_texts(run: Run) -> list[tuple[str, ...]]:
    """Some dev texts, of all lengths."""
    texts = run.dataset.splits["dev"].texts
    by_length = np.argsort(run.split("dev").lengths, kind="stable")
    places = np.unique(np.linspace(0, len(by_length) - 1, _SAMPLES).astype(int))
    return [tuple(str(column[row]) for column in texts) for row in by_length[places]]
