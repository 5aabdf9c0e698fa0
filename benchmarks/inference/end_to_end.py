"""Text in, label out, over a whole dev set: `python -m benchmarks.inference.end_to_end --run=runs/MRPC`.

The fine-tuned model of a run in the three ways that people pad, and the reduced one; each time from the texts as they
are in the file to labels in the same order, tokenisation included. The ways take turns; padding must change no logit.
"""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags

from benchmarks.common.command import FLAGS, define_run_flags, output_path, publish, surroundings
from benchmarks.common.engine import Job, UnavailableError
from benchmarks.common.frameworks import process_environment, set_up_keras
from benchmarks.common.markdown import kept, measured_on, page, table
from powerbert_tf.common.processes import turns

_PADDED, _GROUPED = "padded to N", "grouped by length"
# Name, and how batches are made: see `batching.prediction_batches`.
PADDINGS = {
    _PADDED: {"padding": "max", "grouped": False},
    "padded to the batch": {"padding": "batch", "grouped": False},
    _GROUPED: {"padding": "batch", "grouped": True},
}
_TOLERANCE = {"float32": 1e-3, "mixed_float16": 0.1, "mixed_bfloat16": 0.5}  # of logits, between paddings


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers of one way of running a model on a split."""

    logits: np.ndarray  # [n, C], in the order of the split
    tokenising: float  # seconds
    seconds: float  # in all


def classify(run: Any, infer: Any, batch_size: int, padding: str) -> Answers:
    """Turns the texts of the dev split into logits, by a compiled model and one of `PADDINGS`."""
    from powerbert_tf.batches.encoded_split import encode_split
    from powerbert_tf.batches.padded_batches import prediction_batches

    began = time.perf_counter()
    encoded = encode_split(run.dataset.splits["dev"], run.tokenizer, run.settings.inputs.max_seq_length)
    tokenised = time.perf_counter()
    batches = prediction_batches(encoded, batch_size, **PADDINGS[padding])
    logits = np.concatenate([np.asarray(infer(inputs)) for inputs, _ in batches])
    ordered = np.empty_like(logits)
    ordered[batches.order()] = logits
    return Answers(ordered, tokenised - began, time.perf_counter() - began)


def check_equal(answers: dict[tuple[str, str], Answers], tolerance: float) -> None:
    """Checks that padding changes no logit, by model and padding.

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
    """A row of the results: medians over rounds, all with the same logits."""
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
    """Runs all ways in turns, after a first time that is not counted.

    Args:
        run: With fine-tuned and re-trained weights.
        configuration: Of the reduced model; None for that of the run.
        batch_size: Examples of a batch.
        rounds: How often.
        tolerance: Of logits between paddings.

    Raises:
        RuntimeError: Logits depend on padding.
    """
    from powerbert_tf.data.metrics import compute_metrics, predictions_from_logits, same_answers
    from powerbert_tf.models.classifier import with_retention
    from powerbert_tf.models.compilation import compiled

    configuration = configuration or run.configuration()
    models = {
        "fine-tuned": run.dense_model(),
        "reduced": with_retention(run.reduced_model(), configuration),
    }
    infer = {name: compiled(model) for name, model in models.items()}
    ways = [("fine-tuned", padding) for padding in PADDINGS] + [("reduced", _GROUPED)]
    found: dict[tuple[str, str], list[Answers]] = {way: [] for way in ways}
    check_equal({way: classify(run, infer[way[0]], batch_size, way[1]) for way in ways}, tolerance)
    for model, padding in turns(ways, rounds):
        found[model, padding].append(classify(run, infer[model], batch_size, padding))
    labels = run.dataset.splits["dev"].labels
    rows = []
    for (model, padding), answers in found.items():
        same, expected = (
            predictions_from_logits(run.task, which[0].logits) for which in (answers, found[model, _GROUPED])
        )
        differ = 0 if run.task.is_regression else int(np.sum(~same_answers(same, expected)))
        metrics = compute_metrics(run.task, labels, answers[0].logits)
        rows.append(summarize(model, padding, answers, metrics, differ))
    return rows


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """One row per model and padding.

    Returns:
        Columns `model`, `padding`, `seconds`, `examples a second`, `tokenising` (its share of the time, in percent),
        `times faster, padded` and `times faster, grouped` (than the fine-tuned model so run), and the main metric.
    """
    baseline = {row["padding"]: row["seconds"] for row in report["results"] if row["model"] == "fine-tuned"}
    return pd.DataFrame(
        {
            "model": row["model"],
            "padding": row["padding"],
            "seconds": row["seconds"],
            "examples a second": row["examples_a_second"],
            "tokenising": f"{100 * row['tokenising_seconds'] / row['seconds']:.1f} %",
            "times faster, padded": baseline[_PADDED] / row["seconds"],
            "times faster, grouped": baseline[_GROUPED] / row["seconds"],
            f"dev {report['metric']}": f"{row['metrics'][report['metric']]:.4f}",
        }
        for row in report["results"]
    )


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    differ = sum(row["labels_that_differ"] for row in report["results"])
    sample = " These are generated sentences, which say nothing about the task." if report["data"] == "sample" else ""
    return page(
        f"# Text in, label out: {report['task']}",
        f"{measured_on(report)} {report['examples']} examples of dev, batches of {report['batch_size']}, "
        f"N = {report['max_seq_length']}, medians. The reduced model keeps {kept(report['retention'])}. Answers are in "
        f"the order of the file; {differ} labels depend on the padding.{sample}",
        table(compare(report)),
    )


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
    from benchmarks.common.runs import read_run
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
        **surroundings("benchmarks.inference.end_to_end"),
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
    publish(report, output_path(f"end_to_end-{run.task.name}"), to_markdown(report))


def define_flags() -> None:
    """Flags of the command."""
    define_run_flags("with its stages up to re-training")
    flags.DEFINE_string("retention", "", "Configuration of the reduced model; empty for that of the run.")
    flags.DEFINE_integer("batch_size", 32, "Examples of a batch.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Times that the dev set is gone through in each way.", lower_bound=1)


if __name__ == "__main__":
    define_flags()
    app.run(main)
