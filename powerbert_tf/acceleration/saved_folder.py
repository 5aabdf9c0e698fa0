"""The folder of a saved `FastClassifier`: one of Hugging Face's format, and a file with what that does not hold.

config.json, model.safetensors, tokenizer files    as `transformers` and `--checkpoint` read them
retention.json                                     what each encoder keeps
task.json                                          classes, thresholds, columns, N
fast_classifier.json                               settings, evaluation, and a checksum of each file
"""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from powerbert_tf.batches.settings import InferenceSettings, InputSettings
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, sha256, sync, write_json
from powerbert_tf.common.flags import flag_name
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.tasks import PUBLISHED, TASK_FILE, Task
from powerbert_tf.elimination.retention import read_retention
from powerbert_tf.export.writers import write_hugging_face
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.narrow import prefix
from powerbert_tf.models.precision import computing_in
from powerbert_tf.runs.finished_run import FinishedRun
from powerbert_tf.runs.result_schema import result_problem
from powerbert_tf.runs.results import MemoryResults
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.stages.export import export_request
from powerbert_tf.runs.task_file import RUN_FLAGS, described_task, read_task_file, typed_settings
from powerbert_tf.tokenizers.files import load_tokenizer

SAVED_FILE = "fast_classifier.json"
_FORMAT = 1
_AGAIN = "expected the folder as save wrote it; save again, or copy all of it"
# Settings that a model is run with; what it was trained with stands in the evaluation.
_SAVED = [field.name for kind in (InputSettings, InferenceSettings) for field in dataclasses.fields(kind)]


def write_saved(run: Run, model: BertClassifier, folder: Path, facts: dict[str, Any]) -> Path:
    """Writes a classifier into a folder that appears whole or not at all.

    Args:
        run: Its task with thresholds, its tokenizer, and its results.
        model: The reduced model.
        folder: A new or empty folder.
        facts: What else `make_report` needs.

    Raises:
        InputError: The folder holds files.
        OSError: It cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there, and not empty; expected a new or empty folder, as nothing is replaced.")
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        request = export_request(run, {"": model}, run.settings.export)
        write_hugging_face(request, partial)
        flat = run.settings.flat()
        content = {
            "format": _FORMAT,
            "settings": {flag_name(name): flat[name] for name in _SAVED},
            **facts,
            "data": run.dataset.source,
            "data_sha256": run.fingerprint,
            "pair_truncation": run.tokenizer.pair_truncation,
            "evaluated": run.results.result("evaluate"),
            "sha256": {path.name: sha256(path) for path in sorted(partial.iterdir())},
        }
        write_json(partial / SAVED_FILE, content)
        for path in (*partial.iterdir(), partial):
            sync(path)
        os.chmod(partial, 0o755)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def read_saved(folder: Path) -> tuple[Run, BertClassifier, dict[str, Any]]:
    """Reads what `write_saved` wrote: a run without data, the reduced model, and the content of its file.

    Raises:
        InputError: A file is missing or damaged, or was written by a later version.
    """
    content = _read_content(folder)
    task = _read_task(folder)
    checkpoint = find_checkpoint(folder)
    checkpoint = dataclasses.replace(checkpoint, pair_truncation=content["pair_truncation"])
    where = str(folder / SAVED_FILE)
    unknown = sorted(content["settings"].keys() - RUN_FLAGS.keys())
    if unknown:
        raise InputError(f"{where}: no such setting: {', '.join(unknown)}; a later version wrote it.")
    values = typed_settings(where, content["settings"], RUN_FLAGS)
    retention = read_retention(folder)
    settings = resolve_settings(task, **values, selection=retention.selection, checkpoint=str(folder))
    tokenizer = load_tokenizer(checkpoint, settings.inputs.case, settings.inputs.truncation)
    with computing_in(settings.inference.precision):
        model = load_classifier(
            checkpoint, task.num_outputs, retention.max_seq_length, kind=task.kind, selection=retention.selection
        )
        if retention.neurons or retention.heads:
            model = prefix(model, retention.neurons, retention.heads)
        model = with_retention(model, retention.values)
    results = MemoryResults()
    fitted = {"thresholds": list(task.thresholds), "temperature": task.temperature}
    results.record("retrain", {**fitted, **model.reduction.to_json()})
    results.keep("retrain", model)
    if content["evaluated"]:
        results.record("evaluate", content["evaluated"])
    data = Dataset(content["data"], str(folder), {})
    run = FinishedRun(settings, task, checkpoint, tokenizer, data, results)
    vars(run)["fingerprint"] = content["data_sha256"]  # of the data that it was made from
    return run, model, content


def _read_content(folder: Path) -> dict[str, Any]:
    path = folder / SAVED_FILE
    try:
        content = read_object(path)
        if content["format"] != _FORMAT:
            raise InputError(f"{path}: format {content['format']!r}; expected {_FORMAT}: a later version wrote it.")
        checksums = dict(content["sha256"])
        evaluated = content["evaluated"]
        for key, kind in {"settings": dict, "pair_truncation": str, "data": str, "data_sha256": str}.items():
            if not isinstance(content[key], kind):
                raise TypeError(f"{key} is {content[key]!r}")
        problem = result_problem("evaluate", evaluated) if evaluated else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); {_AGAIN}.") from None
    if problem:
        raise InputError(f"{path}: evaluated {problem}; {_AGAIN}.")
    for name, expected in checksums.items():
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise InputError(f"{folder / name}: {error.strerror}; {_AGAIN}.") from None
        if found != expected:
            raise InputError(f"{folder / name}: damaged, or changed since it was saved; {_AGAIN}.")
    return content


def _read_task(folder: Path) -> Task:
    file = read_task_file(folder / TASK_FILE)
    if file.name in PUBLISHED:
        return dataclasses.replace(PUBLISHED[file.name], temperature=file.temperature)
    return described_task(file)
