"""Real dev sentences on every runtime, dense and reduced, in float32 and 8 bits.

python -m benchmarks.latency --run=runs/MRPC

Sentences go one by one, and in batches grouped by length; ids in, answers out. Each model has a process of its own;
those of one runtime take turns, so that drift and noise meet all of them alike. Files are written first, and kept in
`--forms`. A runtime that is measured again takes the place of its earlier rows.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import command
from benchmarks.backends import process_environment
from benchmarks.command import FLAGS, output_path, publish, surroundings
from benchmarks.latency_report import write_report
from benchmarks.turns import Worker

MODELS = ("dense", "reduced")
ONE, GROUPED = 1, 32
# Runtime -> the models that it is measured with; `latency_worker` says how each is loaded.
ENGINES = {
    "Keras": MODELS,
    "SavedModel": MODELS,
    "SavedModel, XLA": MODELS,
    "ONNX Runtime": (*MODELS, "dense-int8", "reduced-int8"),
    "OpenVINO": (*MODELS, "dense-int8", "reduced-int8"),
    "LiteRT": (*MODELS, "dense-int8", "reduced-int8"),
}
_FORMS = {"ONNX Runtime": "onnx", "OpenVINO": "openvino", "LiteRT": "litert"}


@dataclasses.dataclass(frozen=True)
class LatencyJob:
    """What a process loads.

    Attributes:
        forms: Folder of the files.
        run: Folder of the run.
        data_dir: Where its data is.
        threads: Of the runtime.
        device: `"cpu"`.
    """

    forms: str
    run: str
    data_dir: str
    threads: int
    device: str = "cpu"


def models_of(run: Any) -> dict[str, Any]:
    """The dense model, and the reduced one: re-trained, or where it is not, with the search's configuration."""
    dense = run.dense_model()
    if run.folder.result("retrain") is None:
        return {"dense": dense, "reduced": dense.with_slots(retention_configuration=run.configuration())}
    return {"dense": dense, "reduced": run.reduced_model()}


def write_forms(run: Any, engines: Sequence[str], folder: Path) -> None:
    """Writes what is not there yet: batches, and the files of the engines."""
    from powerbert_tf.batches.batching import prediction_batches
    from powerbert_tf.export.runtimes import runtime_module
    from powerbert_tf.export.saved_model import write_saved_model
    from powerbert_tf.export.settings import ExportSettings
    from powerbert_tf.export.shapes import resolve_shapes
    from powerbert_tf.runs.stages.export import export_request

    folder.mkdir(parents=True, exist_ok=True)
    dev = run.split("dev")
    for size in (ONE, GROUPED):
        batches = prediction_batches(dev, size)
        arrays = {"labels": dev.labels, "rows": np.concatenate(batches.rows), "count": len(batches.rows)}
        for number, batch in enumerate(batches.dataset(with_labels=False).as_numpy_iterator()):
            arrays |= {f"{name}{number}": values for name, values in batch.items()}
        np.savez(folder / f"batches-{size}.npz", **arrays)
    lengths = resolve_shapes(run.settings.inputs.max_seq_length, jit_compile=True).lengths
    for engine in engines:
        for name, model in models_of(run).items():
            place = folder / engine.replace(", ", "-").replace(" ", "-")
            if engine == "Keras" or (place / name).exists():
                continue
            (place / name).mkdir(parents=True)
            if engine in _FORMS:
                runtime_module(_FORMS[engine]).write(
                    model, run.task.is_regression, lengths, place / name, "model", int8=True
                )
            else:
                settings = ExportSettings(export_jit_compile="XLA" in engine)
                with write_saved_model(export_request(run, {"": model}, settings), place / name):
                    pass


