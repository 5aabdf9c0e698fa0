"""The deploy stage: which form of the model is fastest on this machine, for the user's own requests."""

import dataclasses
import datetime
import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.batches.encoded_split import EncodedSplit, encode_split
from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import NUMBER, logits_of
from powerbert_tf.data.metrics import compute_metrics, predictions_from_logits, same_answers
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.deployment.answering import Served
from powerbert_tf.export.deployment.exporting import export_forms, model_folder
from powerbert_tf.export.deployment.forms import FORMS
from powerbert_tf.export.deployment.measuring import (
    DEV,
    TIMED,
    Records,
    measure,
    padding_share,
    summarize,
    write_requests,
)
from powerbert_tf.export.deployment.recommendation import recommend
from powerbert_tf.export.deployment.tokenizer_files import write_tokenizer
from powerbert_tf.export.formats import DEFAULT_FORMAT
from powerbert_tf.export.signatures import text_inputs
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.precision import computing_in
from powerbert_tf.reports.deployment import deployment_sections, format_deployment
from powerbert_tf.reports.page import PAGE, write_pages
from powerbert_tf.runs.deployment import (
    FORMS_FOLDER,
    Requests,
    conditions,
    cores,
    device,
    export_flags,
    limits,
    made_from,
    unavailable_forms,
)
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stages.export import export_request, models_to_export
from powerbert_tf.training.evaluation import predict_logits

_MARKDOWN, _SERVE_FILE = "deploy.md", "serve.json"
_MEASURED, _SERVED, _TEXTS, _REQUESTS = "measured", "served", "texts", "requests.json"  # in `FORMS_FOLDER`


def deploy(run: Run, folder: Path) -> dict[str, Any]:
    """Exports the forms, measures them and chooses one; writes `index.html`, `deploy.md` and `serve.json`.

    Returns:
        The content of `result.json`.
    """
    place, asked = run.folder.root / FORMS_FOLDER, run.settings.deploy.forms
    unavailable = {name: reason for name, reason in unavailable_forms(run).items() if name in asked}
    requests = Requests.of(run)
    with computing_in("float32"):
        model = models_to_export(run)[""]
    served = _describe(run, [name for name in asked if name not in unavailable], requests, place)
    records, failed = _measure(run, model, served, requests, place)
    result = {
        **_measured_how(run, requests),
        **_compare(run, model, requests, records, served),
        "unavailable": unavailable,
        "failed": failed,
    }
    found = recommend(result["forms"], limits(run))
    chosen = _chosen(run, model, found.form, served, folder) if found.form else None
    result |= {"chosen": chosen, "reason": found.reason, "as_fast": list(found.as_fast)}
    _tidy_up(place, found.form)
    root = str(run.folder.root)
    write_pages(folder, f"{run.task.name}: which form to serve", deployment_sections(result, root), _MARKDOWN)
    say(f"\n{format_deployment(result, root)}\n")
    return {"file": PAGE, **result}


def _describe(run: Run, names: Sequence[str], requests: Requests, place: Path) -> dict[str, Path]:
    """Writes tokenizer, requests, and the file that describes each form; returns the paths of those."""
    task, length = run.task_of(run.settings.export.export_model), run.settings.inputs.max_seq_length
    for name in (_TEXTS, _SERVED):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir(parents=True)
    write_requests(place / _REQUESTS, {TIMED: requests.timed, DEV: requests.dev})
    package, file = "", ""
    if any(FORMS[name].format != DEFAULT_FORMAT for name in names):
        texts = [[*timed, *dev] for timed, dev in zip(requests.timed, requests.dev, strict=True)]
        package, file = write_tokenizer(run.tokenizer, task, length, texts, place / _TEXTS)
    found = {}
    for name in names:
        form = FORMS[name]
        takes_ids = form.format != DEFAULT_FORMAT
        served = Served(
            form=name,
            format=form.format,
            precision=form.precision,
            model=f"../{model_folder(name)}",
            lengths=form.lengths(run.settings.export, length),
            texts=text_inputs(task),
            output=task.kind.output,
            classes=tuple(task.classes),
            thresholds=tuple(task.thresholds),
            max_seq_length=length,
            cores=cores(run),
            tokenizer=package if takes_ids else "",
            tokenizer_path=f"../{_TEXTS}/{file}" if takes_ids else "",
            pair_truncation=run.tokenizer.pair_truncation,
            pad_id=run.tokenizer.pad_id,
        )
        found[name] = place / _SERVED / f"{name}.json"
        write_json(found[name], dataclasses.asdict(served))
    return found


