"""The sections of a run's report: quality, speed, search, training, data and settings.

Each function takes the content of `report.json`, which the report stage gathers, and yields nothing if there is
nothing to show.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from powerbert_tf.elimination.reduction import WIDTHS
from powerbert_tf.elimination.retention import is_fractional
from powerbert_tf.reports.figures import (
    draw_bars,
    draw_by_encoder,
    draw_curves,
    draw_kept,
    draw_lengths,
    draw_points,
    draw_reliability,
)
from powerbert_tf.reports.page import Block, Caution, Hero, Plot, Section, Table
from powerbert_tf.reports.pareto import (
    MAX_LOSS,
    Baseline,
    Point,
    baseline_metric,
    draw_pareto,
    pareto_table,
    table_texts,
)
from powerbert_tf.reports.seeds import SPEEDUPS, mean_and_std
from powerbert_tf.reports.summary import DENSE_SPEEDUPS
from powerbert_tf.search.settings import SEARCH_METHODS

_MODELS = {"dense": "fine-tuned", "reduced": "reduced"}
_LONGEST_TEXT = 220  # characters of an example
_MOST_CLASSES = 20  # that a readable confusion matrix has


def report_sections(content: Mapping[str, Any]) -> list[Section]:
    """The whole report, in order.

    Args:
        content: Of `report.json`; `seeds` may hold a summary of several seeds.
    """
    return [
        Section(name, title, blocks)
        for name, title, section in (
            ("summary", "Summary", summary_section),
            ("metrics", "Metrics before and after", _metrics),
            ("speed", "Where the speed-up comes from", _speed),
            ("encoders", "What each encoder keeps", _encoders),
            ("search", "The search", _search),
            ("pareto", "Metric against speed-up", _pareto),
            ("answers", "Do the two models agree?", _answers),
            ("calibration", "Are they as often right as they say?", _calibration),
            ("examples", "Examples lost and won", _examples),
            ("training", "Learning curves", _training),
            ("data", "Data", _data),
            ("settings", "Settings", _settings),
        )
        if (blocks := list(section(content)))
    ]


def headline(content: Mapping[str, Any]) -> str:
    """The report in a sentence or three: the verdict, where it is known."""
    if content.get("verdict"):
        return " ".join(line if line.endswith(".") else f"{line}." for line in content["verdict"])
    main = content["metrics"][0]
    return (
        f"{content['speedup']['grouped']:.2f} times faster than the fine-tuned model on the same batches grouped by "
        f"length, with a dev {main['name']} of {main['reduced']:.4f} instead of {main['dense']:.4f} "
        f"({main['reduced'] - main['dense']:+.4f})."
    )


def summary_section(content: Mapping[str, Any]) -> Iterator[Block]:
    """The verdict with its numbers, what to mind, and the facts of the run as a table."""
    yield _hero(content)
    if content["data"]["source"] == "sample":
        yield Caution("The data is the generated sample: these figures say nothing about the task.")
    yield from map(Caution, content.get("cautions", ()))
    speedup, configuration = content["speedup"], content["retention_configuration"]
    kind = "shares of each example's length" if is_fractional(configuration) else "word-vectors at most"
    facts = [
        ("task", content["task"]),
        ("checkpoint", content["checkpoint"]),
        ("keeps", f"{', '.join(f'{kept:g}' for kept in configuration)} ({kind}, one entry per encoder)"),
        *_widths(content),
        ("measured on", f"{speedup['device']}, batches of {speedup['batch_size']}"),
        ("against padded to N, the paper's way", f"{speedup['padded']:.2f} times faster"),
        ("predicted, grouped by length", f"{speedup['predicted']:.2f} times faster"),
    ]
    if content["seeds"] is None:
        facts.append(("seeds", f"{content['settings']['seed']} only: spread unknown"))
    yield Table(("", "this run"), facts, "The run", numbers=False)


def _hero(content: Mapping[str, Any]) -> Hero:
    """The verdict; reports of earlier versions have none."""
    speedup, main = content["speedup"], content["metrics"][0]
    speed, loss, sentence = content.get("verdict") or (
        "times faster than the fine-tuned model",
        f"dev {main['name']}: {main['dense']:.4f} → {main['reduced']:.4f}",
        headline(content),
    )
    points = 100 * (main["reduced"] - main["dense"])
    figures = [
        (f"{speedup['grouped']:.2f}x", speed.removeprefix(f"{speedup['grouped']:.2f} ")),
        (f"{points:+.1f}", loss.removeprefix(f"{abs(points):.1f} ")),
    ]
    if alone := speedup.get("alone"):
        figures.append((f"{alone['reduced']:.1f} ms", f"for one example at a time; {alone['dense']:.1f} ms fine-tuned"))
    return Hero(figures, sentence, content.get("is_worth"))


def _widths(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts on a narrowed model; none on another."""
    widths = [name for name in WIDTHS if content.get(name)]
    for name in widths:
        yield name, ", ".join(map(str, content[name]))
    if widths:
        weights = content["weights"]
        yield "weights", f"{weights['reduced']:,}, of {weights['dense']:,} in the fine-tuned model"


