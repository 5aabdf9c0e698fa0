"""What a report says of how the run was done: training, data, settings.

The sections of a report, from what `report_data.gather` found.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from powerbert_tf.elimination.retention import is_fractional
from powerbert_tf.reports.blocks import Block, Plot, Section, Table
from powerbert_tf.reports.figures import draw_curves, draw_lengths
from powerbert_tf.reports.quality_section import answers, calibration, examples, metrics
from powerbert_tf.reports.speed_section import encoders, pareto, search, speed


def training(content: Mapping[str, Any]) -> Iterator[Block]:
    """Learning curves."""
    before = {row["name"]: row["before"] for row in content["metrics"]}.get(content["metric"])
    for stage, rows in content["curves"].items():
        if stage == "elastic":
            continue
        values = [row["metrics"][content["metric"]] for row in rows]
        caption = (
            f"{stage}: training loss from {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f}, dev {content['metric']} "
            f"{min(values):.4f} to {max(values):.4f} over {len(rows)} epochs"
        )
        start = before if stage == "retrain" else None
        kept = content["kept_epochs"].get(stage)
        yield Plot(f"curve-{stage}", draw_curves(rows, content["metric"], kept, start), caption)


def data(content: Mapping[str, Any]) -> Iterator[Block]:
    """Data."""
    data = content["data"]
    quantiles = [name for name in data["splits"]["dev"] if name.endswith("%")]
    rows = [
        (
            name,
            f"{split['examples']:,}",
            f"{split['mean']:.1f}",
            *(f"{split[quantile]:.0f}" for quantile in quantiles),
            str(split["longest"]),
            f"{split['full']:.1%}",
        )
        for name, split in data["splits"].items()
    ]
    header = ("split", "examples", "mean length", *(f"{name} have at most" for name in quantiles), "longest", "fill N")
    yield Table(header, rows, f"Lengths in word-pieces; N = {data['max_seq_length']}, source: {data['source']}")
    caption = "Share of examples by their number of word-pieces"
    yield Plot("lengths", draw_lengths(data["edges"], data["histogram"]), caption)
    rows = [(name, f"{share:.1%}") for name, share in data["padding"].items()]
    yield Table(
        ("batches", "share of padding"),
        rows,
        f"What of the dev split's word-vectors would be padding, in batches of {data['batch_size']}",
    )


def settings(content: Mapping[str, Any]) -> Iterator[Block]:
    """Settings."""
    rows = [(f"--{name}", str(value)) for name, value in content["settings"].items() if value != ""]
    yield Table(("flag", "value"), rows, "As they took effect", numbers=False)


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