def measure(engine: str, job: LatencyJob, rounds: int, limit: int, log: Any) -> dict[str, Any]:
    """Times the models of a runtime in turns.

    Args:
        engine: The runtime.
        job: What its processes load.
        rounds: Times that each goes through the batches, after a first time that is not counted.
        limit: Batches that are timed, at most, spread over all lengths.
        log: File for what libraries print.

    Returns:
        By model: `p50_ms`, `p99_ms` and `mean_ms` of a sentence alone (`one`) and of a batch (`grouped`), and `answers`
        to all sentences.
    """
    workers = {model: Worker(engine, model, job, log, "benchmarks.latency_worker") for model in ENGINES[engine]}
    found: dict[str, Any] = {model: {} for model in workers}
    try:
        for worker in workers.values():
            worker.answer()
        for way, size in (("one", ONE), ("grouped", GROUPED)):
            for model, worker in workers.items():  # warms up
                found[model]["answers"] = worker.ask(size=size, limit=limit if size == ONE else 0)["answers"]
            times: dict[str, list[float]] = {model: [] for model in workers}
            for turn in range(rounds):
                order = [*workers][turn % len(workers) :] + [*workers][: turn % len(workers)]
                for model in order:
                    times[model] += workers[model].ask(size=size, limit=limit)["ms"]
            for model, milliseconds in times.items():
                p50, p99 = (float(np.percentile(milliseconds, share)) for share in (50, 99))
                found[model][way] = {"p50_ms": p50, "p99_ms": p99, "mean_ms": float(np.mean(milliseconds))}
    finally:
        for worker in workers.values():
            worker.close()
    return found


def main(_: Sequence[str]) -> None:
    """Writes files, measures, and writes JSON and Markdown."""
    if not FLAGS.run:
        raise app.UsageError("--run: missing; expected a folder that run_glue.py wrote, such as --run=runs/MRPC.")
    unknown = set(FLAGS.engines) - ENGINES.keys()
    if unknown:
        raise app.UsageError(f"--engines: {', '.join(sorted(unknown))}; expected some of {', '.join(ENGINES)}.")
    os.environ.update(process_environment("cpu", FLAGS.threads))
    from benchmarks.end_to_end import read_run
    from powerbert_tf.common.errors import InputError
    from powerbert_tf.data.metrics import compute_metrics
    from powerbert_tf.latency.timing import device_name

    try:
        run = read_run(Path(FLAGS.run), FLAGS.data_dir)
    except InputError as error:
        raise app.UsageError(str(error)) from None
    engines = FLAGS.engines or list(ENGINES)
    folder = Path(FLAGS.forms or Path(FLAGS.run) / "latency")
    write_forms(run, engines, folder)
    if FLAGS.write_only:
        return
    output = output_path(f"latency-{run.task.name}")
    earlier: Mapping[str, Any] = {}
    if output.with_suffix(".json").exists():
        earlier = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))["results"]
    labels, results = run.dataset.splits["dev"].labels, dict(earlier)
    job = LatencyJob(str(folder), FLAGS.run, FLAGS.data_dir, FLAGS.threads)
    with output.with_suffix(".log").open("w", encoding="utf-8") as log:
        for engine in engines:
            found = measure(engine, job, FLAGS.rounds, FLAGS.limit, log)
            for rows in found.values():
                # Logarithms of probabilities are logits up to a constant; scores of a regression are their own.
                answers = np.array(rows.pop("answers"), "float32")
                logits = answers if run.task.is_regression else np.log(np.maximum(answers, 1e-30))
                rows["metrics"] = compute_metrics(run.task, labels, logits)
            results[engine] = found
    report = {
        **surroundings("benchmarks.latency"),
        "device": device_name(),
        "task": run.task.name,
        "metric": run.task.metrics[0],
        "retrained": run.folder.result("retrain") is not None,
        "retention": list(run.configuration()),
        "batch_size": GROUPED,
        "examples": len(labels),
        "results": {engine: results[engine] for engine in ENGINES if engine in results},
    }
    publish(report, output, write_report)


def define_flags() -> None:
    """Flags of the command."""
    command.define_flags()
    flags.DEFINE_string(
        "run", "", "Folder of a run of run_glue.py with a search; re-trained weights are used if there."
    )
    flags.DEFINE_string("data_dir", "", "Where the data is; empty for where the run found it.")
    flags.DEFINE_string("forms", "", "Folder that keeps the files; empty for latency/ in that of the run.")
    flags.DEFINE_list("engines", [], "Which runtimes; empty for all.")
    flags.DEFINE_integer("rounds", 3, "Times that each model goes through the batches.", lower_bound=1)
    flags.DEFINE_integer("limit", 100, "Sentences, and batches, that are timed in a round, at most.", lower_bound=1)
    flags.DEFINE_bool("write_only", False, "Only write the files, to measure in a run of its own.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