def _metrics(content: Mapping[str, Any]) -> Iterator[Block]:
    rows = [
        (
            f"dev {row['name']}",
            f"{row['dense']:.4f}",
            "unknown" if row["before"] is None else f"{row['before']:.4f}",
            f"{row['reduced']:.4f}",
            f"{row['reduced'] - row['dense']:+.4f}",
        )
        for row in content["metrics"]
    ]
    header = ("metric", "fine-tuned", "before re-training", "reduced", "difference")
    yield Table(header, rows, "Dev metrics of both models")
    if content.get("test"):
        dense, reduced = content["test"].values()
        on_test = [
            (f"test {name}", f"{value:.4f}", f"{reduced[name]:.4f}", f"{reduced[name] - value:+.4f}")
            for name, value in dense.items()
        ]
        yield Table(("metric", "fine-tuned", "reduced", "difference"), on_test, "The same on the test split")
    for split, models in content["further"].items():
        both = [(name, f"{value:.4f}", f"{models['reduced'][name]:.4f}") for name, value in models["dense"].items()]
        yield Table((split, "fine-tuned", "reduced"), both, f"Metrics on {split}")
    if content["seeds"] is not None:
        yield _spread(content["seeds"])
    if content["per_class"]:
        keys = {"precision": "precision", "recall": "recall", "f1": "F1", "threshold": "threshold"}
        keys = {key: title for key, title in keys.items() if key in next(iter(content["per_class"].values()))}
        classes = [
            (name, *(f"{scores[key]:.3f}" for key in keys), str(scores["examples"]))
            for name, scores in content["per_class"].items()
        ]
        yield Table(("class", *keys.values(), "examples"), classes, "The reduced model, class by class")
        if "threshold" in keys:
            held_out = content["settings"].get("held_out_share")
            where = "held-out rows." if held_out else "dev; F1 on dev is therefore a little too high."
            yield f"A label is an answer where its probability reaches its threshold, which has the best F1 on {where}"


def _spread(seeds: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"dev {name}",
            *(mean_and_std(seeds[model][name], ".4f") for model in _MODELS),
            mean_and_std(difference, "+.4f"),
        )
        for name, difference in seeds["difference"].items()
    ]
    rows += [
        (f"times faster, {SPEEDUPS[name]}", "1", mean_and_std(values, ".2f"), "")
        for name, values in seeds["speedup"].items()
    ]
    return Table(
        ("over seeds", "fine-tuned", "reduced", "difference"),
        rows,
        f"Mean ± sample standard deviation over the seeds {', '.join(map(str, seeds['seeds']))}; a difference is "
        "between the two models of one seed",
    )


