"""An engine: one way of running a model, built from a job in a process of its own."""

import dataclasses
import importlib
import importlib.util
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.processes import milliseconds

PEAK = "matrix product"  # instead of an engine: its multiply-adds per second

Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Job:
    """What an engine is built from."""

    folder: str  # of the checkpoint: `config.json`, `vocab.txt`, `model.safetensors`
    num_classes: int  # C
    max_length: int  # N
    threads: int  # for the products of matrices
    retention: Sequence[float]  # fractions that the reduced engines keep, one per encoder
    device: str = "cpu"  # or "gpu"
    precision: str = "float32"  # Keras's dtype policy


@dataclasses.dataclass(frozen=True)
class Built:
    """An engine that is ready.

    A batch is `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]`, `"labels"` int32 `[B]` and `"teacher"`,
    the logits that re-training learns, float32 `[B, C]`.
    """

    answer: Callable[[Batch], np.ndarray]  # what engines agree on: logits `[B, C]`, or a loss `[1]`
    timed: Callable[[Batch], object]  # what is timed; returns when it is done
    reset: Callable[[], None] = lambda: None  # undoes what `timed` changed


class UnavailableError(Exception):
    """An engine cannot do the job on this machine; says why."""


@dataclasses.dataclass(frozen=True)
class Engine:
    """One way of running the model."""

    modules: tuple[str, ...]  # that must be installed
    build: Callable[[Job], Built]
    peer: bool = True  # whether it is somebody else's, to compare ours with
    reduced: bool = False  # whether it eliminates word-vectors, and so has an answer of its own

    @property
    def missing(self) -> list[str]:
        """Modules that are not installed."""
        return [module for module in self.modules if importlib.util.find_spec(module) is None]


def engines_of(grid: str) -> dict[str, Engine]:
    """The engines of a room, `"inference"` or `"training"`, by name."""
    return importlib.import_module(f"benchmarks.{grid}.engines").ENGINES


def check_agreement(
    grid: str, batch: int, length: int, answers: Mapping[str, Mapping[str, Any]], tolerance: float
) -> None:
    """Checks that dense engines agree in their first answers with each other, and reduced ones with each other.

    Raises:
        RuntimeError: They do not.
    """
    engines = engines_of(grid)
    for reduced in (False, True):
        first = {name: np.array(found["answer"]) for name, found in answers.items() if engines[name].reduced == reduced}
        for name, values in first.items():
            other, expected = next(iter(first.items()))
            difference = float(np.abs(values - expected).max())
            if not difference <= tolerance:
                raise RuntimeError(f"batch {batch} x {length}: {name} and {other} differ by {difference:.1e}.")


def random_batch(vocab_size: int, batch: int, length: int, num_classes: int) -> dict[str, np.ndarray]:
    """Makes full rows, so that no engine gains from padding; the same for every engine. See `Built`."""
    shape = (batch, length)
    random = np.random.default_rng((batch, length))
    return {
        "token_ids": random.integers(vocab_size, size=shape, dtype="int32"),
        "segment_ids": (np.arange(length) >= length // 2).astype("int32")[None].repeat(batch, axis=0),
        "padding_mask": np.ones(shape, "int32"),
        "labels": random.integers(num_classes, size=batch, dtype="int32"),
        "teacher": random.normal(size=(batch, num_classes)).astype("float32"),
    }


def serve(grid: str, engine: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Callable | None]:
    """Builds an engine in a process of its own, see `processes`.

    The first answer is `{"ready", "device"}`, or `{"unavailable"}` with the reason. A request
    `{"batch", "length", "calls", "seconds"}` runs the engine at least that often and that long, and is answered with
    `{"ms": [...], "peak_mib"}`. The first request for a shape also gets what the engine answers before (`"answer"`) and
    after two runs (`"answer_after"`), which may compile and are not in `ms`.
    """
    from benchmarks.common.frameworks import matrix_product_peak

    job = Job(**given)
    try:
        built: Any = matrix_product_peak(job) if engine == PEAK else engines_of(grid)[engine].build(job)
    except UnavailableError as error:
        return {"unavailable": str(error)}, None
    if engine == PEAK:
        from powerbert_tf.latency.timing import device_name

        return {"ready": True, "device": device_name()}, lambda _: {
            "multiply_adds_a_second": [built() for _ in range(5)]
        }
    vocab_size = json.loads((Path(job.folder) / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    seen: set[tuple[int, int]] = set()

    def respond(given):
        shape = (given["batch"], given["length"])
        is_new = shape not in seen
        seen.add(shape)
        return _measure(built, random_batch(vocab_size, *shape, job.num_classes), given, is_new)

    return {"ready": True}, respond


def _measure(built: Built, inputs, given, is_new: bool):
    answer = {}
    if is_new:
        built.reset()
        answer["answer"] = built.answer(inputs).tolist()
        answer["first_ms"] = milliseconds(built.timed, inputs)
        built.timed(inputs)
        answer["answer_after"] = built.answer(inputs).tolist()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < given["calls"] or time.perf_counter() - began < given["seconds"]:
        times.append(milliseconds(built.timed, inputs))
    return {**answer, "ms": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
