"""What a run comes to: the metric before and after, the word-vectors kept, the multiply-adds saved."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from powerbert_tf.elimination.retention import EncoderSize, is_fractional, kept_lengths, multiply_adds


def summarize_cost(
    size: EncoderSize, configuration: Sequence[float], lengths: np.ndarray, max_seq_length: int
) -> dict[str, Any]:
    """Multiply-adds of an average example, dense and reduced, with padding and without.

    Args:
        size: The encoders.
        configuration: Retention configuration.
        lengths: Word-pieces of each example, `[n]`.
        max_seq_length: N.

    Returns:
        `padded` (both models compute N rows, the paper's way), `unpadded` (both compute each example's own rows) and
        `padded_to_unpadded` (dense padded, reduced unpadded), each with `dense`, `reduced` and their ratio `saved`;
        `kept` with the mean number of rows that leave each encoder, without padding; and the mean length.
    """
    rows, counts = np.unique(lengths, return_counts=True)

    def mean(kept: Sequence[float] | None) -> float:
        return float(np.average([multiply_adds(size, int(length), kept) for length in rows], weights=counts))

    def compare(dense: float, reduced: float) -> dict[str, float]:
        return {"dense": dense, "reduced": reduced, "saved": dense / reduced}

    padded = compare(multiply_adds(size, max_seq_length), multiply_adds(size, max_seq_length, configuration))
    unpadded = compare(mean(None), mean(configuration))
    kept = [kept_lengths(configuration, size.num_encoders, int(length)) for length in rows]
    return {
        "padded": padded,
        "unpadded": unpadded,
        "padded_to_unpadded": compare(padded["dense"], unpadded["reduced"]),
        "kept": [round(float(value), 2) for value in np.average(kept, axis=0, weights=counts)],
        "mean_length": float(np.mean(lengths)),
    }


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What the closing table tells."""

    task: str
    data: str
    metrics_before: dict[str, float]
    metrics_after: dict[str, float]
    configuration: Sequence[float]
    max_seq_length: int
    cost: dict[str, Any]
    speedup: dict[str, Any]
    rounding: dict[str, Any] | None = None


def format_summary(summary: RunSummary) -> str:
    """The closing table of a run."""
    metrics = pd.DataFrame(
        [
            (name, before, summary.metrics_after[name], summary.metrics_after[name] - before)
            for name, before in summary.metrics_before.items()
        ],
        columns=["dev metric", "fine-tuned", "reduced", "difference"],
    )
    fractional = is_fractional(summary.configuration)
    encoders = pd.DataFrame(
        [
            (number, str(kept), summary.cost["mean_length"], mean)
            for number, (kept, mean) in enumerate(
                zip(summary.configuration, summary.cost["kept"], strict=True), start=1
            )
        ],
        columns=["encoder", "keeps (share)" if fractional else "keeps at most", "mean words", "mean words kept"],
    )
    labels = {
        "padded": f"both padded to N = {summary.max_seq_length} (the paper's way)",
        "unpadded": "both without padding (what grouping by length gives)",
        "padded_to_unpadded": "fine-tuned padded to N, reduced without padding",
    }
    costs = pd.DataFrame(
        [
            (label, summary.cost[key]["dense"] / 1e6, summary.cost[key]["reduced"] / 1e6, summary.cost[key]["saved"])
            for key, label in labels.items()
        ],
        columns=["million multiply-adds an example", "fine-tuned", "reduced", "times fewer"],
    )
    speedup = summary.speedup
    speeds = pd.DataFrame(
        [
            (f"fine-tuned, {way}", speedup["milliseconds"][f"dense, {way}"], speedup[key])
            for key, way in (
                ("padded", "padded to N"),
                ("batch", "padded to the batch"),
                ("grouped", "grouped by length"),
            )
        ],
        columns=[f"milliseconds of a batch of {speedup['batch_size']}", "milliseconds", "reduced is faster, times"],
    )
    reduced = speedup["milliseconds"]["reduced, grouped by length"]
    measured = f"reduced, grouped by length: {reduced:.1f} ms; predicted {speedup['predicted']:.2f}x against grouped"
    note = "\nOn the generated sample: these figures say nothing about the task." if summary.data == "sample" else ""
    tables = (
        metrics.to_string(index=False, float_format="{:.4f}".format),
        *([] if summary.rounding is None else [_format_rounding(summary.rounding)]),
        encoders.to_string(index=False, float_format="{:.1f}".format),
        costs.to_string(index=False, float_format="{:.2f}".format),
        speeds.to_string(index=False, float_format="{:.2f}".format),
        measured,
    )
    return f"{summary.task}\n\n" + "\n\n".join(tables) + note


def _format_rounding(rounding: dict[str, Any]) -> str:
    """What half precision changed, of both models."""
    names = {"dense": "fine-tuned", "reduced": "reduced"}
    rows = [
        (names[model], name, exact, exact + rounding[model]["difference"][name], rounding[model]["difference"][name])
        for model in names
        for name, exact in rounding[model]["float32"].items()
    ]
    table = pd.DataFrame(rows, columns=["model", "dev metric", "float32", rounding["precision"], "difference"])
    lines = [table.to_string(index=False, float_format="{:.4f}".format)]
    for model, name in names.items():
        of_model = rounding[model]
        changed = of_model["predictions"]
        predictions = "" if changed is None else f"{changed} of {rounding['examples']} predictions differ, "
        lines.append(f"{name}: {predictions}logits by at most {of_model['largest']:.3f}")
    return "\n".join(lines)
