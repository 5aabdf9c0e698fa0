"""The closing table of a run: metrics before and after, tokens kept, multiply-adds saved, and speed."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from powerbert_tf.elimination.reduction import WIDTHS
from powerbert_tf.elimination.retention import is_fractional
from powerbert_tf.latency.costs import GROUPED
from powerbert_tf.reports.verdict import judge

# How batches of the dense model are padded -> the key of the speed-up over it in the result of `evaluate`.
DENSE_SPEEDUPS = {"padded to N": "padded", "padded to the batch": "batch", GROUPED: "grouped"}


def format_summary(task: str, source: str, max_seq_length: int, evaluated: Mapping[str, Any]) -> str:
    """The closing table of a run, from the `result.json` of its stage `evaluate` and the source of its data."""
    after, cost, speedup = evaluated["reduced"]["metrics"], evaluated["multiply_adds"], evaluated["speedup"]
    configuration = evaluated["retention_configuration"]
    metrics = pd.DataFrame(
        [(name, before, after[name], after[name] - before) for name, before in evaluated["dense"]["metrics"].items()],
        columns=["dev metric", "fine-tuned", "reduced", "difference"],
    )
    encoders = pd.DataFrame(
        {
            "encoder": range(1, len(configuration) + 1),
            "keeps (share)" if is_fractional(configuration) else "keeps at most": map(str, configuration),
            "mean tokens": cost["mean_length"],
            "mean tokens kept": cost["kept"],
            **{name: evaluated[name] for name in WIDTHS if evaluated.get(name)},
        }
    )
    labels = {
        "padded": f"both padded to N = {max_seq_length}",
        "unpadded": "both without padding",
        "padded_to_unpadded": "only the fine-tuned padded",
    }
    costs = pd.DataFrame(
        [
            (label, cost[key]["dense"] / 1e6, cost[key]["reduced"] / 1e6, cost[key]["saved"])
            for key, label in labels.items()
        ],
        columns=["million multiply-adds", "fine-tuned", "reduced", "times fewer"],
    )
    milliseconds = speedup["milliseconds"]
    speeds = pd.DataFrame(
        [(f"fine-tuned, {way}", milliseconds[f"dense, {way}"], speedup[key]) for way, key in DENSE_SPEEDUPS.items()],
        columns=[f"a batch of {speedup['batch_size']}", "milliseconds", "reduced is faster, times"],
    )
    rounding = evaluated.get("rounding")
    parts = [
        f"{task}\n" + "\n".join(judge(evaluated).lines),
        metrics.to_string(index=False, float_format="{:.4f}".format),
        *([] if rounding is None else [_format_rounding(rounding)]),
        encoders.to_string(index=False, float_format="{:.1f}".format),
        costs.to_string(index=False, float_format="{:.2f}".format),
        speeds.to_string(index=False, float_format="{:.2f}".format),
        f"reduced, grouped by length: {milliseconds['reduced, grouped by length']:.1f} ms; predicted against "
        f"fine-tuned,\ngrouped by length: {speedup['predicted']:.2f}x{_alone(speedup)}",
    ]
    note = "\nOn the generated sample: these figures say nothing about the task." if source == "sample" else ""
    return "\n\n".join(parts) + note


def _alone(speedup: Mapping[str, Any]) -> str:
    """What one example at a time takes, as a further line; empty for results of earlier versions."""
    alone = speedup.get("alone")
    if not alone:
        return ""
    dense, reduced = alone["dense"], alone["reduced"]
    return f"\none example at a time: {dense:.1f} ms fine-tuned, {reduced:.1f} ms reduced, {dense / reduced:.2f}x"


def _format_rounding(rounding: dict[str, Any]) -> str:
    """What half precision changed in both models."""
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
