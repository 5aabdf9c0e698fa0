"""The SavedModel: a version's folder with model, expected answers, warm-up requests and card, all of it or nothing."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from powerbert_tf.common.files import PARTIAL, sync, write_json
from powerbert_tf.common.locks import exclusive
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.export.cards import CARD_FILE, format_card
from powerbert_tf.export.expected_answers import check_answers
from powerbert_tf.export.request import ExportRequest, describe_reduction
from powerbert_tf.export.serving_files import write_server_files, write_warmup_requests
from powerbert_tf.export.signatures import build_signatures, in_precision


def next_version(folder: Path) -> int:
    """The version after the highest one in `folder`, starting at 1."""
    versions = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()] if folder.is_dir() else []
    return max(versions, default=0) + 1


@contextlib.contextmanager
def write_saved_model(request: ExportRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Adds a version, `<folder>/<number>/`, which appears when the block ends without an error.

    Everything is written to a partial folder before the block starts, and its answers are compared with the models'.
    See `signatures.build_signatures` for the signatures. `serving_files.write_server_files` writes files beside the
    versions.

    Yields:
        The entry of `result.json`: number and path of the version, and what the last model keeps.

    Raises:
        InputError: Another process exports into the folder.
        OSError: The files cannot be written.
        RuntimeError: The exported model gives other answers.
    """
    models, task, shapes = request.models, request.task, request.shapes
    expected = request.expected_answers(shapes)
    if shapes.precision != "float32":
        models = in_precision(models, shapes.precision)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "exports into"), contextlib.ExitStack() as cleanup:
        for left in folder.glob(f"*{PARTIAL}"):  # by an export that was killed
            shutil.rmtree(left, ignore_errors=True)
        version = folder / str(next_version(folder))
        partial = version.with_suffix(PARTIAL)
        cleanup.callback(shutil.rmtree, partial, ignore_errors=True)
        module, functions = build_signatures(models, task, request.tokenizer, shapes, request.temperatures)
        try:
            tf.saved_model.save(module, str(partial), signatures=functions)
        except tf.errors.OpError as error:  # TensorFlow's own error, for a full disk for example
            raise OSError(f"{folder}: the SavedModel cannot be written ({error.message})") from error
        _, wrong = check_answers(tf.saved_model.load(str(partial)).signatures, expected, alone=False)
        if wrong:
            raise RuntimeError(f"{folder}: the exported model gives other answers: {wrong[0]}.")
        expected.write(partial)
        write_warmup_requests(partial, expected, functions, shapes)
        (partial / CARD_FILE).write_text(format_card(request), encoding="utf-8")
        write_json(partial / TASK_FILE, dict(request.description))
        _sync(partial)
        write_server_files(folder, task.name, shapes)
        *_, last = request.models.values()
        yield {
            "version": int(version.name),
            "path": f"{folder.name}/{version.name}",
            **describe_reduction(last),
        }
        partial.rename(version)


def _sync(folder: Path) -> None:
    """Flushes all files to disk before the folder gets the name by which a server finds it."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)