def _speed(content: Mapping[str, Any]) -> Iterator[Block]:
    speedup, steps = content["speedup"], content["gains"]
    milliseconds = speedup["milliseconds"]
    names = [*(f"fine-tuned, {way}" for way in DENSE_SPEEDUPS), "reduced, grouped by length"]
    values = [*(milliseconds[f"dense, {way}"] for way in DENSE_SPEEDUPS), milliseconds["reduced, grouped by length"]]
    faster = [*(f"{speedup[key]:.2f}x" for key in DENSE_SPEEDUPS.values()), "1"]
    yield (
        "Padding is not computed if batches are grouped by length, and that needs no elimination. Elimination saves "
        "the last step, from grouped to reduced."
    )
    yield Table(
        (f"batches of {speedup['batch_size']}", "milliseconds", "the reduced model is faster"),
        [(name, f"{value:.1f}", times) for name, value, times in zip(names, values, faster, strict=True)],
        f"Measured on {speedup['device']}, medians",
    )
    yield Plot(
        "milliseconds",
        draw_bars(names, values, "milliseconds per batch", [name.startswith("reduced") for name in names]),
        f"Milliseconds per batch: {'; '.join(f'{a} {b:.1f}' for a, b in zip(names, values, strict=True))}",
    )
    if alone := speedup.get("alone"):
        yield (
            f"One example at a time, the fine-tuned model takes {alone['dense']:.1f} ms and the reduced one "
            f"{alone['reduced']:.1f} ms: {alone['dense'] / alone['reduced']:.2f} times faster."
        )
    yield (
        "The same steps counted, in multiply-adds of the encoders for a mean dev example. Each step saves part of what "
        "the steps before it left; exact steps change no answer."
    )
    counted = [
        (
            one["name"],
            f"{one['multiply_adds'] / 1e6:.1f}",
            "" if before is None else f"{before['multiply_adds'] / one['multiply_adds']:.2f}x",
            f"{steps[0]['multiply_adds'] / one['multiply_adds']:.2f}x",
            "yes" if one["exact"] else "no",
        )
        for before, one in zip([None, *steps], steps, strict=False)
    ]
    header = ("step", "million multiply-adds", "this step saves", "all so far", "exact")
    yield Table(header, counted, "Where the multiply-adds go")
    names, values = [one["name"] for one in steps], [one["multiply_adds"] / 1e6 for one in steps]
    yield Plot(
        "multiply_adds",
        draw_bars(names, values, "million multiply-adds, mean example", [one is steps[-1] for one in steps]),
        "Million multiply-adds of a mean example after each step of the table above",
    )


def _encoders(content: Mapping[str, Any]) -> Iterator[Block]:
    kept, length = content["kept"], content["mean_length"]
    yield Plot(
        "kept",
        draw_kept(kept, length),
        f"A mean dev example has {length:.1f} word-vectors. Encoders 1, 2 and so on leave "
        f"{', '.join(f'{value:.1f}' for value in kept)}. The last one computes [CLS] only, in the fine-tuned model too",
    )


def _search(content: Mapping[str, Any]) -> Iterator[Block]:
    found = content["search"]
    if found is None:
        yield "The retention configuration was given, not searched."
        return
    yield SEARCH_METHODS[found["search_method"]].description
    if found.get("predicted_speedup"):
        target, measured = found.get("target_speedup"), content["speedup"]["grouped"]
        asked = "as fast as the allowed loss permits" if target is None else f"{target:g}x"
        yield f"Asked for: {asked}. Predicted {found['predicted_speedup']:.2f}x, measured {measured:.2f}x."
    if "profile" in found:
        profile = found["profile"]
        yield Plot(
            "profile",
            draw_by_encoder(profile["fractions"], profile["damages"], "share of the tokens that is kept", "damage"),
            "How far the answers move if one encoder alone eliminates down to a share: mean KL divergence in nats (of "
            "several labels, their mean), or the mean squared difference for a regression. The last encoder has "
            "nothing to eliminate",
        )
    elif found["search_method"] == "calibrate":
        yield "The profile of damages was not recorded; --stage=search --overwrite records it."
    rows = content["curves"].get("search", [])
    for key, name, title, unit in (
        ("masses", "masses", "Masses", "mass, word-vectors"),
        ("retention_configuration", "configurations", "Retention configuration", "kept by the encoder"),
        ("neurons", "neurons", "Neurons", "neurons of the encoder"),
        ("heads", "heads", "Heads", "heads of the encoder"),
    ):
        if rows and all(key in row for row in rows):
            lines = [list(line) for line in zip(*(row[key] for row in rows), strict=True)]
            last = ", ".join(f"{line[-1]:g}" for line in lines)
            plot = draw_by_encoder([row["epoch"] for row in rows], lines, "epoch", unit)
            yield Plot(name, plot, f"{title} by epoch; at the end: {last}")


