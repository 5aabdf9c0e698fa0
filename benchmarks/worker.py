"""One engine in a process of its own: reads a JSON object a line, answers with one.

`{"batch", "length", "calls", "seconds"}` runs the engine at least that often and that long, and answers with
`{"ms": [...], "logits": [[...]], "peak_mib"}`; the first call of a shape, which may compile, is not in `ms`.
"""

import json
import os
import resource
import sys
import time

import numpy as np

from benchmarks.engines import ENGINES, Job, matrix_product_peak

PEAK = "matrix product"


def random_batch(vocab_size: int, batch: int, length: int) -> dict[str, np.ndarray]:
    """Full rows, so that no engine gains from padding: the same for every engine."""
    shape = (batch, length)
    random = np.random.default_rng((batch, length))
    return {
        "token_ids": random.integers(vocab_size, size=shape, dtype="int32"),
        "segment_ids": (np.arange(length) >= length // 2).astype("int32")[None].repeat(batch, axis=0),
        "padding_mask": np.ones(shape, "int32"),
    }


def _answer(run, vocab_size, given, seen):
    inputs = random_batch(vocab_size, given["batch"], given["length"])
    shape = (given["batch"], given["length"])
    answer = {}
    if shape not in seen:
        seen.add(shape)
        start = time.perf_counter()
        answer["logits"] = run(inputs).tolist()
        answer["first_ms"] = 1000 * (time.perf_counter() - start)
        run(inputs)
    times, began = [], time.perf_counter()
    while len(times) < given["calls"] or time.perf_counter() - began < given["seconds"]:
        start = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - start))
    return {**answer, "ms": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """`python -m benchmarks.worker ENGINE JOB`."""
    # Libraries print what they like; answers have a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    if engine == PEAK:
        peak = matrix_product_peak(job.threads)
        run, vocab_size = None, 0
    else:
        run = ENGINES[engine].build(job)
        with open(os.path.join(job.folder, "config.json"), encoding="utf-8") as file:
            vocab_size = json.load(file)["vocab_size"]
    print(json.dumps({"ready": True}), file=answers, flush=True)
    seen: set[tuple[int, int]] = set()
    for line in sys.stdin:
        if engine == PEAK:
            answer = {"multiply_adds_a_second": [peak() for _ in range(5)]}
        else:
            answer = _answer(run, vocab_size, json.loads(line), seen)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
