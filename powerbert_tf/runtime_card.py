"""The card of a model for another runtime: its files, what goes in and comes out, how to cut texts, how good it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.model_card import quality_rows
from powerbert_tf.retention import format_configuration
from powerbert_tf.run import Run

_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO", "litert": "LiteRT"}
_SIZES = {
    "onnx": "Batches of any size and length.",
    "openvino": "Batches of any size and length. Compile with `INFERENCE_PRECISION_HINT` f32; some compute in less.",
    "litert": "A file for each length: take the shortest that holds the longest text of a batch, and fill up to it. "
    "Batches of any size.",
}


def format_runtime_card(run: Run, form: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The card, Markdown.

    Args:
        run: Whose model it is.
        form: Name of the format.
        files: What `result.json` says of each file.
    """
    task, tokenizer = run.task, ", ".join(f"`{Path(path).name}`" for path in run.tokenizer.files)
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
            f"{'un' * run.lower_case}cased. An input is `[CLS] text [SEP]`"
            f"{', of a pair `[CLS] text [SEP] text_pair [SEP]`' if task.is_pair else ''}, cut off at "
            f"{run.settings.max_seq_length} word-pieces (`truncation`: {run.settings.truncation}), in the vocabulary's "
            "own names of these; `docs/runtimes.md` has an example.",
            "",
            "## Quality and speed",
            "",
            *quality_rows(run),
            "",
            "Measured in Keras on TensorFlow, and in float32.",
            "",
        ]
    )