def _pareto(content: Mapping[str, Any]) -> Iterator[Block]:
    result = content["pareto"]
    if result is None:
        return
    points = [Point(**point) for point in result["points"]]
    baselines = [Baseline(**baseline) for baseline in result["baselines"]]
    metric, max_loss = result["metric"], float(content["settings"].get("max_loss") or MAX_LOSS)
    table = pareto_table(points, metric, baselines)
    yield Plot(
        "pareto",
        draw_pareto(table, baselines, content["task"], metric, max_loss),
        f"Dev {metric} against measured speed-up, by strategy; the table below has the same points",
    )
    header, rows = table_texts(table, metric, baseline_metric(baselines))
    # Without configurations, which would make the table too wide.
    yield Table(header[:-1], [row[:-1] for row in rows], f"Measured on {result['measured_on']}")


def _answers(content: Mapping[str, Any]) -> Iterator[Block]:
    agreement, classes = content["agreement"], content["classes"]
    if agreement is None:
        yield from _differences(content["differences"])
        return
    examples = agreement["examples"]
    yield (
        f"The two models give the same answer on {agreement['same']} of {examples} dev examples "
        f"({agreement['same'] / examples:.1%}). If neither model were better, lost and won would differ at least this "
        f"much with probability {agreement['chance']:.2g} (McNemar's exact test)."
    )
    yield Table(
        ("", "reduced is right", "reduced is wrong"),
        [
            ("fine-tuned is right", str(agreement["both_right"]), f"{agreement['lost']} (lost)"),
            ("fine-tuned is wrong", f"{agreement['won']} (won)", str(agreement["both_wrong"])),
        ],
        "Dev examples by which model is right",
    )
    if content["confusion"] is None:
        yield "An answer is right if all its labels are, and no other is given."
        return
    if len(classes) > _MOST_CLASSES:
        yield f"The confusion matrix of {len(classes)} classes is too large for a table; report.json has it."
        return
    for name, matrix in content["confusion"].items():
        rows = [(label, *map(str, counts)) for label, counts in zip(classes, matrix, strict=True)]
        header = ("right answer", *(f"said {label}" for label in classes))
        yield Table(header, rows, f"Confusion matrix of the {_MODELS[name]} model")


def _differences(found: Mapping[str, Any]) -> Iterator[Block]:
    error = found["mean_error"]
    yield (
        f"On {found['examples']} dev examples, the numbers of the two models have a Pearson correlation of "
        f"{found['pearson']:.4f}. They differ by {found['mean']:.3f} on average and by {found['largest']:.3f} at most. "
        f"The mean error is {error['dense']:.3f} (fine-tuned) and {error['reduced']:.3f} (reduced)."
    )
    caption = "Numbers of the reduced model against those of the fine-tuned one; on the line they are equal"
    yield Plot("points", draw_points(found["points"]), caption)