def _measure(
    run: Run, model: BertClassifier, served: dict[str, Path], requests: Requests, place: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Exports and measures what has not been measured; returns the records, and why others have none."""
    records, rounds = Records(place / _MEASURED), run.settings.deploy.deploy_rounds
    of_forms = {name: conditions(run, name, Served.read(path).tokenizer, requests) for name, path in served.items()}
    new = [name for name in served if len(records.read(name, of_forms[name])["turns"]) < rounds]
    failed = _export(run, model, new)
    able = {name: path for name, path in served.items() if name not in failed}
    batch_size = run.settings.deploy.deploy_batch_size
    found, problems = measure(able, of_forms, place / _REQUESTS, batch_size, rounds, records)
    return found, {**failed, **problems}


def _export(run: Run, model: BertClassifier, names: Sequence[str]) -> dict[str, str]:
    return export_forms(
        names,
        functools.partial(export_request, run, {"": model}),
        run.settings.export,
        made_from(run),
        run.folder.root / FORMS_FOLDER,
        lambda name: run.folder.replacing(f"{FORMS_FOLDER}/{name}"),
    )


def _measured_how(run: Run, requests: Requests) -> dict[str, Any]:
    settings = run.settings.deploy
    return {
        "task": run.task.name,
        "metric": run.task.metrics[0],
        "device": device(run),
        "date": datetime.date.today().isoformat(),
        "cores": cores(run),
        "batch_size": settings.deploy_batch_size,
        "rounds": settings.deploy_rounds,
        "requests": {
            "source": requests.source,
            "count": requests.count,
            "timed": len(requests.timed[0]),
            "fingerprint": requests.fingerprint,
        },
        "limits": dataclasses.asdict(limits(run)),
        "examples": len(requests.labels),
        "compared": len(requests.labels) + len(requests.timed[0]),
    }


def _compare(
    run: Run,
    model: BertClassifier,
    requests: Requests,
    records: Mapping[str, Mapping[str, Any]],
    served: Mapping[str, Path],
) -> dict[str, Any]:
    """Times, metric and answers of each form, beside Keras' metrics."""
    task, settings = run.task_of(run.settings.export.export_model), run.settings.deploy
    splits = {TIMED: _encode(run, requests.timed), DEV: _encode(run, requests.dev)}
    inference = run.settings.inference.in_plain_graph()
    right = {name: predict_logits(model, split, inference) for name, split in splits.items()}
    metrics, main = compute_metrics(task, requests.labels, right[DEV]), task.metrics[0]
    lengths, batch_size = splits[TIMED].lengths.tolist(), settings.deploy_batch_size
    rows = {}
    for name, record in records.items():
        form, described = FORMS[name], Served.read(served[name])
        answers = {split: np.array(values, "float32") for split, values in record["answers"].items()}
        own = compute_metrics(_answered(task), requests.labels, logits_of(task.kind, answers[DEV]))
        rows[name] = {
            "title": form.title,
            "format": form.format,
            "precision": form.precision,
            **summarize(record, settings.deploy_rounds, settings.latency_percentile, len(lengths)),
            "metrics": own,
            "loss": metrics[main] - own[main],
            **_differences(task, right, answers),
            "tokenizer": described.tokenizer or "its own",
            "shapes": form.shapes(described.lengths),
            "padding": padding_share(form, lengths, batch_size, described.lengths),
        }
    return {"keras": metrics, "forms": rows}


def _encode(run: Run, columns: Sequence[Sequence[str]]) -> EncodedSplit:
    split = Split(tuple(columns), None, None, choices=run.task.choices)
    return encode_split(split, run.tokenizer, run.settings.inputs.max_seq_length)


def _answered(task: Task) -> Task:
    """The task of answers, to which its temperature has been applied."""
    return dataclasses.replace(task, temperature=1.0)


def _differences(task: Task, right: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How far answers are from Keras', as a share of the largest if that is above 1; and how many labels differ."""
    expected = np.concatenate([task.answers(right[split]) for split in (TIMED, DEV)])
    found = np.concatenate([answers[split].reshape(len(right[split]), -1) for split in (TIMED, DEV)])
    labels = (predictions_from_logits(_answered(task), logits_of(task.kind, values)) for values in (expected, found))
    largest = max(1.0, float(np.max(np.abs(expected))))
    return {
        "largest_difference": float(np.max(np.abs(found - expected))) / largest,
        "changed": None if task.kind is NUMBER else int(np.sum(~same_answers(*labels))),
    }


def _chosen(run: Run, model: BertClassifier, name: str, served: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """What is known of the form that was chosen; writes the file that serves it, and the form if it was removed."""
    _export(run, model, [name])
    form, described = FORMS[name], Served.read(served[name])

    def from_stage(path: str) -> str:
        return f"../{FORMS_FOLDER}/{path.removeprefix('../')}" if path else ""

    places = {"model": from_stage(described.model), "tokenizer_path": from_stage(described.tokenizer_path)}
    write_json(folder / _SERVE_FILE, {**dataclasses.asdict(described), **places})
    return {
        "form": name,
        "title": form.title,
        "format": form.format,
        "serve": f"deploy/{_SERVE_FILE}",
        "model": f"{FORMS_FOLDER}/{model_folder(name)}",
        "num_texts": len(described.texts),
        "classes": list(described.classes),
        "thresholds": list(described.thresholds),
        "needs": [*form.packages.values(), *([described.tokenizer] if described.tokenizer else [])],
        "export": export_flags(name, run.settings.export),
    }


def _tidy_up(place: Path, chosen: str) -> None:
    """Removes the exports that were not chosen, and the texts of the requests."""
    kept = {_MEASURED, _SERVED, _TEXTS, *([FORMS[chosen].folder] if chosen else [])}
    others = sorted(path for path in place.iterdir() if path.is_dir() and path.name not in kept)
    size = sum(file.stat().st_size for path in others for file in path.rglob("*") if file.is_file())
    for path in others:
        shutil.rmtree(path)
    (place / _REQUESTS).unlink()
    if others:
        names = ", ".join(path.name for path in others)
        say(f"  removed the exports that were not chosen: {names} ({size / 2**20:.0f} MiB)")
