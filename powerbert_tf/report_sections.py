"""The sections of a report, from what `report_data.gather` found."""

from collections.abc import Iterator, Mapping
from typing import Any

from powerbert_tf.report_blocks import Block, Section, Table
from powerbert_tf.report_quality import answers, calibration, examples, metrics
from powerbert_tf.report_run import data, settings, training
from powerbert_tf.report_speed import encoders, pareto, search, speed
from powerbert_tf.retention import is_fractional


def report_sections(content: Mapping[str, Any]) -> list[Section]:
    """All that a report tells, in order.

    Args:
        content: From `report_data.gather`; `seeds` may hold a summary of several seeds.
    """
    return [
        Section(name, title, blocks)
        for name, title, tell in (
            ("summary", "In short", _summary),
            ("metrics", "Metrics before and after", metrics),
            ("speed", "Where the speed-up comes from", speed),
            ("encoders", "What each encoder keeps", encoders),
            ("search", "The search", search),
            ("pareto", "Metric against speed-up", pareto),
            ("answers", "Do the two models agree?", answers),
            ("calibration", "Are they as sure as they are right?", calibration),
            ("examples", "Examples lost and won", examples),
            ("training", "Learning curves", training),
            ("data", "Data", data),
            ("settings", "Settings", settings),
        )
        if (blocks := list(tell(content)))
    ]


def headline(content: Mapping[str, Any]) -> str:
    """The report in one sentence."""
    main = content["metrics"][0]
    speedup = content["speedup"]
    return (
        f"{speedup['grouped']:.2f} times faster than the fine-tuned model on the same batches grouped by length, at a "
        f"dev {main['name']} of {main['reduced']:.4f} in place of {main['dense']:.4f} "
        f"({main['reduced'] - main['dense']:+.4f})."
    )


def _summary(content: Mapping[str, Any]) -> Iterator[Block]:
    yield headline(content)
    if content["data"]["source"] == "sample":
        yield "The data is the generated sample: these figures say nothing about the task."
    speedup = content["speedup"]
    facts = [
        ("task", content["task"]),
        ("checkpoint", content["checkpoint"]),
        ("keeps", _kept_entries(content)),
        ("measured on", f"{speedup['device']}, batches of {speedup['batch_size']}"),
        ("against padded to N, the paper's way", f"{speedup['padded']:.2f} times faster"),
        ("predicted, grouped by length", f"{speedup['predicted']:.2f} times faster"),
    ]
    if content["seeds"] is None:
        facts.append(("seeds", f"{content['settings']['seed']} alone: no spread is known"))
    yield Table(("", "this run"), facts, "The run", numbers=False)


def _kept_entries(content: Mapping[str, Any]) -> str:
    configuration = content["retention_configuration"]
    kind = "shares of each example's length" if is_fractional(configuration) else "word-vectors at most"
    return f"{', '.join(f'{kept:g}' for kept in configuration)} ({kind}, an entry an encoder)"
