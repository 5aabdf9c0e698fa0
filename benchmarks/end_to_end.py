"""Text in, label out, over a whole dev set: `python -m benchmarks.end_to_end --run=runs/MRPC`.

The fine-tuned model of a run in the three ways that people pad, and the reduced one; each time from the texts as they
are in the file to labels in the same order, tokenisation included. The ways take turns; padding must change no logit.
"""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import command
from benchmarks.backends import process_environment, set_up_keras
from benchmarks.command import FLAGS, output_path, publish, surroundings
from benchmarks.end_to_end_report import write_report
from benchmarks.engine import Job, UnavailableError

# Name, and how batches are made: see `batching.prediction_batches`.
PADDINGS = {
    "padded to N": {"padding": "max", "grouped": False},
    "padded to the batch": {"padding": "batch", "grouped": False},
    "grouped by length": {"padding": "batch", "grouped": True},
}
_GROUPED = "grouped by length"
_TOLERANCE = {"float32": 1e-3, "mixed_float16": 0.1, "mixed_bfloat16": 0.5}  # of logits, between paddings


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one way of running a model gives for a split.

    Attributes:
        logits: `[n, C]`, in the order of the split.
        tokenising: Seconds.
        seconds: In all.
    """

    logits: np.ndarray
    tokenising: float
    seconds: float


def read_run(folder: Path, data_dir: str = "", checkpoint: str = "") -> Any:
    """The run that was made into a folder, a `powerbert_tf.runs.run.Run`.

    Args:
        folder: `<output_dir>/<TASK>`.
        data_dir: Where the data is now; empty for where it was.
        checkpoint: Where the checkpoint is now; empty for where it was.

    Raises:
        InputError: There is no run.
    """
    from powerbert_tf.checkpoints.load import DEFAULT_PACKAGE
    from powerbert_tf.common.errors import InputError
    from powerbert_tf.runs.preparation import prepare
    from powerbert_tf.runs.settings import FIELDS, flag_name, resolve_settings

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"--run={folder}: no {path.name} in it; expected a folder that run_glue.py wrote.")
    recorded = json.loads(path.read_text(encoding="utf-8"))
    names = {name: flag_name(name) for name in FIELDS}
    given = {name: recorded[flag] for name, flag in names.items() if flag in recorded}
    if recorded["checkpoint"].startswith(DEFAULT_PACKAGE):
        given["checkpoint"] = ""
    if data_dir:
        given["data_dir"] = data_dir
    if checkpoint:
        given["checkpoint"] = checkpoint
    # What an earlier version had no setting for has its default.
    return prepare(resolve_settings(given.pop("task"), **given), folder)


def classify(run: Any, infer: Any, batch_size: int, padding: str) -> Answers:
    """Texts of the dev split -> logits.

    Args:
        run: Data and tokenizer.
        infer: The compiled model.
        batch_size: Examples of a batch.
        padding: One of `PADDINGS`.
    """
    from powerbert_tf.batches.batching import encode_split, prediction_batches

    began = time.perf_counter()
    encoded = encode_split(run.dataset.splits["dev"], run.tokenizer, run.settings.inputs.max_seq_length)
    tokenised = time.perf_counter()
    batches = prediction_batches(encoded, batch_size, **PADDINGS[padding])
    logits = np.concatenate([np.asarray(infer(batch)) for batch in batches.dataset(with_labels=False)])
    ordered = np.empty_like(logits)
    ordered[np.concatenate(batches.rows)] = logits
    return Answers(ordered, tokenised - began, time.perf_counter() - began)


def check_equal(answers: dict[tuple[str, str], Answers], tolerance: float) -> None:
    """Checks that padding changes nothing.

    Args:
        answers: By model and padding.
        tolerance: Largest difference of a logit.

    Raises:
        RuntimeError: It does.
    """
    for (model, padding), found in answers.items():
        expected = answers[model, _GROUPED].logits
        difference = float(np.max(np.abs(found.logits - expected)))
        if not difference <= tolerance:
            raise RuntimeError(f"{model}: logits {padding} and {_GROUPED} differ by {difference:.1e}.")


def summarize(
    model: str, padding: str, rounds: Sequence[Answers], metrics: dict[str, float], differ: int
) -> dict[str, Any]:
    """A row of the results: medians over rounds.

    Args:
        model: Its name.
        padding: One of `PADDINGS`.
        rounds: All with the same logits.
        metrics: Of the logits.
        differ: Labels that are others than those grouped by length.
    """
    seconds = float(np.median([answers.seconds for answers in rounds]))
    tokenising = float(np.median([answers.tokenising for answers in rounds]))
    return {
        "model": model,
        "padding": padding,
        "seconds": seconds,
        "slowest_seconds": max(answers.seconds for answers in rounds),
        "tokenising_seconds": tokenising,
        "examples_a_second": len(rounds[0].logits) / seconds,
        "metrics": metrics,
        "labels_that_differ": differ,
    }


def measure(run: Any, configuration: Any, batch_size: int, rounds: int, tolerance: float) -> list[dict[str, Any]]:
    """Runs all ways in turns.

    Args:
        run: With fine-tuned and re-trained weights.
        configuration: Of the reduced model; None for that of the run.
        batch_size: Examples of a batch.
        rounds: How often, after a first time that is not counted.
        tolerance: Of logits between paddings.

    Raises:
        RuntimeError: Logits depend on padding.
    """
    from powerbert_tf.data.metrics import compute_metrics, predictions_from_logits
    from powerbert_tf.models.compilation import compiled

    configuration = configuration or run.configuration()
    models = {
        "fine-tuned": run.dense_model(),
        "reduced": run.load_model("retrain", retention_configuration=configuration),
    }
    infer = {name: compiled(model) for name, model in models.items()}
    ways = [("fine-tuned", padding) for padding in PADDINGS] + [("reduced", _GROUPED)]
    found: dict[tuple[str, str], list[Answers]] = {way: [] for way in ways}
    check_equal({way: classify(run, infer[way[0]], batch_size, way[1]) for way in ways}, tolerance)
    for turn in range(rounds):
        start = turn % len(ways)
        for model, padding in ways[start:] + ways[:start]:
            found[model, padding].append(classify(run, infer[model], batch_size, padding))
    labels = run.dataset.splits["dev"].labels
    rows = []
    for (model, padding), answers in found.items():
        same, expected = (
            predictions_from_logits(run.task, which[0].logits) for which in (answers, found[model, _GROUPED])
        )
        differ = 0 if run.task.is_regression else int(np.sum(same != expected))
        metrics = compute_metrics(run.task, labels, answers[0].logits)
        rows.append(summarize(model, padding, answers, metrics, differ))
    return rows


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    if not FLAGS.run:
        raise app.UsageError("--run: missing; expected a folder that run_glue.py wrote, such as --run=runs/MRPC.")
    os.environ.update(process_environment(FLAGS.device, FLAGS.threads))
    job = Job(FLAGS.run, 0, 0, FLAGS.threads, (), FLAGS.device, FLAGS.precision)
    try:
        set_up_keras(job, only_on="tensorflow", at_once=0)  # which reads the texts
    except UnavailableError as error:
        raise app.UsageError(f"--device={FLAGS.device}: {error}.") from None
    from powerbert_tf.common.errors import InputError
    from powerbert_tf.elimination.retention import parse_configuration
    from powerbert_tf.latency.timing import device_name

    try:
        run = read_run(Path(FLAGS.run), FLAGS.data_dir)
        configuration = run.configuration()
        if FLAGS.retention:
            size = run.checkpoint.config.num_hidden_layers
            configuration = parse_configuration(FLAGS.retention, size, run.settings.inputs.max_seq_length)
        results = measure(run, configuration, FLAGS.batch_size, FLAGS.rounds, _TOLERANCE[FLAGS.precision])
    except InputError as error:
        raise app.UsageError(str(error)) from None
    report = {
        **surroundings("benchmarks.end_to_end"),
        "device": device_name(),
        "task": run.task.name,
        "data": run.dataset.source,
        "max_seq_length": run.settings.inputs.max_seq_length,
        "batch_size": FLAGS.batch_size,
        "retention": list(configuration),
        "examples": len(run.dataset.splits["dev"]),
        "metric": run.task.metrics[0],
        "results": results,
    }
    publish(report, output_path(f"end_to_end-{run.task.name}"), write_report)


def define_flags() -> None:
    """Flags of the command."""
    command.define_flags()
    flags.DEFINE_string(
        "run", "", "Folder of a run of run_glue.py, such as runs/MRPC, with its stages up to re-training."
    )
    flags.DEFINE_string("data_dir", "", "Where the data is; empty for where the run found it.")
    flags.DEFINE_string("retention", "", "Configuration of the reduced model; empty for that of the run.")
    flags.DEFINE_integer("batch_size", 32, "Examples of a batch.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Times that the dev set is gone through in each way.", lower_bound=1)


if __name__ == "__main__":
    define_flags()
    app.run(main)
