"""Model cards, in Markdown: of a SavedModel, of a model for another runtime, and of a narrowed checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.markdown import markdown_table
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER, Kind
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.reduction import WIDTHS, format_widths
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.export.expected_answers import EXAMPLES, IDS, TEXT
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.export.request import ExportRequest, describe_reduction
from powerbert_tf.export.settings import ServingShapes
from powerbert_tf.export.signatures import text_inputs
from powerbert_tf.models.narrow import num_removed

CARD_FILE = "README.md"
ONE_WIDTH = "stored with one width for all encoders, filled up with zeros; retention.json has the width of each"
_DATA = {
    "sample": "a small generated sample, so figures on it mean nothing",
    "tsv": "files of the user",
    "tfds": "TensorFlow Datasets",
}
_LIMITS: dict[Kind, str] = {
    CLASSES: "Probabilities are the softmax of a fine-tuned classifier's logits{scaled}.",
    LABELS: "Probabilities are the sigmoids of a fine-tuned classifier's logits, one for each label{scaled}.",
    NUMBER: "Scores are the output of a fine-tuned regression as it is, whatever the range of the training labels.",
}
_EVALUATED = {"retrain": "reduced", "finetune": "dense"}  # by the model that is exported
_SIZES = {
    "onnx": "Batches can have any size and length.",
    "openvino": "Batches can have any size and length. Compile with `INFERENCE_PRECISION_HINT` f32; otherwise some "
    "processors compute in a lower precision.",
    "litert": "There is a file for each length: choose the shortest one that holds the longest text of a batch, and "
    "pad to its length. Batches can have any size.",
}


def format_card(request: ExportRequest) -> str:
    """The card of a SavedModel: its data, quality, speed, signatures and limits."""
    task, origin, quality = request.task, request.origin, _quality(request)
    return f"""# {task.name}, PoWER-BERT

- Task: {task.name}, {_kind(request)}; {_classes(task)}.
- Data: {_DATA.get(origin["data"], origin["data"])}; fingerprint {origin["fingerprint"]}.
- Made from the checkpoint {request.checkpoint.name.rpartition("/")[2]}, {_case(request)} vocabulary.
- Texts longer than {request.max_seq_length} tokens are truncated.
- {_shapes_sentence(request.shapes)}

## Quality and speed

{quality}

{_thresholds(request)}## Signatures

{_signature_table(request)}

`python -m powerbert_tf.serve_check <this folder>` compares the answers with those at export.

## Limits

- {_limit(request)}
- Figures are for the dev split, which also chose the epoch; other texts may give other figures.
- The speed-up was measured on the device named above; it differs on other devices.
- `assets.extra` holds some texts of the dev split, to warm up a server and to compare answers.
"""


def format_runtime_card(request: ExportRequest, name: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The card of a model for another runtime, the format `name`: its files, inputs, output and tokenizer.

    `files` has the entry of `result.json` for each file.
    """
    task, quality = request.task, _quality(request)
    tokenizer = ", ".join(f"`{Path(path).name}`" for path in request.tokenizer.files)
    output = f"`{task.kind.output}` float32 `[B{', C' * bool(task.classes)}]`"
    segments, pair = (", and 1 for the second text", " text_pair [SEP]") if task.is_pair else ("", "")
    cut = f", `pair_truncation`: {request.tokenizer.pair_truncation}" if task.is_pair else ""
    table = markdown_table(
        ("file", "weights", "longest input", "each encoder keeps", "largest difference"),
        [
            (
                f"`{path}`",
                "int8" if file["int8"] else "float32",
                str(file["max_length"]),
                _kept(file),
                f"{file['largest_difference']:.1g}",
            )
            for path, file in files.items()
        ],
    )
    return f"""# {task.name}, PoWER-BERT, for {EXPORT_FORMATS[name].title}

{table}

The difference is from the Keras model's answers, on some dev texts and on hostile ones. Int8 files have weights of 8
bits and round activations as they come.

## Inputs and output

- `token_ids`, `segment_ids`, `padding_mask`: int32 `[B, T]` each, T at most the longest input of the table.
- `padding_mask` is 1 for a token and 0 for padding, which is on the right; each row has at least one 1.
  `segment_ids` are 0{segments}.
- {output}; {_classes(task)}. `task.json` says the same.
- {_limit(request)}
- {_SIZES[name]}
- Nothing is checked: the result of an id outside the vocabulary depends on the runtime.

{_thresholds(request)}## Texts

The tokenizer is not in the file. Its {_case(request)} vocabulary is beside it ({tokenizer}). An input is
`[CLS] text [SEP]{pair}`, with the vocabulary's own names for these special tokens, truncated to
{request.max_seq_length} tokens (`truncation`: {request.truncation}{cut}). See `docs/runtimes.md` for an example.

## Quality and speed

{quality}

Measured in Keras on TensorFlow, in float32.
"""


def format_checkpoint_card(request: ExportRequest) -> str:
    """The card of a narrowed model in a format that has one width for all encoders."""
    model = request.models[""]
    return f"""# {request.task.name}, PoWER-BERT

- Each encoder keeps {_kept(describe_reduction(model))}.
- These weights are {ONE_WIDTH}. The answers are the same; the speed of the narrowed model comes with its widths:

```python
from powerbert_tf import load_classifier, read_retention
from powerbert_tf.models.narrow import prefix

retention = read_retention(folder)
wide = load_classifier(
    folder, {model.num_classes}, retention.max_seq_length, retention.values, selection=retention.selection
)
model = prefix(wide, retention.neurons, retention.heads)
```

## Quality and speed

{_quality(request)}
"""


