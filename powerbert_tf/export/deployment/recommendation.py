"""The choice among measured forms: the fastest one that keeps the limits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

EXACT = 1e-3  # how far a form in float32 may be from Keras, of the largest answer


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a form must keep.

    Attributes:
        percentile: At which times are compared.
        latency_ms: Most milliseconds of a call at that percentile; 0 for any.
        max_loss: Most that the metric may lose.
    """

    percentile: float
    latency_ms: float
    max_loss: float


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What `recommend` found.

    Attributes:
        form: The form; empty if none keeps the limits.
        reason: Why, or why none, in a sentence.
        as_fast: Others within the limits that are as fast, as their turns overlap with those of the form.
    """

    form: str
    reason: str
    as_fast: tuple[str, ...] = ()


def breach(row: Mapping[str, Any], limits: Limits) -> str:
    """Which limit a form does not keep, in a few words; empty if it keeps all.

    Args:
        row: `precision`, `largest_difference` from Keras' answers, `loss` and `at_ms`.
        limits: The limits.
    """
    if _is_wrong(row):
        return f"gives other answers than Keras, off by {row['largest_difference']:.2g}"
    if not row["loss"] <= limits.max_loss:
        return f"loses {row['loss']:.4f}, more than {limits.max_loss:g}"
    if limits.latency_ms and not row["at_ms"] <= limits.latency_ms:
        return f"takes {row['at_ms']:.2f} ms, more than {limits.latency_ms:g}"
    return ""


def _is_wrong(row: Mapping[str, Any]) -> bool:
    return row["precision"] == "float32" and not row["largest_difference"] <= EXACT


def recommend(rows: Mapping[str, Mapping[str, Any]], limits: Limits) -> Recommendation:
    """The form with the least time at the percentile among those that keep the limits; of equals, what starts first.

    Args:
        rows: Form -> what `breach` reads, `turns_ms` and `start_seconds`.
        limits: The limits.
    """
    within = [form for form, row in rows.items() if not breach(row, limits)]
    by_time = sorted(within, key=lambda form: (rows[form]["at_ms"], rows[form]["start_seconds"], form))
    if not by_time:
        return Recommendation("", _why_none(rows, limits))
    best = by_time[0]
    slowest = rows[best]["turns_ms"][1]
    as_fast = tuple(form for form in by_time[1:] if rows[form]["turns_ms"][0] <= slowest)
    limit = f" and {limits.latency_ms:g} ms" if limits.latency_ms else ""
    return Recommendation(
        best,
        f"{rows[best]['at_ms']:.2f} ms at the {ordinal(limits.percentile)} percentile, the least of "
        f"{len(within)} within a loss of {limits.max_loss:g}{limit}",
        as_fast,
    )


def _why_none(rows: Mapping[str, Mapping[str, Any]], limits: Limits) -> str:
    if not rows:
        return "no form could be measured"
    exact = [form for form in rows if not breach(rows[form], dataclasses.replace(limits, latency_ms=0.0))]
    if not exact:
        right = [form for form in rows if not _is_wrong(rows[form])]
        if not right:
            return "; ".join(f"{form} {breach(row, limits)}" for form, row in rows.items())
        nearest = min(right, key=lambda form: rows[form]["loss"])
        return f"none keeps a loss of {limits.max_loss:g}; the least, {rows[nearest]['loss']:.4f}, has {nearest}"
    fastest = min(exact, key=lambda form: rows[form]["at_ms"])
    return (
        f"none answers within {limits.latency_ms:g} ms at the {ordinal(limits.percentile)} percentile; the fastest, "
        f"{fastest}, takes {rows[fastest]['at_ms']:.2f} ms: allow more, reduce the model further, or give it more cores"
    )


def ordinal(percentile: float) -> str:
    """`90th`, `99th`, `99.9th`, `1st`."""
    text = f"{percentile:g}"
    endings: Sequence[str] = ("th", "st", "nd", "rd")
    last = int(text[-1])
    is_teen = len(text) > 1 and text[-2] == "1" and "." not in text
    return text + (endings[last] if last < len(endings) and not is_teen and "." not in text else "th")