def _calibration(content: Mapping[str, Any]) -> Iterator[Block]:
    if content["reliability"] is None:
        return
    models = {_MODELS[name]: found for name, found in content["reliability"].items()}
    yield (
        "A model that gives its answers a probability of 0.8 should be right in 8 of 10 cases. The calibration error "
        "is the mean deviation from that, in ten bins of the probability of the answer."
    )
    if any(found["temperature"] != 1 for found in (content.get("calibration") or {}).values()):
        yield (
            "Logits are divided by a temperature before they become probabilities. Held-out rows chose it. Answers "
            "stay the same."
        )
        rows = [
            (_MODELS[name], f"{found['temperature']:.3g}", f"{found['before']:.4f}", f"{found['after']:.4f}")
            for name, found in content["calibration"].items()
        ]
        yield Table(("model", "temperature", "error without it", "error with it"), rows, "Temperature scaling")
    rows = [
        (
            name,
            f"{found['error']:.4f}",
            f"{found['log_loss']:.4f}",
            f"{np.average(found['confidence'], weights=found['counts']):.4f}",
        )
        for name, found in models.items()
    ]
    yield Table(("model", "calibration error", "log loss, nats", "mean probability of the answer"), rows, "Calibration")
    caption = "Share of right answers against the probability that the model gave them; below the line it is too sure"
    yield Plot("reliability", draw_reliability(models), caption)


def _examples(content: Mapping[str, Any]) -> Iterator[Block]:
    titles = {"lost": "Lost: only the fine-tuned model is right", "won": "Won: only the reduced model is right"}
    if content["agreement"] is None:
        titles = {"lost": "Numbers that got worse, the worst first", "won": "Numbers that got better, the best first"}
    for kind, title in titles.items():
        rows = [
            (" ‖ ".join(map(_short, one["texts"])), one["label"], one["dense"], one["reduced"])
            for one in content["examples"][kind]
        ]
        if rows:
            yield Table(("text", "right answer", "fine-tuned", "reduced"), rows, title, numbers=False)
        else:
            yield f"{title}: none."


def _short(text: str) -> str:
    """The text on one line, cut if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _training(content: Mapping[str, Any]) -> Iterator[Block]:
    metric = content["metric"]
    before = {row["name"]: row["before"] for row in content["metrics"]}.get(metric)
    for stage, rows in content["curves"].items():
        if stage == "elastic":
            continue
        values, split = [row["metrics"][metric] for row in rows], rows[0]["split"]
        caption = (
            f"{stage}: training loss from {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f}, {split} {metric} "
            f"{min(values):.4f} to {max(values):.4f} over {len(rows)} epochs"
        )
        start = before if stage == "retrain" and split == "dev" else None
        yield Plot(f"curve-{stage}", draw_curves(rows, metric, content["kept_epochs"].get(stage), start), caption)


def _data(content: Mapping[str, Any]) -> Iterator[Block]:
    data = content["data"]
    splits = data["splits"]
    quantiles = [name for name in splits["dev"] if name.endswith("%")]
    rows = [
        ("examples", *(f"{split['examples']:,}" for split in splits.values())),
        ("mean length", *(f"{split['mean']:.1f}" for split in splits.values())),
        *((f"{name} have at most", *(f"{split[name]:.0f}" for split in splits.values())) for name in quantiles),
        ("longest", *(str(split["longest"]) for split in splits.values())),
        ("fill N", *(f"{split['full']:.1%}" for split in splits.values())),
    ]
    yield Table(("", *splits), rows, f"Lengths in tokens; N = {data['max_seq_length']}, source: {data['source']}")
    yield Plot("lengths", draw_lengths(data["edges"], data["histogram"]), "Share of examples by number of tokens")
    yield Table(
        ("batches", "share of padding"),
        [(name, f"{share:.1%}") for name, share in data["padding"].items()],
        f"Share of padding among the dev split's word-vectors, in batches of {data['batch_size']}",
    )


def _settings(content: Mapping[str, Any]) -> Iterator[Block]:
    rows = [(f"--{name}", str(value)) for name, value in content["settings"].items() if value != ""]
    yield Table(("flag", "value"), rows, "Values in effect", numbers=False)
