"""A grid: all engines of a room on all cells of batch and length, measured in turns."""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags
from tqdm import tqdm

from benchmarks.common.command import FLAGS, check_names, define_flags, surroundings
from benchmarks.common.engine import PEAK, Job, engines_of
from benchmarks.common.frameworks import process_environment
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import SHAPES, write_random_checkpoint
from benchmarks.common.turns import percentiles
from powerbert_tf.common.processes import Worker, turns
from powerbert_tf.elimination.operations import multiply_adds

_NUM_CLASSES = 2
# Of logits and losses of about 1: KerasHub takes the tanh approximation of GELU, and 12 encoders add up.
_TOLERANCE = {"float32": 2e-3, "mixed_float16": 0.05, "mixed_bfloat16": 0.2}


def define_grid_flags(rounds: int, calls: int, at_once: int = 0) -> None:
    """Flags of a grid, but for its cells."""
    define_flags()
    flags.DEFINE_enum("shape", "bert_base", sorted(SHAPES), "Size of the model.")
    flags.DEFINE_list("engines", [], "Which engines; empty for all that are installed.")
    flags.DEFINE_integer("rounds", rounds, "Rounds in which each engine has its turn, per cell.", lower_bound=1)
    flags.DEFINE_integer("calls", calls, "Calls per turn, at least.", lower_bound=1)
    flags.DEFINE_integer("at_once", at_once, "Engines in memory at once, which take turns; 0 for all.", lower_bound=0)
    flags.DEFINE_float("seconds", 0.2, "Seconds per turn, at least.", lower_bound=0)


def measure(
    grid: str, cells: Sequence[tuple[int, int]], retention: Sequence[float], check: Callable, output: Path
) -> dict[str, Any]:
    """Builds engines, checks their answers, and times all of them on all cells, as the flags say.

    Args:
        grid: The room of the engines: `"inference"` or `"training"`.
        cells: Batch and length.
        retention: Fractions that the reduced engines keep.
        check: Called with batch, length, first answers by engine and `tolerance`; raises where answers are wrong.
        output: Path without suffix; libraries print into its log.

    Returns:
        How it was measured; `results`, one row per engine and cell; `skipped`, why others are missing, by name;
        `device`; `matrix_product_peak`, multiply-adds per second; and `multiply_adds` of an example by length.

    Raises:
        RuntimeError: An engine failed.
        UsageError: No engine can do the job.
    """
    engines = engines_of(grid)
    check_names("engines", FLAGS.engines, list(engines))
    missing = {name: engines[name].missing for name in FLAGS.engines or engines}
    skipped = {name: f"{', '.join(modules)} not installed" for name, modules in missing.items() if modules}
    wanted = [name for name in missing if name not in skipped]
    config, lengths = SHAPES[FLAGS.shape], sorted({length for _, length in cells})
    results: list[dict[str, Any]] = []
    answers: dict[tuple[int, int], dict[str, Any]] = {cell: {} for cell in cells}
    check = functools.partial(check, tolerance=_TOLERANCE[FLAGS.precision])
    with tempfile.TemporaryDirectory() as folder, output.with_suffix(".log").open("w", encoding="utf-8") as log:
        write_random_checkpoint(Path(folder), config, _NUM_CLASSES)
        job = Job(folder, _NUM_CLASSES, lengths[-1], FLAGS.threads, retention, FLAGS.device, FLAGS.precision)
        with start(grid, PEAK, job, log) as peak:
            ready = peak.answer()
            if "unavailable" in ready:
                raise app.UsageError(f"--device={job.device}: {ready['unavailable']}.")
            peaks = peak.ask()["multiply_adds_a_second"][1:]
            size = FLAGS.at_once or len(wanted) or 1
            for names in (wanted[begin : begin + size] for begin in range(0, len(wanted), size)):
                with contextlib.ExitStack() as stack:
                    workers = {name: stack.enter_context(start(grid, name, job, log)) for name in names}
                    first = {name: worker.answer() for name, worker in workers.items()}
                    skipped |= {
                        name: answer["unavailable"] for name, answer in first.items() if "unavailable" in answer
                    }
                    results += _take_turns({n: w for n, w in workers.items() if n not in skipped}, answers, check)
            peaks += peak.ask()["multiply_adds_a_second"]
    if not results:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise app.UsageError(f"--engines: none can be measured ({reasons}).")
    for name, reason in skipped.items():
        print(f"{name}: skipped, {reason}", flush=True)
    encoders = config.encoder_size
    return {
        **surroundings(f"benchmarks.{grid}"),
        "shape": FLAGS.shape,
        "retention": list(retention),
        "results": results,
        "skipped": skipped,
        "device": ready["device"],
        "matrix_product_peak": float(np.median(peaks)),
        "multiply_adds": [
            {
                "length": length,
                "dense": multiply_adds(encoders, length),
                "reduced": multiply_adds(encoders, length, retention),
            }
            for length in lengths
        ],
    }


