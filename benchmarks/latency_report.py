"""The results of `benchmarks.latency` as Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables import measured_on, table
from powerbert_tf.common.files import replacing


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """One row a runtime and model.

    Returns:
        Columns `runtime`, `model`, milliseconds of a sentence alone and of a batch (`p50`, `p99`), `grouped`, the mean
        milliseconds of a length-grouped batch, `times faster` (than the dense float32 model of the same runtime, by
        that mean), `of Keras'` (that of the reduced float32 model, as a share of Keras'), and the main metric.
    """
    keras, rows = _speedup(report["results"].get("Keras")), []
    for runtime, models in report["results"].items():
        dense = models["dense"]["grouped"]["mean_ms"]
        for model, found in models.items():
            one, grouped = found["one"], found["grouped"]
            share = f"{_speedup(models) / keras:.2f}" if keras and model == "reduced" else ""
            rows.append(
                {
                    "runtime": runtime,
                    "model": model,
                    "one, p50 ms": one["p50_ms"],
                    "p99": one["p99_ms"],
                    "batch, p50 ms": grouped["p50_ms"],
                    "p99 ": grouped["p99_ms"],
                    "mean": grouped["mean_ms"],
                    "times faster": dense / grouped["mean_ms"],
                    "of Keras'": share,
                    f"dev {report['metric']}": f"{found['metrics'][report['metric']]:.4f}",
                }
            )
    return pd.DataFrame(rows)


def _speedup(models: Any) -> float:
    return models["dense"]["grouped"]["mean_ms"] / models["reduced"]["grouped"]["mean_ms"] if models else 0.0


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes `<output>.md`."""
    kept = ", ".join(map(str, report["retention"]))
    weights = "re-trained" if report["retrained"] else "the fine-tuned weights, not re-trained"
    text = [
        f"# Latency of {report['task']} on each runtime",
        f"`{report['command']}`\n\n{measured_on(report)} {report['examples']} dev examples; batches of "
        f"{report['batch_size']}, grouped by length. Reduced: {kept}; {weights}. Runtimes one after the other, the "
        "models of each in turns.",
        table(compare(report)),
    ]
    with replacing(output.with_suffix(".md")) as path:
        path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
