"""What a run is deployed for: the requests, the forms that this machine can run, and what measurements depend on."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256
from powerbert_tf.common.machine import processor_name, usable_cores
from powerbert_tf.data.requests import read_requests
from powerbert_tf.data.tasks import OwnTask, Task
from powerbert_tf.export.deployment.forms import FORMS, why_not_here
from powerbert_tf.export.deployment.recommendation import Limits
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.export.signatures import text_inputs
from powerbert_tf.export.writers import check_format
from powerbert_tf.runs.run import Run

FORMS_FOLDER = "deploy_forms"  # in the folder of a run: exports, what was measured, and how each is served
_DEV = "dev"
_GIVEN_FILE = "given.jsonl"
_DEV_ROWS = 1000  # whose metric is compared
_MOST_REQUESTS = 100_000  # of a file that are read
_DEPLOYED = ("retrain", "finetune")


def deploying(run: Run, requests: Any = None, **settings: Any) -> Run:
    """A run whose stage `deploy` measures on these requests; `run_stage(run, "deploy")` then runs it.

    Args:
        run: With its data.
        requests: A file; a list of texts, or of pairs of texts; None for the dev split.
        **settings: Flags by name, such as `deploy_batch_size` and `latency_limit_ms`.

    Raises:
        InputError: A setting or a request is wrong.
    """
    if requests is not None and not isinstance(requests, str | Path):
        columns = request_columns(run.task)
        rows = [(row,) if isinstance(row, str) else tuple(row) for row in requests]
        if not rows or any(len(row) != len(columns) for row in rows):
            raise InputError(f"requests: expected at least one, each with {', '.join(columns)}.")
        path = run.folder.root / FORMS_FOLDER / _GIVEN_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        requests = path
    given = {**settings, **({} if requests is None else {"requests": str(requests)})}
    run = dataclasses.replace(run, settings=run.settings.replace(**given))
    check_deployment(run)
    return run


@dataclasses.dataclass(frozen=True)
class Requests:
    """The texts that forms answer.

    Attributes:
        source: The file that they come from, or `dev`.
        count: How many there are.
        timed: Columns of those that are timed, in whole calls.
        dev: Columns of the dev rows whose metric is compared.
        labels: Of these rows.
    """

    source: str
    count: int
    timed: Sequence[Sequence[str]]
    dev: Sequence[Sequence[str]]
    labels: np.ndarray

    @classmethod
    def of(cls, run: Run) -> "Requests":
        """Those that the flags of a run ask for.

        Raises:
            InputError: The file cannot be read.
        """
        dev, settings = run.dataset.splits["dev"], run.settings.deploy
        columns: Sequence[Sequence[str]] = dev.texts
        if settings.requests:
            columns = read_requests(settings.requests, request_columns(run.task), _MOST_REQUESTS)
        compared = dev.take(_spread(len(dev), _DEV_ROWS))
        size, count = settings.deploy_batch_size, len(columns[0])
        calls = _spread(max(1, count // size), settings.deploy_calls)  # full ones, if there is one
        rows = [row for call in calls for row in range(call * size, min((call + 1) * size, count))]
        return cls(
            settings.requests or _DEV,
            count,
            [[str(column[row]) for row in rows] for column in columns],
            [[str(text) for text in column] for column in compared.texts],
            cast(np.ndarray, compared.labels),
        )

    @property
    def fingerprint(self) -> str:
        """A hash of the texts."""
        return hashlib.sha256(json.dumps([self.timed, self.dev]).encode()).hexdigest()


def request_columns(task: Task) -> tuple[str, ...]:
    """Names of the columns of texts in a file of requests."""
    return task.text_columns if isinstance(task, OwnTask) else text_inputs(task)


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def check_deployment(run: Run) -> None:
    """Checks what the stage needs beside a trained model.

    Raises:
        InputError: The model has several budgets, the requests cannot be read, or no form can run here.
    """
    export = run.settings.export
    if export.export_model not in _DEPLOYED:
        raise InputError(f"--export_model={export.export_model}: --stage=deploy takes {' or '.join(_DEPLOYED)}.")
    Requests.of(run)
    unavailable = unavailable_forms(run)
    if not {*run.settings.deploy.forms} - unavailable.keys():
        reasons = "; ".join(f"{name}: {unavailable[name]}" for name in run.settings.deploy.forms)
        raise InputError(f"--stage=deploy: no form can be measured here: {reasons}.")


def unavailable_forms(run: Run) -> dict[str, str]:
    """Why this machine, or this model, has no such form, by the names of those."""
    export = run.settings.export
    selection = None if export.export_model == "finetune" else run.settings.search.selection
    found = {}
    for name, form in FORMS.items():
        try:
            reason = why_not_here(form) or _why_not_of(run, form.format)
            if not reason:
                check_format(form.format, form.export_settings(export), run.checkpoint.config, selection)
        except InputError as error:
            reason = str(error).removesuffix(".")
        if reason:
            found[name] = reason
    return found


def _why_not_of(run: Run, name: str) -> str:
    if run.task.choices > 1 and name != DEFAULT_FORMAT:
        return "multiple choice has SavedModels only"
    backend = keras.backend.backend()
    if EXPORT_FORMATS[name].of_tensorflow and backend != "tensorflow":
        return f"KERAS_BACKEND is {backend}; expected tensorflow"
    return ""


def why_again(run: Run, result: Mapping[str, Any]) -> str:
    """Why the stage runs again although it has a result with the same settings; empty if there is no reason."""
    if result["limits"] != dataclasses.asdict(limits(run)):
        return "other limits"
    known = {*result["forms"], *result["failed"], *unavailable_forms(run)}
    if new := [name for name in run.settings.deploy.forms if name not in known]:
        return f"not measured yet: {', '.join(new)}"
    if Requests.of(run).fingerprint != result["requests"]["fingerprint"]:
        return "other requests"
    chosen = result.get("chosen")
    return "the form that was chosen is gone" if chosen and not (run.folder.root / chosen["model"]).is_dir() else ""


def limits(run: Run) -> Limits:
    """The limits that the flags of a run set."""
    settings = run.settings.deploy
    return Limits(settings.latency_percentile, settings.latency_limit_ms, settings.deploy_max_loss)


def cores(run: Run) -> int:
    """Cores that a server has."""
    return min(run.settings.deploy.deploy_cores or usable_cores(), usable_cores())


def device(run: Run) -> str:
    """What measurements are valid for."""
    return f"{processor_name()}, {cores(run)} of {usable_cores()} cores"


def made_from(run: Run) -> dict[str, Any]:
    """What an export of the model depends on, as JSON values."""
    stage = run.settings.export.export_model
    weights = run.folder.weights(stage)
    values = {
        "weights": _fingerprint(weights, weights.stat().st_mtime_ns),
        "tokenizer": run.tokenizer.fingerprint,
        "max_seq_length": run.settings.inputs.max_seq_length,
        "truncation": run.settings.inputs.truncation,
        "reduction": None if stage == "finetune" else run.reduction().to_json(),
        "selection": run.settings.search.selection,
        "export_lengths": run.settings.export.export_lengths,
    }
    return json.loads(json.dumps(values))


@functools.cache
def _fingerprint(path: Path, _: int) -> str:
    return sha256(path)


def conditions(run: Run, form: str, tokenizer: str, requests: Requests) -> dict[str, Any]:
    """What the measurements of a form depend on, as JSON values; `tokenizer` is a package, or empty."""
    packages = [*FORMS[form].packages.values(), *([tokenizer] if tokenizer else [])]
    return {
        **made_from(run),
        "requests": requests.fingerprint,
        "batch_size": run.settings.deploy.deploy_batch_size,
        "device": device(run),
        "packages": {package: _version(package) for package in packages},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # such as tensorflow-cpu instead of tensorflow
        return ""


def forget_measurements(run: Run) -> None:
    """Removes what was exported and measured, so that all of it is measured again; requests from Python stay."""
    folder = run.folder.root / FORMS_FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)


def export_flags(form: str, given: ExportSettings) -> dict[str, Any]:
    """The flags that export a form, by name, where the run's settings are `given`."""
    lengths = {"export_lengths": given.export_lengths} if FORMS[form].has_few_lengths and given.export_lengths else {}
    flags = {"export_format": FORMS[form].format, **FORMS[form].export_flags(), **lengths}
    return flags if given.export_model == "retrain" else {"export_model": given.export_model, **flags}
