"""Mean and spread over runs that differ only in the seed."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from powerbert_tf.common.errors import InputError
from powerbert_tf.reports.verdict import SHARE, Verdict, judge

SPEEDUPS = {
    "grouped": "both grouped by length",
    "padded": "dense padded to N",
    "predicted": "grouped, predicted",
}
_MODELS = ("dense", "reduced")
_REDUCED = "reduced, grouped by length"
_NONE = {_REDUCED: math.nan}


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


def judge_seeds(results: Mapping[int, Mapping[str, Any]]) -> Verdict | None:
    """The verdict on the means over seeds, with an interval of the loss by Student's t over the seeds.

    Args:
        results: As for `summarize_seeds`.

    Returns:
        The verdict; None if speeds were not measured.
    """
    runs = [results[seed] for seed in sorted(results)]
    if any((run.get("speedup") or {}).get("grouped") is None for run in runs):
        return None
    if len(runs) == 1:
        return judge(runs[0])
    metric = runs[0]["metric"]

    def mean(read: Callable[[Mapping[str, Any]], float]) -> float:
        return statistics.fmean(map(read, runs))

    values = {model: [run[model]["metrics"][metric] for run in runs] for model in _MODELS}
    difference = np.subtract(values["reduced"], values["dense"])
    error = float(difference.std(ddof=1)) / math.sqrt(len(runs))
    half = float(stats.t.ppf((1 + SHARE) / 2, len(runs) - 1)) * error
    evaluated: dict[str, Any] = {
        "metric": metric,
        **{model: {"metrics": {metric: statistics.fmean(values[model])}} for model in _MODELS},
        "speedup": {
            "grouped": mean(lambda run: run["speedup"]["grouped"]),
            # Missing after a search or re-training, where the verdict does not need them.
            "milliseconds": {_REDUCED: mean(lambda run: (run["speedup"].get("milliseconds") or _NONE)[_REDUCED])},
        },
        "interval": [float(difference.mean()) - half, float(difference.mean()) + half],
        "seeds": len(runs),
        "settings": runs[0].get("settings", {}),
    }
    if all("constant" in run for run in runs):
        evaluated["constant"] = mean(lambda run: run["constant"])
    if all("commonest" in run for run in runs):  # a mean of 1 means one answer for everything in all of them
        shares = pd.DataFrame([run["commonest"] for run in runs])
        evaluated["commonest"] = shares.mean().to_dict()
    return judge(evaluated)


def format_seeds(summary: Mapping[str, Any], task: str, verdict: Sequence[str] = ()) -> str:
    """The table of a summary for the console.

    Args:
        summary: Of `summarize_seeds`.
        task: Its name, and what was compared, if not `evaluate`.
        verdict: The lines to begin with, of `judge_seeds`.
    """
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
    tables = ["\n".join([title, *verdict]), metrics.to_string(index=False)]
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
