"""The sections of a report, from what `report_data.gather` found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from powerbert_tf.curves import MAX_LOSS
from powerbert_tf.pareto import Baseline, Point, average_seeds, pareto_table
from powerbert_tf.pareto_plot import draw_pareto
from powerbert_tf.report_blocks import Block, Plot, Section, Table
from powerbert_tf.report_figures import (
    draw_bars,
    draw_by_encoder,
    draw_curves,
    draw_kept,
    draw_lengths,
    draw_points,
    draw_reliability,
)
from powerbert_tf.retention import is_fractional

_MODELS = {"dense": "fine-tuned", "reduced": "reduced"}
_WAYS = {  # the dense model, batched in three ways: where the measured speed-up over it is found
    "padded to N": "padded",
    "padded to the batch": "batch",
    "grouped by length": "grouped",
}
_LONGEST_TEXT = 220  # characters of an example
_MOST_CLASSES = 20  # of which a table of confusions can be read


def report_sections(content: Mapping[str, Any]) -> list[Section]:
    """All that a report tells, in order.

    Args:
        content: From `report_data.gather`; `seeds` may hold a summary of several seeds.
    """
    return [
        Section(name, title, blocks)
        for name, title, tell in (
            ("summary", "In short", _summary),
            ("metrics", "Metrics before and after", _metrics),
            ("speed", "Where the speed-up comes from", _speed),
            ("encoders", "What each encoder keeps", _encoders),
            ("search", "The search", _search),
            ("pareto", "Metric against speed-up", _pareto),
            ("answers", "Do the two models agree?", _answers),
            ("calibration", "Are they as sure as they are right?", _calibration),
            ("examples", "Examples lost and won", _examples),
            ("training", "Learning curves", _training),
            ("data", "Data", _data),
            ("settings", "Settings", _settings),
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


def _metrics(content: Mapping[str, Any]) -> Iterator[Block]:
    rows = [
        (
            f"dev {row['name']}",
            f"{row['dense']:.4f}",
            "not known" if row["before"] is None else f"{row['before']:.4f}",
            f"{row['reduced']:.4f}",
            f"{row['reduced'] - row['dense']:+.4f}",
        )
        for row in content["metrics"]
    ]
    header = ("metric", "fine-tuned", "before re-training", "reduced", "difference")
    yield Table(header, rows, "Dev metrics of both models")
    for split, models in content["further"].items():
        both = [(name, f"{value:.4f}", f"{models['reduced'][name]:.4f}") for name, value in models["dense"].items()]
        yield Table((split, "fine-tuned", "reduced"), both, f"Metrics on {split}")
    if content["seeds"] is not None:
        yield from _spread(content["seeds"])
    if content["per_class"]:
        rows = [
            (name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")), str(scores["examples"]))
            for name, scores in content["per_class"].items()
        ]
        yield Table(("class", "precision", "recall", "F1", "examples"), rows, "The reduced model, class by class")


def _spread(seeds: Mapping[str, Any]) -> Iterator[Block]:
    def told(values: Mapping[str, Any], form: str) -> str:
        spread = "" if values["std"] is None else f" ± {values['std']:{form.removeprefix('+')}}"
        return f"{values['mean']:{form}}{spread}"

    rows = [
        (
            f"dev {name}",
            told(dense, ".4f"),
            told(seeds["reduced"][name], ".4f"),
            told(seeds["difference"][name], "+.4f"),
        )
        for name, dense in seeds["dense"].items()
    ]
    names = {"grouped": "grouped by length", "padded": "against padded to N", "predicted": "predicted"}
    rows += [
        (f"times faster, {names[name]}", "1", told(values, ".2f"), "") for name, values in seeds["speedup"].items()
    ]
    which = ", ".join(map(str, seeds["seeds"]))
    yield Table(
        ("over seeds", "fine-tuned", "reduced", "difference"),
        rows,
        f"Mean ± sample standard deviation over the seeds {which}; each difference is of one seed's own two models",
    )


def _speed(content: Mapping[str, Any]) -> Iterator[Block]:
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


def _encoders(content: Mapping[str, Any]) -> Iterator[Block]:
    kept, length = content["kept"], content["mean_length"]
    shown = ", ".join(f"{value:.1f}" for value in kept)
    yield Plot(
        "kept",
        draw_kept(kept, length),
        f"Of {length:.1f} word-vectors of a mean dev example these leave encoder 1, 2 and so on: {shown}. The last one "
        "computes [CLS] alone, in the fine-tuned model, too",
    )


def _search(content: Mapping[str, Any]) -> Iterator[Block]:
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


def _pareto(content: Mapping[str, Any]) -> Iterator[Block]:
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


def _answers(content: Mapping[str, Any]) -> Iterator[Block]:
    if content["agreement"] is None:
        yield from _differences(content["differences"])
        return
    agreement = content["agreement"]
    examples = agreement["examples"]
    yield (
        f"The two models answer alike on {agreement['same']} of {examples} dev examples "
        f"({agreement['same'] / examples:.1%}). Were neither better, a split of lost and won at least so uneven would "
        "come about with probability "
        f"{agreement['chance']:.2g} (McNemar's exact test)."
    )
    yield Table(
        ("", "reduced is right", "reduced is wrong"),
        [
            ("fine-tuned is right", str(agreement["both_right"]), f"{agreement['lost']} (lost)"),
            ("fine-tuned is wrong", f"{agreement['won']} (won)", str(agreement["both_wrong"])),
        ],
        "Dev examples by who is right",
    )
    classes = content["classes"]
    if len(classes) > _MOST_CLASSES:
        yield f"Confusions of {len(classes)} classes make no table; report.json has them."
        return
    for name, matrix in content["confusion"].items():
        rows = [(label, *map(str, counts)) for label, counts in zip(classes, matrix, strict=True)]
        header = ("right answer", *(f"said {label}" for label in classes))
        yield Table(header, rows, f"Confusions of the {_MODELS[name]} model")


def _differences(found: Mapping[str, Any]) -> Iterator[Block]:
    yield (
        f"On {found['examples']} dev examples the numbers of the two models correlate at {found['pearson']:.4f} "
        f"(Pearson) and differ by {found['mean']:.3f} on average, by {found['largest']:.3f} at most. They miss the "
        f"right number by {found['mean_error']['dense']:.3f} (fine-tuned) and "
        f"{found['mean_error']['reduced']:.3f} (reduced) on average."
    )
    caption = "Numbers of the reduced model against those of the fine-tuned one; on the line they are the same"
    yield Plot("points", draw_points(found["points"]), caption)


def _calibration(content: Mapping[str, Any]) -> Iterator[Block]:
    models = content["reliability"]
    if models is None:
        return
    named = {_MODELS[name]: found for name, found in models.items()}
    yield (
        "A model that says 0.8 should be right in 8 of 10 cases. The calibration error is the mean distance from that, "
        "in ten bins of the probability of the answer."
    )
    rows = [
        (name, f"{found['error']:.4f}", f"{found['log_loss']:.4f}", f"{_mean_confidence(found):.4f}")
        for name, found in named.items()
    ]
    yield Table(("model", "calibration error", "log loss, nats", "mean probability of the answer"), rows, "Calibration")
    caption = "Share of right answers against the probability that the model gave them; below the line it is too sure"
    yield Plot("reliability", draw_reliability(named), caption)


def _mean_confidence(found: Mapping[str, Any]) -> float:
    counts: Sequence[int] = found["counts"]
    return sum(c * n for c, n in zip(found["confidence"], counts, strict=True)) / sum(counts)


def _examples(content: Mapping[str, Any]) -> Iterator[Block]:
    numbers = content["agreement"] is None
    titles = {
        "lost": "Numbers that got worse, the worst first" if numbers else "Lost: only the fine-tuned model is right",
        "won": "Numbers that got better, the best first" if numbers else "Won: only the reduced model is right",
    }
    for kind, title in titles.items():
        rows = [
            (
                " ‖ ".join(map(_short, one["texts"])),
                one["label"],
                one["dense"],
                one["reduced"],
            )
            for one in content["examples"][kind]
        ]
        if rows:
            yield Table(("text", "right answer", "fine-tuned", "reduced"), rows, title, numbers=False)
        else:
            yield f"{title}: none."


def _short(text: str) -> str:
    """On one line, and cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _training(content: Mapping[str, Any]) -> Iterator[Block]:
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


def _data(content: Mapping[str, Any]) -> Iterator[Block]:
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


def _settings(content: Mapping[str, Any]) -> Iterator[Block]:
    rows = [(f"--{name}", str(value)) for name, value in content["settings"].items() if value != ""]
    yield Table(("flag", "value"), rows, "As they took effect", numbers=False)
