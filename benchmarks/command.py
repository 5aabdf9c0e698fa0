"""What the grids have in common on the command line, and in what they write."""

import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.engine import Job
from benchmarks.random_checkpoint import SHAPES, write_random_checkpoint
from benchmarks.turns import Effort, measure_grid
from benchmarks.worker import ENGINES
from powerbert_tf.common.files import write_json

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_NUM_CLASSES = 2
_PACKAGES = (
    "tensorflow",
    "jax",
    "keras",
    "keras-hub",
    "torch",
    "transformers",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
)

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Flags of every benchmark; called where one is run, not where it is imported."""
    flags.DEFINE_integer("threads", len(os.sched_getaffinity(0)), "Threads of each engine.", lower_bound=1)
    flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to run; engines that see no accelerator are skipped.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Of activations; weights are float32. PyTorch: autocast.")
    flags.DEFINE_string("output", "", "Files to write, without suffix; empty for a name in benchmarks/results.")


def define_grid_flags(rounds: int, calls: int, at_once: int = 0) -> None:
    """Flags of a grid: engines by shape, batch and length."""
    define_flags()
    flags.DEFINE_enum("shape", "bert_base", sorted(SHAPES), "Size of the model.")
    flags.DEFINE_list("engines", [], "Which engines; empty for all that are installed.")
    flags.DEFINE_integer("rounds", rounds, "Times that each engine is called upon for each cell.", lower_bound=1)
    flags.DEFINE_integer("calls", calls, "Calls each time, at least.", lower_bound=1)
    flags.DEFINE_integer("at_once", at_once, "Engines in memory at once, that take turns; 0 for all.", lower_bound=0)
    flags.DEFINE_float("seconds", 0.2, "Seconds each time, at least.", lower_bound=0)


def output_path(name: str) -> Path:
    """Where to write, without suffix: as the flag says, or a name in which device, backend and precision are told."""
    kind = [FLAGS.device, os.environ.get("KERAS_BACKEND", "tensorflow"), FLAGS.precision]
    special = [value for value in kind if value not in ("cpu", "tensorflow", "float32")]
    output = Path(FLAGS.output or RESULTS / "-".join([name, *special]))
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def measure(
    grid: str, cells: Sequence[tuple[int, int]], retention: Sequence[float], check: Callable, output: Path
) -> dict[str, Any]:
    """Measures a grid as the flags say.

    Args:
        grid: `"inference"` or `"training"`.
        cells: Batch and length.
        retention: Fractions that the reduced engines keep.
        check: See `turns.measure_grid`.
        output: Path without suffix; libraries print into its log.

    Returns:
        What `turns.measure_grid` found, and how it was measured.
    """
    unknown = set(FLAGS.engines) - ENGINES[grid].keys()
    if unknown:
        raise app.UsageError(f"--engines: {', '.join(sorted(unknown))}; expected some of {', '.join(ENGINES[grid])}.")
    longest = max(length for _, length in cells)
    with tempfile.TemporaryDirectory() as folder, output.with_suffix(".log").open("w", encoding="utf-8") as log:
        write_random_checkpoint(Path(folder), SHAPES[FLAGS.shape], _NUM_CLASSES)
        job = Job(folder, _NUM_CLASSES, longest, FLAGS.threads, retention, FLAGS.device, FLAGS.precision)
        effort = Effort(FLAGS.rounds, FLAGS.calls, FLAGS.seconds, FLAGS.at_once)
        try:
            found = measure_grid(grid, FLAGS.engines or list(ENGINES[grid]), job, cells, effort, check, log)
        except ValueError as error:
            raise app.UsageError(str(error)) from None
    return {
        **surroundings(f"benchmarks.{grid}"),
        "shape": FLAGS.shape,
        "retention": list(retention),
        **found,
    }


def surroundings(module: str) -> dict[str, Any]:
    """How something was measured."""
    given = [flag for flag in sys.argv[1:] if not flag.startswith("--output")]
    backend = os.environ.get("KERAS_BACKEND", "")
    prefix = [f"KERAS_BACKEND={backend}"] if backend else []
    return {
        "command": " ".join([*prefix, "python -m", module, *given]),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if is_installed(name)},
        "threads": FLAGS.threads,
        "precision": FLAGS.precision,
    }


def is_installed(package: str) -> bool:
    """Whether a distribution of this name is there."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_agreement(
    grid: str, batch: int, length: int, answers: Mapping[str, Mapping[str, Any]], tolerance: float
) -> None:
    """Dense engines agree with each other, reduced ones with each other.

    Args:
        grid: Of the engines.
        batch: For the message.
        length: For the message.
        answers: First answers by engine.
        tolerance: Largest difference.

    Raises:
        RuntimeError: They do not.
    """
    for reduced in (False, True):
        first = {
            name: np.array(answer["answer"])
            for name, answer in answers.items()
            if ENGINES[grid][name].reduced == reduced
        }
        for name, values in first.items():
            other, expected = next(iter(first.items()))
            difference = float(np.abs(values - expected).max())
            if not difference <= tolerance:
                raise RuntimeError(f"batch {batch} x {length}: {name} and {other} differ by {difference:.1e}.")


def publish(report: dict[str, Any], output: Path, write_report: Callable[[dict[str, Any], Path], None]) -> None:
    """Writes JSON and what can be read, and prints the latter."""
    write_json(output.with_suffix(".json"), report)
    write_report(report, output)
    print(output.with_suffix(".md").read_text(encoding="utf-8"))
