"""What a report says of the answers: metrics, agreement, calibration, examples."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from powerbert_tf.reports.blocks import Block, Plot, Table
from powerbert_tf.reports.figures import draw_points, draw_reliability

_MODELS = {"dense": "fine-tuned", "reduced": "reduced"}
_LONGEST_TEXT = 220  # characters of an example
_MOST_CLASSES = 20  # of which a table of confusions can be read


def metrics(content: Mapping[str, Any]) -> Iterator[Block]:
    """Metrics before and after."""
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


def answers(content: Mapping[str, Any]) -> Iterator[Block]:
    """Do the two models agree?"""
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


def calibration(content: Mapping[str, Any]) -> Iterator[Block]:
    """Are they as sure as they are right?"""
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


def examples(content: Mapping[str, Any]) -> Iterator[Block]:
    """Examples lost and won."""
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
