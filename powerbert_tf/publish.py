"""The stage that exports, and its SavedModel: which models, which requests to try them on, what their card says."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.export import export_saved_model
from powerbert_tf.export_formats import EXPORT_FORMATS, ExportFormat, load_function
from powerbert_tf.exported_models import exported_models
from powerbert_tf.model_card import format_card
from powerbert_tf.run import Run
from powerbert_tf.serving import budget_suffix
from powerbert_tf.task_file import describe_task

_SAMPLES = 5  # dev texts, from the shortest to the longest


def export_run(run: Run, _: Path) -> dict[str, Any]:
    """Writes the formats of `--export_format`, each into its folder of the run, and tells what it wrote where."""
    results = {name: _write(run, EXPORT_FORMATS[name]) for name in run.settings.export_formats}
    first, *_others = results.values()
    return {**first, "formats": results}


def _write(run: Run, form: ExportFormat) -> dict[str, Any]:
    write = load_function(form.writer)
    if form.versioned:
        return write(run, run.folder.root / form.folder)
    with run.folder.replacing(form.folder) as partial:
        result = write(run, partial)
    print(f"  {run.folder.root / form.folder}", flush=True)
    return {"path": form.folder, **result}


def write_saved_model(run: Run, folder: Path) -> dict[str, Any]:
    """Exports the re-trained model, or the elastic weights with a set of signatures for each budget."""
    models = {budget_suffix(target) if target else "": model for target, model in exported_models(run).items()}
    configurations = {suffix: model.retention_configuration for suffix, model in models.items()}
    shapes = run.settings.serving_shapes
    version = export_saved_model(
        models,
        run.task,
        run.tokenizer,
        run.tokenizer.files,
        folder,
        _samples(run),
        shapes,
        format_card(run, configurations, shapes),
        describe_task(run.task, run.settings, run.lower_case),
    )
    print(f"  {version}", flush=True)
    last = configurations[list(configurations)[-1]]
    return {
        "version": int(version.name),
        "path": str(version.relative_to(run.folder.root)),
        "retention_configuration": list(cast(tuple, last)),
    }


def _samples(run: Run) -> list[tuple[str, ...]]:
    """Some dev texts, of all lengths."""
    texts = run.dataset.splits["dev"].texts
    by_length = np.argsort(run.split("dev").lengths, kind="stable")
    places = np.unique(np.linspace(0, len(by_length) - 1, _SAMPLES).astype(int))
    return [tuple(str(column[row]) for column in texts) for row in by_length[places]]
