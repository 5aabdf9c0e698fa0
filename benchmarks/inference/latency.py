"""Real dev sentences on every runtime, dense and reduced, in float32 and 8 bits.

python -m benchmarks.inference.latency --run=runs/MRPC

Sentences go one by one, and in batches grouped by length; ids in, answers out. Each model has a process of its own;
those of one runtime take turns, so that drift and noise meet all of them alike. Files are written first, and kept in
`--forms`. A runtime that is measured again takes the place of its earlier rows.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags

from benchmarks.common.command import FLAGS, check_names, define_run_flags, output_path, publish, surroundings
from benchmarks.common.frameworks import process_environment
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.turns import percentiles
from powerbert_tf.common.processes import Worker, milliseconds, turns, use_cores

MODELS = ("dense", "reduced")
_INPUTS = ("token_ids", "segment_ids", "padding_mask")
ONE, GROUPED = 1, 32
# Runtime -> the models that it is measured with; `load` says how each is loaded.
ENGINES = {
    "Keras": MODELS,
    "SavedModel": MODELS,
    "SavedModel, XLA": MODELS,
    "ONNX Runtime": (*MODELS, "dense-int8", "reduced-int8"),
    "OpenVINO": (*MODELS, "dense-int8", "reduced-int8"),
    "LiteRT": (*MODELS, "dense-int8", "reduced-int8"),
}
FORMS = {"ONNX Runtime": "onnx", "OpenVINO": "openvino", "LiteRT": "litert"}  # of `powerbert_tf.export.runtimes`


def models_of(run: Any) -> dict[str, Any]:
    """Returns the dense model, and the reduced one: re-trained, or else as the search left it."""
    trained = run.folder.result("retrain") is not None
    return {"dense": run.dense_model(), "reduced": run.reduced_model() if trained else run.searched_model()}


def write_forms(run: Any, engines: Sequence[str], folder: Path) -> None:
    """Writes batches and the files of engines, unless they are there."""
    from powerbert_tf.batches.padded_batches import prediction_batches
    from powerbert_tf.export.runtimes import runtime_module
    from powerbert_tf.export.saved_model import write_saved_model
    from powerbert_tf.export.settings import ExportSettings
    from powerbert_tf.runs.stages.export import export_request

    folder.mkdir(parents=True, exist_ok=True)
    dev = run.split("dev")
    for size in (ONE, GROUPED):
        batches = prediction_batches(dev, size)
        arrays = {"labels": dev.labels, "rows": batches.order(), "count": len(batches)}
        for number, (batch, _) in enumerate(batches):
            arrays |= {f"{name}{number}": values for name, values in batch.items()}
        np.savez(folder / f"batches-{size}.npz", **arrays)
    compiled = ExportSettings(export_jit_compile=True)
    lengths = compiled.shapes(run.settings.inputs.max_seq_length).lengths
    for engine in engines:
        for name, model in models_of(run).items():
            place = folder / engine.replace(", ", "-").replace(" ", "-")
            if engine == "Keras" or (place / name).exists():
                continue
            (place / name).mkdir(parents=True)
            if engine in FORMS:
                runtime_module(FORMS[engine]).write(model, run.task.kind, lengths, place / name, "model", int8=True)
            else:
                settings = compiled if "XLA" in engine else ExportSettings()
                with write_saved_model(export_request(run, {"": model}, settings), place / name):
                    pass


def load(engine: str, model: str, forms: str, run_folder: str, data_dir: str, threads: int) -> Callable:
    """Returns a function from a batch of three inputs, int32 `[B, T]`, to answers."""
    folder = Path(forms) / engine.replace(", ", "-").replace(" ", "-")
    if engine in FORMS:
        return _load_form(FORMS[engine], folder, model, threads)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if engine == "Keras":
        return _load_keras(model, run_folder, data_dir)
    from powerbert_tf.export.loading import load_signatures

    predict = load_signatures(folder / model / "1")["serving_default"]

    def run(inputs):
        (answers,) = predict(**{name: tf.constant(ids) for name, ids in inputs.items()}).values()
        return answers.numpy()

    return run


def _load_keras(model: str, folder: str, data_dir: str):
    import keras

    from benchmarks.common.runs import read_run
    from powerbert_tf.export.signatures import linked
    from powerbert_tf.latency.timing import input_tensors
    from powerbert_tf.models.compilation import compiled

    run = read_run(Path(folder), data_dir)
    infer = compiled(models_of(run)[model])

    def answers(inputs):
        logits = infer(input_tensors(inputs))
        return keras.ops.convert_to_numpy(linked(run.task.kind, logits))

    return answers


def _load_form(form: str, folder: Path, model: str, threads: int):
    from powerbert_tf.export.runtimes import runtime_module

    module, (name, _, ending) = runtime_module(form), model.partition("-")
    ending = f"-{ending}" if ending else ""
    if form != "litert":
        return module.load(folder / name / f"model{ending}{'.onnx' if form == 'onnx' else '.xml'}", threads)
    lengths = sorted(int(path.stem.split("-")[1]) for path in (folder / name).glob("model-*.tflite"))
    loaded: dict[int, Any] = {}

    def run(inputs):
        length = next(length for length in lengths if length >= inputs["token_ids"].shape[1])
        if length not in loaded:
            loaded[length] = module.load(folder / name / f"model-{length}{ending}.tflite", threads)
        return loaded[length](inputs)

    return run


def serve(engine: str, model: str, forms: str, run_folder: str, data_dir: str, threads: int) -> tuple[dict, Callable]:
    """Loads one model on one runtime in a process of its own, see `processes`.

    A request `{"size", "limit"}` goes once through the batches of that size, at most `limit` of them, spread over all
    lengths (0 for all). The answer has `"ms"` of each batch, and `"answers"`, those of all rows in the order of the
    split where no batch is left out.
    """
    use_cores(threads)
    infer = load(engine, model, forms, run_folder, data_dir, threads)

    def respond(given):
        batches = np.load(Path(forms) / f"batches-{given['size']}.npz")
        numbers = range(int(batches["count"]))
        if 0 < given["limit"] < len(numbers):
            numbers = np.round(np.linspace(0, len(numbers) - 1, given["limit"])).astype(int)
        times, answers = [], []
        for inputs in [{name: batches[f"{name}{number}"] for name in _INPUTS} for number in numbers]:
            times.append(milliseconds(lambda inputs=inputs: answers.append(infer(inputs))))
        found = np.concatenate(answers)
        if len(found) == len(batches["rows"]):
            ordered = np.empty_like(found)
            ordered[batches["rows"]] = found
            found = ordered
        return {"ms": times, "answers": found.tolist()}

    return {"ready": True}, respond


def measure(engine: str, given: Sequence[Any], rounds: int, limit: int, log: Any) -> dict[str, Any]:
    """Times the models of a runtime in turns, in rounds through at most `limit` batches, spread over all lengths.

    Args:
        engine: The runtime.
        given: Folder of the files, that of the run, where its data is, and threads.
        rounds: After a first one that is not counted.
        limit: Batches that are timed.
        log: File for what libraries print.

    Returns:
        By model: `p50_ms`, `p99_ms` and `mean_ms` of a sentence alone (`one`) and of a batch (`grouped`), and `answers`
        to all sentences.
    """
    environment = process_environment("cpu", given[-1])
    found: dict[str, Any] = {model: {} for model in ENGINES[engine]}
    with contextlib.ExitStack() as stack:
        workers = {}
        for model in found:
            arguments = [engine, model, *given]
            worker = Worker(model, "benchmarks.inference.latency:serve", arguments, log, environment)
            workers[model] = stack.enter_context(worker)
        for worker in workers.values():
            worker.answer()
        for way, size in (("one", ONE), ("grouped", GROUPED)):
            for model, worker in workers.items():  # warms up
                found[model]["answers"] = worker.ask(size=size, limit=limit if size == ONE else 0)["answers"]
            times: dict[str, list[float]] = {model: [] for model in workers}
            for model in turns(workers, rounds):
                times[model] += workers[model].ask(size=size, limit=limit)["ms"]
            for model, ms in times.items():
                found[model][way] = {**percentiles(ms, (50, 99)), "mean_ms": float(np.mean(ms))}
    return found


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """One row per runtime and model.

    Returns:
        Columns `runtime`, `model`, milliseconds of a sentence alone and of a batch (`p50`, `p99`), `grouped`, the mean
        milliseconds of a length-grouped batch, `times faster` (than the dense float32 model of the same runtime, by
        that mean), `of Keras'` (that of the reduced float32 model, as a share of Keras'), and the main metric.
    """
    keras, rows = _speedup(report["results"].get("Keras")), []
    for runtime, models in report["results"].items():
        dense = models["dense"]["grouped"]["mean_ms"]
        for model, found in models.items():
            one, grouped = found["one"], found["grouped"]
            share = f"{_speedup(models) / keras:.2f}" if keras and model == "reduced" else ""
            rows.append(
                {
                    "runtime": runtime,
                    "model": model,
                    "one, p50 ms": one["p50_ms"],
                    "p99": one["p99_ms"],
                    "batch, p50 ms": grouped["p50_ms"],
                    "p99 ": grouped["p99_ms"],
                    "mean": grouped["mean_ms"],
                    "times faster": dense / grouped["mean_ms"],
                    "of Keras'": share,
                    f"dev {report['metric']}": f"{found['metrics'][report['metric']]:.4f}",
                }
            )
    return pd.DataFrame(rows)


def _speedup(models: Any) -> float:
    return models["dense"]["grouped"]["mean_ms"] / models["reduced"]["grouped"]["mean_ms"] if models else 0.0


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    weights = "re-trained" if report["retrained"] else "the fine-tuned weights, not re-trained"
    return page(
        f"# Latency of {report['task']} on each runtime",
        f"{measured_on(report)} {report['examples']} dev examples; batches of {report['batch_size']}, grouped by "
        f"length. Reduced: {', '.join(map(str, report['retention']))}; {weights}. Runtimes one after the other, the "
        "models of each in turns.",
        table(compare(report)),
    )


def main(_: Sequence[str]) -> None:
    """Writes files, measures, and writes JSON and Markdown."""
    if not FLAGS.run:
        raise app.UsageError("--run: missing; expected a folder that run_glue.py wrote, such as --run=runs/MRPC.")
    check_names("engines", FLAGS.engines, list(ENGINES))
    os.environ.update(process_environment("cpu", FLAGS.threads))
    from benchmarks.common.runs import read_run
    from powerbert_tf.common.errors import InputError
    from powerbert_tf.data.kinds import logits_of
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
    given = [str(folder), FLAGS.run, FLAGS.data_dir, FLAGS.threads]
    with output.with_suffix(".log").open("w", encoding="utf-8") as log:
        for engine in engines:
            found = measure(engine, given, FLAGS.rounds, FLAGS.limit, log)
            for rows in found.values():
                answers = np.array(rows.pop("answers"), "float32")
                rows["metrics"] = compute_metrics(run.task, labels, logits_of(run.task.kind, answers))
            results[engine] = found
    report = {
        **surroundings("benchmarks.inference.latency"),
        "device": device_name(),
        "task": run.task.name,
        "metric": run.task.metrics[0],
        "retrained": run.folder.result("retrain") is not None,
        "retention": list(run.configuration()),
        **run.reduction().widths,
        "batch_size": GROUPED,
        "examples": len(labels),
        "results": {engine: results[engine] for engine in ENGINES if engine in results},
    }
    publish(report, output, to_markdown(report))


def define_flags() -> None:
    """Flags of the command."""
    define_run_flags("with a search; re-trained weights are used if there")
    flags.DEFINE_string("forms", "", "Folder that keeps the files; empty for latency/ in that of the run.")
    flags.DEFINE_list("engines", [], "Which runtimes; empty for all.")
    flags.DEFINE_integer("rounds", 3, "Times that each model goes through the batches.", lower_bound=1)
    flags.DEFINE_integer("limit", 100, "Sentences, and batches, that are timed in a round, at most.", lower_bound=1)
    flags.DEFINE_bool("write_only", False, "Only write the files, to measure in a run of its own.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
