"""Mean and spread over runs that differ only in the seed."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from powerbert_tf.common.errors import InputError

SPEEDUPS = {
    "grouped": "both grouped by length",
    "padded": "dense padded to N",
    "predicted": "grouped, predicted",
}
_MODELS = ("dense", "reduced")


def summarize_seeds(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds.

    Args:
        results: Seed -> contents of `evaluate/result.json`. Its `speedup`, or entries of it, may be missing.

    Returns:
        Ready for JSON:
            `seeds`: The seeds, increasing.
            `metric`: Name of the main metric.
            `dense`, `reduced`: Dev metric -> statistics.
            `difference`: Dev metric -> statistics of reduced - dense, each seed's own two models.
            `speedup`: `grouped`, `padded` and `predicted` -> statistics, where a run has them.
        Statistics are `mean`, `std` (sample standard deviation; None for one run), `minimum`, `maximum` and `runs`
        (how many runs they cover).

    Raises:
        InputError: No results, or results of different tasks.
    """
    if not results:
        raise InputError("seeds: no results; expected the result of at least one seed.")
    seeds = sorted(results)
    first, names = results[seeds[0]], list(results[seeds[0]]["dense"]["metrics"])
    for seed in seeds:
        _require_same_metrics(seed, results[seed], first["metric"], names)
    dense, reduced = (
        {name: [results[seed][model]["metrics"][name] for seed in seeds] for name in names} for model in _MODELS
    )
    # Paired: a seed that fine-tunes well also re-trains well, which has nothing to do with elimination.
    difference = {
        name: [after - before for before, after in zip(dense[name], reduced[name], strict=True)] for name in names
    }
    speedup = {name: [(results[seed].get("speedup") or {}).get(name) for seed in seeds] for name in SPEEDUPS}
    present = {name: [value for value in values if value is not None] for name, values in speedup.items()}
    return {
        "seeds": seeds,
        "metric": first["metric"],
        "dense": {name: _statistics(values) for name, values in dense.items()},
        "reduced": {name: _statistics(values) for name, values in reduced.items()},
        "difference": {name: _statistics(values) for name, values in difference.items()},
        "speedup": {name: _statistics(values) for name, values in present.items() if values},
    }


def format_seeds(summary: Mapping[str, Any], task: str) -> str:
    """The table of a summary for the console; `task` also says what was compared, if not `evaluate`."""
    seeds = summary["seeds"]
    title = f"{task}, mean ± standard deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))})"
    if len(seeds) == 1:
        title = f"{task}, seed {seeds[0]} only: spread unknown"
    metrics = pd.DataFrame(
        [
            (
                name,
                *(mean_and_std(summary[of][name], ".4f") for of in _MODELS),
                mean_and_std(difference, "+.4f"),
                _range(difference, "+.4f"),
            )
            for name, difference in summary["difference"].items()
        ],
        columns=["dev metric", "fine-tuned", "reduced", "difference", "lowest to highest"],
    )
    tables = [title, metrics.to_string(index=False)]
    if summary["speedup"]:
        speedups = pd.DataFrame(
            [
                (SPEEDUPS[name], mean_and_std(values, ".2f"), _range(values, ".2f"), values["runs"])
                for name, values in summary["speedup"].items()
            ],
            columns=["speed-up", "times faster", "lowest to highest", "seeds"],
        )
        tables.append(speedups.to_string(index=False))
    return "\n\n".join(tables)


def _require_same_metrics(seed: int, result: Mapping[str, Any], metric: str, names: list[str]) -> None:
    for given, expected in ((result["metric"], metric), *((list(result[of]["metrics"]), names) for of in _MODELS)):
        if given != expected:
            raise InputError(f"seeds: seed {seed} has the metrics {given}; expected {expected}, as the first seed has.")


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "minimum": min(values),
        "maximum": max(values),
        "runs": len(values),
    }


def mean_and_std(values: Mapping[str, Any], form: str) -> str:
    """Statistics of `summarize_seeds` as text, such as `0.8300 ± 0.0400`; of one run, the value."""
    deviation = "" if values["std"] is None else f" ± {values['std']:{form.removeprefix('+')}}"
    return f"{values['mean']:{form}}{deviation}"


def _range(values: Mapping[str, Any], form: str) -> str:
    if values["runs"] == 1:
        return "-"
    return f"{values['minimum']:{form}} to {values['maximum']:{form}}"
