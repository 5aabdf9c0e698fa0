"""Measures forms in turns, each in a process of its own; what was measured is kept, and not measured again."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.common.processes import Worker, turns
from powerbert_tf.common.reporting import open_bar, say
from powerbert_tf.export.deployment.answering import Served
from powerbert_tf.export.deployment.forms import DeployForm

TIMED, DEV = "timed", "dev"  # splits of the file of requests
_SERVE = "powerbert_tf.export.deployment.answering:serve"
_PERCENTILES = (50, 90, 99)


class Records:
    """What was measured of each form, in a folder: `<form>.json`, with the conditions that it holds for."""

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self, form: str, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The record of a form under these conditions: `conditions`, `turns` and `answers`; new if there is none."""
        try:
            record = read_object(self._folder / f"{form}.json")
        except (OSError, ValueError):
            record = {}
        if record.get("conditions") == conditions:
            return record
        return {"conditions": dict(conditions), "turns": [], "answers": {}}

    def write(self, form: str, record: Mapping[str, Any]) -> None:
        """Keeps a record."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / f"{form}.json", record)


def measure(
    served: Mapping[str, Path],
    conditions: Mapping[str, Mapping[str, Any]],
    requests: Path,
    batch_size: int,
    rounds: int,
    records: Records,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Measures forms, as far as the records do not have them.

    Args:
        served: The file that describes each form, see `answering.Served`.
        conditions: What the measurements of each form depend on, JSON values.
        requests: JSON file with the columns of texts of `TIMED` and `DEV`.
        batch_size: Requests of a call.
        rounds: Turns of each form.
        records: What was measured before; each turn is added as soon as it is done.

    Returns:
        The record of each form, and why others cannot be measured.
    """
    found = {form: records.read(form, conditions[form]) for form in served}
    problems: dict[str, str] = {}
    left = {form: rounds - len(record["turns"]) for form, record in found.items()}
    done: Counter[str] = Counter()
    with open_bar(total=sum(max(0, count) for count in left.values()), desc="deploy", unit="turn") as bar:
        for form in turns(served, rounds):
            done[form] += 1
            if form in problems or done[form] > left[form]:
                continue
            try:
                _take_turn(form, served[form], requests, batch_size, found[form], records)
            except (RuntimeError, OSError) as error:
                problems[form] = str(error)
                say(f"  {form}: {error}")
            bar.update()
    return {form: record for form, record in found.items() if form not in problems}, problems


def _take_turn(
    form: str, served: Path, requests: Path, batch_size: int, record: dict[str, Any], records: Records
) -> None:
    log = served.with_suffix(".log")
    cores = Served.read(served).cores
    environment = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": str(cores),
        "TOKENIZERS_PARALLELISM": "true",  # of the requests of a call
        "RAYON_NUM_THREADS": str(cores),
    }
    arguments = [str(served), str(requests), batch_size]
    with log.open("w", encoding="utf-8") as file:
        began = time.perf_counter()
        try:
            with Worker(form, _SERVE, arguments, file, environment) as worker:
                worker.answer()
                start = time.perf_counter() - began
                timed = worker.ask(split=TIMED, timed=True)
                if DEV not in record["answers"]:
                    record["answers"] = {
                        TIMED: timed["answers"],
                        DEV: worker.ask(split=DEV)["answers"],
                    }
        except RuntimeError as error:
            raise RuntimeError(_reason(log) or str(error)) from None
    record["turns"].append(
        {
            "start_seconds": start,
            **{name: timed[name] for name in ("warm_seconds", "ms", "peak_bytes")},
        }
    )
    records.write(form, record)


def _reason(log: Path) -> str:
    """The last line of a log that is not empty: the error of a process that has ended."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def summarize(record: Mapping[str, Any], rounds: int, percentile: float, examples: int) -> dict[str, Any]:
    """Times, memory and throughput of a form: medians over its first turns; of memory, the most.

    Args:
        record: Of `measure`.
        rounds: How many turns count.
        percentile: At which forms are compared.
        examples: Requests of all calls of a turn.

    Returns:
        `p50_ms`, `p90_ms`, `p99_ms`, and at the percentile `at_ms`, with the fastest and slowest turn in `turns_ms`;
        `requests_per_second`, `start_seconds`, `warm_seconds`, `peak_mib` and `calls`.
    """
    counted = record["turns"][:rounds]
    times = np.array([turn["ms"] for turn in counted])  # [turns, calls]
    at = np.percentile(times, percentile, axis=1)
    return {
        **{f"p{share}_ms": float(np.median(np.percentile(times, share, axis=1))) for share in _PERCENTILES},
        "at_ms": float(np.median(at)),
        "turns_ms": [float(at.min()), float(at.max())],
        "requests_per_second": float(np.median(1000 * examples / times.sum(axis=1))),
        "start_seconds": float(np.median([turn["start_seconds"] for turn in counted])),
        "warm_seconds": float(np.median([turn["warm_seconds"] for turn in counted])),
        "peak_mib": max(turn["peak_bytes"] for turn in counted) / 2**20,
        "calls": times.shape[1],
    }


def padding_share(form: DeployForm, lengths: Sequence[int], batch_size: int, form_lengths: Sequence[int]) -> float:
    """The share of the tokens that a form computes which is padding.

    Args:
        form: Which fills up batches, perhaps.
        lengths: Tokens of each request, in the order of the calls.
        batch_size: Requests of a call.
        form_lengths: Lengths that the form pads to, increasing; none for the longest of a call.
    """
    computed = 0
    for start in range(0, len(lengths), batch_size):
        call = lengths[start : start + batch_size]
        length = next((one for one in form_lengths if one >= max(call)), max(call))
        rows = next((size for size in form.batch_sizes() if size >= len(call)), len(call))
        computed += rows * length
    return 1 - sum(lengths) / computed


def write_requests(path: Path, splits: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Writes the columns of texts of each split; half of a surrogate pair stays as it is."""
    content = {name: [[str(text) for text in column] for column in columns] for name, columns in splits.items()}
    path.write_text(json.dumps(content), encoding="utf-8")