def _classes(task: Task) -> str:
    if task.kind is NUMBER:
        return "a regression"
    several = ", any number of which can be right" if task.kind is LABELS else ""
    return f"{'labels' if several else 'classes'}, in this order{several}: {', '.join(task.classes)}"


def _thresholds(request: ExportRequest) -> str:
    """A section with the thresholds of a multi-label task; empty for others."""
    if request.task.kind is not LABELS:
        return ""
    budgets = request.elastic["budgets"] if request.elastic else []
    of_models = {"threshold": request.task.thresholds}
    of_models |= {f"at {budget['target_speedup']:g}x": budget["thresholds"] for budget in budgets}
    rows = [(name, *(f"{own[at]:g}" for own in of_models.values())) for at, name in enumerate(request.task.classes)]
    return f"""## Thresholds

A label is an answer where its probability is at least its threshold, which has the best F1 on rows that no model
was trained on.
`task.json` has them in the order of the labels.

{markdown_table(("label", *of_models), rows)}

"""


def _limit(request: ExportRequest) -> str:
    """What the answers are, and whether probabilities are calibrated."""
    found = {suffix: by for suffix, by in request.temperatures.items() if by != 1}
    if not found:
        return _LIMITS[request.task.kind].format(scaled="; they are not calibrated")
    by = ", ".join(f"{by:.3g}{f' for {suffix[1:]}' if suffix else ''}" for suffix, by in found.items())
    error = (request.evaluated or {}).get("calibration", {}).get(_EVALUATED.get(request.settings.export_model, ""))
    known = f": error {error['before']:.4f} without it, {error['after']:.4f} with it, on dev" if error else ""
    scaled = f", divided by the temperature {by}, which held-out rows chose{known}"
    return _LIMITS[request.task.kind].format(scaled=scaled)


def _case(request: ExportRequest) -> str:
    return "uncased" if request.tokenizer.lower_case else "cased"


def _quality(request: ExportRequest) -> str:
    rows = quality_rows(request.settings.export_model, request.evaluated, request.elastic)
    model = request.models[""]
    if model.config.is_narrowed:
        weights, removed = model.count_params(), num_removed(model.config)
        rows += ["", f"{weights:,} weights, of {weights + removed:,} before neurons and heads were removed."]
    return "\n".join(rows)


def _kept(described: Mapping[str, Any]) -> str:
    """What a model keeps, from `describe_reduction`."""
    rows = described["retention_configuration"]
    widths = [f"{name} {format_widths(described[name])}" for name in WIDTHS if name in described]
    return "; ".join([format_configuration(rows) if rows else "all", *widths])


def _kind(request: ExportRequest) -> str:
    if request.task.choices > 1:
        return f"questions about an article with {request.task.choices} options each"
    texts = "pairs of texts" if request.task.is_pair else "single texts"
    return f"{request.task.kind.title} of {texts}" if request.task.kind is LABELS else texts


def _shapes_sentence(shapes: ServingShapes) -> str:
    if not shapes.lengths:
        return "Batches can have any size and length; a batch is padded to its longest text."
    lengths = ", ".join(map(str, shapes.lengths))
    batch = f"batches to {shapes.batch_size} examples, the largest size, and " if shapes.is_static else ""
    compiled = "Compiled by XLA" if shapes.jit_compile else "Not compiled"
    return f"{compiled}, {shapes.precision}; pads {batch}inputs to the next of {lengths} tokens."


def _signature_table(request: ExportRequest) -> str:
    texts = ", ".join(f"`{name}`" for name in text_inputs(request.task))
    inputs = {
        IDS: "`token_ids`, `segment_ids`, `padding_mask`",
        TEXT: texts,
        EXAMPLES: f"`inputs`: `tf.Example`s with {texts}",
    }
    rows = [
        (f"`{signature}{suffix}`", given, _kept(describe_reduction(model)))
        for suffix, model in request.models.items()
        for signature, given in inputs.items()
    ]
    return markdown_table(("signature", "inputs", "each encoder keeps"), rows)


def quality_rows(
    export_model: str, evaluated: Mapping[str, Any] | None, elastic: Mapping[str, Any] | None
) -> list[str]:
    """Lines with metrics and speed-up of what is exported, as far as they were measured; see `ExportRequest`."""
    if export_model == "elastic":
        return _elastic_rows(elastic or {"budgets": [], "metrics": {}})
    if evaluated is None:
        return ["Not measured: the stage `evaluate` had not run."]
    dense = format_metrics(evaluated["dense"]["metrics"])
    examples = f"{evaluated['examples']} examples of the dev split."
    if export_model == "finetune":
        return [f"{dense}, fine-tuned and not reduced; {examples}"]
    reduced, speedup = format_metrics(evaluated["reduced"]["metrics"]), evaluated["speedup"]
    table = markdown_table(("", "metrics"), [("fine-tuned", dense), ("this model", reduced)])
    rows = [table, "", examples]
    if speedup.get("grouped"):
        rows.append(
            f"{speedup['grouped']:.2f} times faster than the fine-tuned model on the same batches of "
            f"{speedup['batch_size']}, grouped by length; {speedup['padded']:.2f} times with padding to N. Measured on "
            f"{speedup['device']}."
        )
    return rows


def _elastic_rows(elastic: Mapping[str, Any]) -> list[str]:
    rows = [("full model", format_metrics(elastic["metrics"]), "1")]
    for budget in elastic["budgets"]:
        measured = budget.get("measured_speedup")
        seen = "not measured" if measured is None else f"{measured:.2f}"
        rows.append((f"{budget['target_speedup']:g}x", format_metrics(budget["metrics"]), seen))
    measured_on = "Speed-ups are over the full model on the same batches, grouped by length, where it was trained."
    return [markdown_table(("target", "metrics", "measured speed-up"), rows), "", measured_on]
