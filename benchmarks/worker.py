"""One engine in a process of its own: reads a JSON object a line, answers with one.

It begins with `{"ready", "device"}`, or `{"unavailable"}` with the reason. `{"batch", "length", "calls", "seconds"}`
then runs the engine at least that often and that long, and answers with `{"ms": [...], "peak_mib"}`. The first time
that a shape is asked for it also tells what the engine answers before (`"answer"`) and after two runs
(`"answer_after"`), which may compile and are not in `ms`.
"""

import json
import os
import resource
import sys
import time

import numpy as np

from benchmarks import inference_engines, training_engines
from benchmarks.backends import matrix_product_peak
from benchmarks.engine import Built, Job, UnavailableError

ENGINES = {"inference": inference_engines.ENGINES, "training": training_engines.ENGINES}
PEAK = "matrix product"


def random_batch(vocab_size: int, batch: int, length: int, num_classes: int) -> dict[str, np.ndarray]:
    """Full rows, so that no engine gains from padding: the same for every engine. See `benchmarks.engine.Built`."""
    shape = (batch, length)
    random = np.random.default_rng((batch, length))
    return {
        "token_ids": random.integers(vocab_size, size=shape, dtype="int32"),
        "segment_ids": (np.arange(length) >= length // 2).astype("int32")[None].repeat(batch, axis=0),
        "padding_mask": np.ones(shape, "int32"),
        "labels": random.integers(num_classes, size=batch, dtype="int32"),
        "teacher": random.normal(size=(batch, num_classes)).astype("float32"),
    }


def _milliseconds(function, batch) -> float:
    start = time.perf_counter()
    function(batch)
    return 1000 * (time.perf_counter() - start)


def _measure(built: Built, inputs, given, is_new: bool):
    answer = {}
    if is_new:
        built.reset()
        answer["answer"] = built.answer(inputs).tolist()
        answer["first_ms"] = _milliseconds(built.timed, inputs)
        built.timed(inputs)
        answer["answer_after"] = built.answer(inputs).tolist()
    times, began = [], time.perf_counter()
    while len(times) < given["calls"] or time.perf_counter() - began < given["seconds"]:
        times.append(_milliseconds(built.timed, inputs))
    return {**answer, "ms": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _responder(grid: str, engine: str, job: Job):
    """Builds the engine; returns a function from a request to its answer."""
    if engine == PEAK:
        peak = matrix_product_peak(job)
        return lambda given: {"multiply_adds_a_second": [peak() for _ in range(5)]}
    built = ENGINES[grid][engine].build(job)
    with open(os.path.join(job.folder, "config.json"), encoding="utf-8") as file:
        vocab_size = json.load(file)["vocab_size"]
    seen: set[tuple[int, int]] = set()

    def respond(given):
        shape = (given["batch"], given["length"])
        is_new = shape not in seen
        seen.add(shape)
        return _measure(built, random_batch(vocab_size, *shape, job.num_classes), given, is_new)

    return respond


def main() -> None:
    """`python -m benchmarks.worker GRID ENGINE JOB`."""
    # Libraries print what they like; answers have a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    grid, engine, job = sys.argv[1], sys.argv[2], Job(**json.loads(sys.argv[3]))
    try:
        respond = _responder(grid, engine, job)
    except UnavailableError as error:
        say({"unavailable": str(error)})
        return
    device = ""
    if engine == PEAK:
        from powerbert_tf.latency.timing import device_name

        device = device_name()
    say({"ready": True, "device": device})
    for line in sys.stdin:
        say(respond(json.loads(line)))


if __name__ == "__main__":
    main()
