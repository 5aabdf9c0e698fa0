"""The model card of an export: what it was made from, how good and how fast it was, how to call it, what to mind."""

from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.metrics import format_metrics
from powerbert_tf.retention import format_configuration
from powerbert_tf.run import Run
from powerbert_tf.serving import EXAMPLES, IDS, TEXT, text_inputs
from powerbert_tf.serving_shapes import ServingShapes
from powerbert_tf.tasks import Task

_DATA = {
    "sample": "a small generated sample: figures on it mean nothing",
    "tsv": "files of the user",
    "tfds": "TensorFlow Datasets",
}


def format_card(run: Run, configurations: Mapping[str, Sequence[float] | None], shapes: ServingShapes) -> str:
    """The card, Markdown.

    Args:
        run: Whose model is exported; figures come from its finished stages.
        configurations: Retention configuration by the suffix of the signatures; None keeps all.
        shapes: In which the model is called.
    """
    task = run.task
    classes = ", ".join(task.classes) if task.classes else "none: a regression"
    return "\n".join(
        [
            f"# {task.name}, PoWER-BERT",
            "",
            f"- Task: {task.name}, {_kind(task)}; classes: {classes}.",
            f"- Data: {_DATA.get(run.dataset.source, run.dataset.source)}; fingerprint {run.fingerprint}.",
            f"- Made from the checkpoint {run.checkpoint.name.rpartition('/')[2]}, "
            f"{'un' * run.lower_case}cased vocabulary.",
            f"- Texts longer than {run.settings.max_seq_length} word-pieces are cut off.",
            f"- {_shapes_sentence(shapes)}",
            "",
            "## Quality and speed",
            "",
            *quality_rows(run),
            "",
            "## Signatures",
            "",
            "| signature | inputs | each encoder keeps |",
            "| --- | --- | --- |",
            *_signature_rows(task, configurations),
            "",
            "`python -m powerbert_tf.serve_check <this folder>` compares the answers with those at export.",
            "",
            "## Limits",
            "",
            "- Probabilities are the softmax of a fine-tuned classifier, not calibrated.",
            "- Figures are of the dev split, on which the epoch to keep was chosen; other texts may give other ones.",
            "- The speed-up is of the device named above; another device has another one.",
            "- `assets.extra` holds some texts of the dev split, as warm-up requests and to compare answers.",
            "",
        ]
    )


def _kind(task: Task) -> str:
    if task.choices > 1:
        return f"questions about an article with {task.choices} options each"
    return "pairs of texts" if task.is_pair else "single texts"


def _shapes_sentence(shapes: ServingShapes) -> str:
    if not shapes.lengths:
        return "Batches of any size and length; a batch is padded to its longest text."
    lengths = ", ".join(map(str, shapes.lengths))
    batch = f"batches to {shapes.batch_size} examples, which is the most, and " if shapes.is_static else ""
    compiled = "Compiled by XLA" if shapes.jit_compile else "Not compiled"
    return f"{compiled}, {shapes.precision}; fills {batch}inputs to the next of {lengths} word-pieces."


def quality_rows(run: Run) -> list[str]:
    """Metrics and speed-up of what is exported, as far as they were measured."""
    return _elastic_rows(run) if run.settings.export_model == "elastic" else _rows(run)


def _rows(run: Run) -> list[str]:
    evaluated: dict[str, Any] | None = run.folder.result("evaluate")
    if evaluated is None:
        return ["Not measured: the stage `evaluate` had not been run."]
    examples = f"{evaluated['examples']} examples of the dev split."
    if run.settings.export_model == "finetune":
        return [f"{format_metrics(evaluated['dense']['metrics'])}, fine-tuned and not reduced; {examples}"]
    speedup = evaluated["speedup"]
    rows = [
        "| | metrics |",
        "| --- | --- |",
        f"| fine-tuned | {format_metrics(evaluated['dense']['metrics'])} |",
        f"| this model | {format_metrics(evaluated['reduced']['metrics'])} |",
        "",
        examples,
    ]
    if speedup.get("grouped"):
        rows.append(
            f"{speedup['grouped']:.2f} times faster than the fine-tuned model on the same batches of "
            f"{speedup['batch_size']}, grouped by length; {speedup['padded']:.2f} times than padded to N. Measured on "
            f"{speedup['device']}."
        )
    return rows


def _elastic_rows(run: Run) -> list[str]:
    elastic = run.folder.result("elastic") or {"budgets": [], "metrics": {}}
    rows = ["| target | metrics | measured speed-up |", "| --- | --- | --- |"]
    rows.append(f"| full model | {format_metrics(elastic['metrics'])} | 1 |")
    for budget in elastic["budgets"]:
        measured = budget.get("measured_speedup")
        seen = "not measured" if measured is None else f"{measured:.2f}"
        rows.append(f"| {budget['target_speedup']:g}x | {format_metrics(budget['metrics'])} | {seen} |")
    measured_on = "Speed-ups are against the full model on the same batches, grouped by length, where it was trained."
    return [*rows, "", measured_on]


def _signature_rows(task, configurations: Mapping[str, Sequence[float] | None]) -> list[str]:
    texts = ", ".join(f"`{name}`" for name in text_inputs(task))
    inputs = {
        IDS: "`token_ids`, `segment_ids`, `padding_mask`",
        TEXT: texts,
        EXAMPLES: f"`inputs`: `tf.Example`s with {texts}",
    }
    return [
        f"| `{signature}{suffix}` | {given} | {format_configuration(kept) if kept else 'all'} |"
        for suffix, kept in configurations.items()
        for signature, given in inputs.items()
    ]
