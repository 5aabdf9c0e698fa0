"""The model card of an export: what it was made from, how good and how fast it was, how to call it, what to mind.

The card of a model for another runtime: its files, what goes in and comes out, how to cut texts, how good it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.shapes import ServingShapes
from powerbert_tf.export.signatures import EXAMPLES, IDS, TEXT, text_inputs

_DATA = {
    "sample": "a small generated sample: figures on it mean nothing",
    "tsv": "files of the user",
    "tfds": "TensorFlow Datasets",
}


def format_card(
    request: ExportRequest, configurations: Mapping[str, Sequence[float] | None], shapes: ServingShapes
) -> str:
    """The card, Markdown.

    Args:
        request: What is exported.
        configurations: Retention configuration by the suffix of the signatures; None keeps all.
        shapes: In which the model is called.
    """
    task, origin = request.task, request.origin
    classes = ", ".join(task.classes) if task.classes else "none: a regression"
    return "\n".join(
        [
            f"# {task.name}, PoWER-BERT",
            "",
            f"- Task: {task.name}, {_kind(task)}; classes: {classes}.",
            f"- Data: {_DATA.get(origin['data'], origin['data'])}; fingerprint {origin['fingerprint']}.",
            f"- Made from the checkpoint {request.checkpoint.name.rpartition('/')[2]}, "
            f"{'un' * request.lower_case}cased vocabulary.",
            f"- Texts longer than {request.max_seq_length} word-pieces are cut off.",
            f"- {_shapes_sentence(shapes)}",
            "",
            "## Quality and speed",
            "",
            *quality_rows(request.settings.export_model, request.evaluated, request.elastic),
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


def quality_rows(
    export_model: str, evaluated: Mapping[str, Any] | None, elastic: Mapping[str, Any] | None
) -> list[str]:
    """Metrics and speed-up of what is exported, as far as they were measured.

    Args:
        export_model: What is exported, as `--export_model` names it.
        evaluated: See `ExportRequest`.
        elastic: See `ExportRequest`.
    """
    if export_model == "elastic":
        return _elastic_rows(elastic or {"budgets": [], "metrics": {}})
    if evaluated is None:
        return ["Not measured: the stage `evaluate` had not been run."]
    return _rows(evaluated, is_dense=export_model == "finetune")


def _rows(evaluated: Mapping[str, Any], is_dense: bool) -> list[str]:
    examples = f"{evaluated['examples']} examples of the dev split."
    if is_dense:
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


def _elastic_rows(elastic: Mapping[str, Any]) -> list[str]:
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


_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO", "litert": "LiteRT"}
_SIZES = {
    "onnx": "Batches of any size and length.",
    "openvino": "Batches of any size and length. Compile with `INFERENCE_PRECISION_HINT` f32; some compute in less.",
    "litert": "A file for each length: take the shortest that holds the longest text of a batch, and fill up to it. "
    "Batches of any size.",
}


def format_runtime_card(request: ExportRequest, form: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The card, Markdown.

    Args:
        request: What is exported.
        form: Name of the format.
        files: What `result.json` says of each file.
    """
    task, tokenizer = request.task, ", ".join(f"`{Path(path).name}`" for path in request.tokenizer.files)
    output = "`scores` float32 `[B]`" if task.is_regression else "`probabilities` float32 `[B, C]`"
    classes = f"classes, in this order: {', '.join(task.classes)}" if task.classes else "a regression"
    rows = []
    for name, file in files.items():
        kept = file["retention_configuration"]
        kept = format_configuration(kept) if kept else "all"
        bits, off = "int8" if file["int8"] else "float32", file["largest_difference"]
        rows.append(f"| `{name}` | {bits} | {file['max_length']} | {kept} | {off:.1g} |")
    return "\n".join(
        [
            f"# {task.name}, PoWER-BERT, for {_TITLES[form]}",
            "",
            "| file | weights | longest input | each encoder keeps | answers off by at most |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "Off from the Keras model's, on a few dev texts and on hostile ones. "
            "Of int8, weights have 8 bits and activations are rounded as they come.",
            "",
            "## Inputs and output",
            "",
            "- `token_ids`, `segment_ids`, `padding_mask`: int32 `[B, T]` each, T at most what the table says.",
            "- `padding_mask` is 1 for a word-piece, 0 for padding, which is on the right; at least one 1 a row. "
            f"`segment_ids` are 0{', of the second text 1' if task.is_pair else ''}.",
            f"- {output}; {classes}. `task.json` says so, too.",
            f"- {_SIZES[form]}",
            "- Nothing is checked: an id outside the vocabulary is an error or another row, as the runtime likes.",
            "",
            "## Texts",
            "",
            f"The tokenizer is not in the file. Its vocabulary is beside it ({tokenizer}), "
            f"{'un' * request.lower_case}cased. An input is `[CLS] text [SEP]`"
            f"{', of a pair `[CLS] text [SEP] text_pair [SEP]`' if task.is_pair else ''}, cut off at "
            f"{request.max_seq_length} word-pieces (`truncation`: {request.truncation}), in the vocabulary's "
            "own names of these; `docs/runtimes.md` has an example.",
            "",
            "## Quality and speed",
            "",
            *quality_rows(request.settings.export_model, request.evaluated, request.elastic),
            "",
            "Measured in Keras on TensorFlow, and in float32.",
            "",
        ]
    )
