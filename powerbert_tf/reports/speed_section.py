"""What a report says of speed: where it comes from, what encoders keep, the search, the Pareto plot."""

from collections.abc import Iterator, Mapping
from typing import Any

from powerbert_tf.reports.blocks import Block, Plot, Table
from powerbert_tf.reports.figures import draw_bars, draw_by_encoder, draw_kept
from powerbert_tf.reports.pareto import MAX_LOSS, Baseline, Point, average_seeds, pareto_table
from powerbert_tf.reports.pareto_plot import draw_pareto

_WAYS = {  # the dense model, batched in three ways: where the measured speed-up over it is found
    "padded to N": "padded",
    "padded to the batch": "batch",
    "grouped by length": "grouped",
}


def speed(content: Mapping[str, Any]) -> Iterator[Block]:
    """Where the speed-up comes from."""
    speedup = content["speedup"]
    milliseconds = speedup["milliseconds"]
    reduced = milliseconds["reduced, grouped by length"]
    rows = [
        (f"fine-tuned, {way}", f"{milliseconds[f'dense, {way}']:.1f}", f"{speedup[key]:.2f}x")
        for way, key in _WAYS.items()
    ]
    rows.append(("reduced, grouped by length", f"{reduced:.1f}", "1"))
    yield (
        "Padding is no word-vector: what removing it saves can be had without this method, by batches grouped by "
        "length. What elimination saves is the last step, from grouped to reduced."
    )
    header = (f"batches of {speedup['batch_size']}", "milliseconds", "the reduced model is faster")
    yield Table(header, rows, f"Measured on {speedup['device']}, medians")
    names = [row[0] for row in rows]
    values = [float(milliseconds[f"dense, {way}"]) for way in _WAYS] + [reduced]
    yield Plot(
        "milliseconds",
        draw_bars(names, values, "milliseconds of a batch"),
        "Milliseconds of a batch: "
        + "; ".join(f"{name} {value:.1f}" for name, value in zip(names, values, strict=True)),
    )
    gains = content["gains"]
    yield (
        "The same way counted, in multiply-adds of the encoders for a mean dev example. A step saves of what the ones "
        "before it left; those called exact change no answer."
    )
    counted = [
        (
            one["name"],
            f"{one['multiply_adds'] / 1e6:.1f}",
            "" if before is None else f"{before['multiply_adds'] / one['multiply_adds']:.2f}x",
            f"{gains[0]['multiply_adds'] / one['multiply_adds']:.2f}x",
            "yes" if one["exact"] else "no",
        )
        for before, one in zip([None, *gains], gains, strict=False)
    ]
    steps = ("step", "million multiply-adds", "this step saves", "all so far", "exact")
    yield Table(steps, counted, "Where the multiply-adds go")
    names, values = [one["name"] for one in gains], [one["multiply_adds"] / 1e6 for one in gains]
    yield Plot(
        "multiply_adds",
        draw_bars(names, values, "million multiply-adds, a mean example"),
        "Million multiply-adds of a mean example after each step of the table above",
    )


def encoders(content: Mapping[str, Any]) -> Iterator[Block]:
    """What each encoder keeps."""
    kept, length = content["kept"], content["mean_length"]
    shown = ", ".join(f"{value:.1f}" for value in kept)
    yield Plot(
        "kept",
        draw_kept(kept, length),
        f"Of {length:.1f} word-vectors of a mean dev example these leave encoder 1, 2 and so on: {shown}. The last one "
        "computes [CLS] alone, in the fine-tuned model, too",
    )


def search(content: Mapping[str, Any]) -> Iterator[Block]:
    """The search."""
    found = content["search"]
    if found is None:
        yield "The retention configuration was given, not searched."
        return
    told = {
        "calibrate": "No training: each encoder eliminated alone, and what that changed was measured (damage).",
        "soft": "Fractions were learned with the weights, under the constraint of the target.",
        "paper": "Retention parameters were learned with the weights, their masses pushed down by lambda.",
    }
    yield told[found["search_method"]]
    if found.get("predicted_speedup"):
        measured = found.get("measured_speedup")
        seen = "" if measured is None else f", measured {measured:.2f}x"
        target = found.get("target_speedup")
        asked = "the least loss that was allowed" if target is None else f"{target:g}x"
        yield f"Asked for: {asked}. Predicted {found['predicted_speedup']:.2f}x{seen}, before re-training."
    if "profile" in found:
        profile = found["profile"]
        yield Plot(
            "profile",
            draw_by_encoder(profile["fractions"], profile["damages"], "share of the words that is kept", "damage"),
            "How far the answers move (mean KL divergence in nats, of a regression the mean squared difference) where "
            "one encoder alone eliminates down to a share; the last encoder has nothing to eliminate",
        )
    elif found["search_method"] == "calibrate":
        yield "The profile of damages was not recorded; --stage=search --overwrite records it."
    rows = content["curves"].get("search", [])
    for key, name, unit in (
        ("masses", "masses", "mass, word-vectors"),
        ("retention_configuration", "configurations", "kept by the encoder"),
    ):
        if rows and all(key in row for row in rows):
            lines = [list(line) for line in zip(*(row[key] for row in rows), strict=True)]
            epochs = [row["epoch"] for row in rows]
            last = ", ".join(f"{line[-1]:g}" for line in lines)
            title = "Masses" if key == "masses" else "Retention configuration"
            yield Plot(name, draw_by_encoder(epochs, lines, "epoch", unit), f"{title} by epoch; at the end: {last}")


def pareto(content: Mapping[str, Any]) -> Iterator[Block]:
    """Metric against speed-up."""
    result = content["pareto"]
    if result is None:
        return
    points = [Point(**point) for point in result["points"]]
    baselines = [Baseline(**baseline) for baseline in result["baselines"]]
    metric = result["metric"]
    table = pareto_table(points, metric, baselines)
    most = float(content["settings"].get("max_loss") or MAX_LOSS)
    yield Plot(
        "pareto",
        draw_pareto(table, baselines, content["task"], metric, most),
        f"Dev {metric} against measured speed-up, by strategy; the table below has the same",
    )
    rows = [
        (
            point.strategy,
            f"{point.target_speedup:g}x",
            f"{point.speedup:.2f}x",
            f"{point.speedup_padded:.2f}x",
            f"{point.metric:.4f}",
        )
        for point in average_seeds(points)
    ]
    header = ("strategy", "target", "measured, grouped", "over padded to N", f"dev {metric}")
    yield Table(header, rows, f"Measured on {result['measured_on']}")
