"""What a report says of how the run was done: training, data, settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from powerbert_tf.report_blocks import Block, Plot, Table
from powerbert_tf.report_figures import (
    draw_curves,
    draw_lengths,
)


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
