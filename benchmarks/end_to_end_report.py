"""The results of `benchmarks.end_to_end` as Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables import measured_on, table
from powerbert_tf.common.files import replacing

_PADDED, _GROUPED = "padded to N", "grouped by length"


def compare(report: dict[str, Any]) -> pd.DataFrame:
    """One row a model and padding.

    Returns:
        Columns `model`, `padding`, `seconds`, `examples a second`, `tokenising` (its share of the time, in percent),
        `times faster, padded` and `times faster, grouped` (than the fine-tuned model so run), and the main metric.
    """
    baseline = {row["padding"]: row["seconds"] for row in report["results"] if row["model"] == "fine-tuned"}
    return pd.DataFrame(
        {
            "model": row["model"],
            "padding": row["padding"],
            "seconds": row["seconds"],
            "examples a second": row["examples_a_second"],
            "tokenising": f"{100 * row['tokenising_seconds'] / row['seconds']:.1f} %",
            "times faster, padded": baseline[_PADDED] / row["seconds"],
            "times faster, grouped": baseline[_GROUPED] / row["seconds"],
            f"dev {report['metric']}": f"{row['metrics'][report['metric']]:.4f}",
        }
        for row in report["results"]
    )


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes `<output>.md`."""
    kept = ", ".join(f"{fraction:g}" for fraction in report["retention"])
    differ = sum(row["labels_that_differ"] for row in report["results"])
    sample = " These are generated sentences, which say nothing about the task." if report["data"] == "sample" else ""
    text = (
        f"# Text in, label out: {report['task']}\n\n"
        f"`{report['command']}`\n\n"
        f"{measured_on(report)} {report['examples']} examples of dev, batches of {report['batch_size']}, "
        f"N = {report['max_seq_length']}, medians. The reduced model keeps {kept}. Answers are in the order "
        f"of the file; {differ} labels depend on the padding.{sample}\n\n{table(compare(report))}\n"
    )
    with replacing(output.with_suffix(".md")) as path:
        path.write_text(text, encoding="utf-8")
