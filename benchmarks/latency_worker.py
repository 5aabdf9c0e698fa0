"""One model on one runtime in a process of its own: `python -m benchmarks.latency_worker ENGINE MODEL JOB`.

Reads a JSON object a line, answers with one; it begins with `{"ready"}`. `{"size", "limit"}` goes once through the
batches of that size, at most `limit` of them, spread over all lengths (0 for all), and answers with `{"ms": [...]}` and
`{"answers"}`, those of all rows in the order of the split where no batch is left out.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency import _FORMS, LatencyJob, models_of

_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def load(engine: str, model: str, job: LatencyJob) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Three inputs, int32 `[B, T]` -> answers."""
    folder = Path(job.forms) / engine.replace(", ", "-").replace(" ", "-")
    if engine in _FORMS:
        return _load_form(_FORMS[engine], folder, model, job.threads)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if engine == "Keras":
        return _load_keras(model, job)
    from powerbert_tf.serve_check import load_signatures

    serve = load_signatures(folder / model / "1")["serving_default"]

    def run(inputs):
        (answers,) = serve(**{name: tf.constant(ids) for name, ids in inputs.items()}).values()
        return answers.numpy()

    return run


def _load_keras(model: str, job: LatencyJob):
    import keras

    from benchmarks.end_to_end import read_run
    from powerbert_tf.latency.timing import input_tensors
    from powerbert_tf.models.compilation import compiled

    run = read_run(Path(job.run), job.data_dir)
    infer = compiled(models_of(run)[model])

    def answers(inputs):
        logits = infer(input_tensors(inputs))
        values = logits[:, 0] if run.task.is_regression else keras.ops.softmax(logits, axis=-1)
        return keras.ops.convert_to_numpy(values)

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


def _responder(job: LatencyJob, run):
    def respond(given):
        batches = np.load(Path(job.forms) / f"batches-{given['size']}.npz")
        numbers = range(int(batches["count"]))
        if 0 < given["limit"] < len(numbers):
            numbers = np.round(np.linspace(0, len(numbers) - 1, given["limit"])).astype(int)
        times, answers = [], []
        for inputs in [{name: batches[f"{name}{number}"] for name in _INPUTS} for number in numbers]:
            began = time.perf_counter()
            answers.append(run(inputs))
            times.append(1000 * (time.perf_counter() - began))
        found = np.concatenate(answers)
        if len(found) == len(batches["rows"]):
            ordered = np.empty_like(found)
            ordered[batches["rows"]] = found
            found = ordered
        return {"ms": times, "answers": found.tolist()}

    return respond


def main() -> None:
    """Answers until there is no more to read."""
    # Libraries print what they like; answers have a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, model, job = sys.argv[1], sys.argv[2], LatencyJob(**json.loads(sys.argv[3]))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    respond = _responder(job, load(engine, model, job))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(respond(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