def start(grid: str, engine: str, job: Job, log: Any) -> Worker:
    """Starts the process of an engine."""
    given = [grid, engine, dataclasses.asdict(job)]
    return Worker(engine, "benchmarks.common.engine:serve", given, log, process_environment(job.device, job.threads))


def _take_turns(workers: Mapping[str, Worker], answers, check) -> list[dict[str, Any]]:
    """Adds to the first answers of engines by cell, and times `workers`."""
    results = []
    with tqdm(total=len(answers) * (FLAGS.rounds + 1) * len(workers), unit="turn", disable=None) as bar:
        for (batch, length), first in answers.items():
            cell = {"batch": batch, "length": length}
            for name, worker in workers.items():
                bar.set_description(f"{batch} x {length}, {name}")
                first[name] = worker.ask(**cell, calls=0, seconds=0)
                bar.update()
            check(batch, length, first)
            times: dict[str, list[float]] = {name: [] for name in workers}
            peaks = dict.fromkeys(workers, 0.0)  # MiB
            for name in turns(workers, FLAGS.rounds):
                answer = workers[name].ask(**cell, calls=FLAGS.calls, seconds=FLAGS.seconds)
                times[name] += answer["ms"]
                peaks[name] = max(peaks[name], answer["peak_mib"])
                bar.update()
            for name, ms in times.items():
                rest = {"first_ms": first[name]["first_ms"], "calls": len(ms), "peak_mib": peaks[name]}
                results.append({"engine": name, **cell, **percentiles(ms, (50, 90, 99)), **rest})
    return results


def medians_of_cells(report: Mapping[str, Any]) -> Iterator[tuple[int, int, dict[str, float], dict[str, Any]]]:
    """Batch, length, median milliseconds by engine, and multiply-adds of each cell."""
    counted = {row["length"]: row for row in report["multiply_adds"]}
    for (batch, length), cell in pd.DataFrame(report["results"]).groupby(["batch", "length"], sort=False):
        yield batch, length, dict(zip(cell["engine"], cell["p50_ms"], strict=True)), counted[length]


def to_markdown(report: Mapping[str, Any], title: str, what: str, ratios: str, *sections: str) -> str:
    """The report of `measure` as text: what was timed, medians, sections that begin with ratios, spread and memory."""
    results = pd.DataFrame(report["results"])
    medians = results.pivot(index=["batch", "length"], columns="engine", values="p50_ms")
    spread = results.assign(spread=results["p90_ms"] / results["p50_ms"]).groupby("engine", sort=False)
    memory = spread["peak_mib"].max().round().astype(int)  # of the process of each engine, building included
    last = pd.DataFrame({"p90 / p50, median": spread["spread"].median(), "peak MiB": memory})
    skipped = "".join(f" Left out: {name} ({reason})." for name, reason in report["skipped"].items())
    return page(
        f"# {title}, {report['shape']}",
        f"{measured_on(report)}{skipped} {report['precision']}, full rows. The largest "
        f"product of matrices: {report['matrix_product_peak'] / 1e9:.0f} billion multiply-adds a second.",
        f"## Milliseconds of a {what}, median",
        table(medians[list(dict.fromkeys(results["engine"]))].reset_index()),
        f"## Ratios of medians: {ratios}",
        *sections,
        "## Spread and memory",
        table(last.reset_index()),
    )
