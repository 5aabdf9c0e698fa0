"""What several runs come to that differ in the seed alone: mean and spread."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from powerbert_tf.common.errors import InputError

_SPEEDUPS = {
    "grouped": "both grouped by length",
    "padded": "dense padded to N",
    "predicted": "grouped, predicted",
}
_MODELS = ("dense", "reduced")


def summarize_seeds(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds.

    Args:
        results: Seed -> contents of `evaluate/result.json`. Its `speedup` may be missing, or entries of it.

    Returns:
        Ready for JSON:
            `seeds`: The seeds, increasing.
            `metric`: Name of the main metric.
            `dense`, `reduced`: Dev metric -> statistics.
            `difference`: Dev metric -> statistics of reduced - dense, each seed's own two models.
            `speedup`: `grouped`, `padded` and `predicted` -> statistics; those that a run has.
        Statistics are `mean`, `std` (sample standard deviation; None for one run), `minimum`, `maximum` and `runs`
        (how many runs they are of).

    Raises:
        InputError: No results, or results of different tasks.
    """
    if not results:
        raise InputError("seeds: no results; expected the result of at least one seed.")
    seeds = sorted(results)
    first, names = results[seeds[0]], list(results[seeds[0]]["dense"]["metrics"])
    for seed in seeds:
        _require_same_metrics(seed, results[seed], first["metric"], names)
    dense = {name: [results[seed]["dense"]["metrics"][name] for seed in seeds] for name in names}
    reduced = {name: [results[seed]["reduced"]["metrics"][name] for seed in seeds] for name in names}
    # Paired: a seed that fine-tunes well also re-trains well, and that is no part of what elimination does.
    difference = {
        name: [after - before for before, after in zip(dense[name], reduced[name], strict=True)] for name in names
    }
    speedup = {name: [(results[seed].get("speedup") or {}).get(name) for seed in seeds] for name in _SPEEDUPS}
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
    """The table of a summary for the console.

    Args:
        summary: From `summarize_seeds`.
        task: Its name, and what was compared where that is not `evaluate`.
    """
    seeds = summary["seeds"]
    title = f"{task}, mean ± standard deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))})"
    if len(seeds) == 1:
        title = f"{task}, seed {seeds[0]} alone: no spread is known"
    metrics = pd.DataFrame(
        [
            (
                name,
                _mean_and_std(dense, ".4f"),
                _mean_and_std(summary["reduced"][name], ".4f"),
                _mean_and_std(summary["difference"][name], "+.4f"),
                _range(summary["difference"][name], "+.4f"),
            )
            for name, dense in summary["dense"].items()
        ],
        columns=["dev metric", "fine-tuned", "reduced", "difference", "lowest to highest"],
    )
    tables = [title, metrics.to_string(index=False)]
    if summary["speedup"]:
        speedups = pd.DataFrame(
            [
                (_SPEEDUPS[name], _mean_and_std(values, ".2f"), _range(values, ".2f"), values["runs"])
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


def _mean_and_std(values: Mapping[str, Any], form: str) -> str:
    deviation = "-" if values["std"] is None else format(values["std"], form.removeprefix("+"))
    return f"{values['mean']:{form}} ± {deviation}"


def _range(values: Mapping[str, Any], form: str) -> str:
    if values["runs"] == 1:
        return "-"
    return f"{values['minimum']:{form}} to {values['maximum']:{form}}"
