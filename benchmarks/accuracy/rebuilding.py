"""What decides how well a narrowed model is rebuilt: which neurons and heads leave, and how much text there is.

python -m benchmarks.accuracy.rebuilding --tasks=MRPC,STS-B

Takes the fine-tuned models of `python -m benchmarks.accuracy`, or trains them. Narrows all encoders alike, without
training, and compares outputs and metrics on the dev set.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.accuracy.__main__ import define_recipe_flags, settings_of
from benchmarks.common.command import FLAGS, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table

# Parts of all neurons and heads that stay.
WIDTHS = ((0.375, 2 / 3), (0.2, 0.5))
ROWS_OF_TEXT = (1024, 4096, 16_384, 32_768, 65_536)
_KEPT = (0.9, 0.8, 0.7, 0.6, 0.5)  # rows of the comparison of texts, beside the first widths; [CLS] in the last encoder
Orders = tuple[list[list[int]], list[list[int]]]


def orders_by_contribution(model: Any, moments: Sequence[Any]) -> Orders:
    """What each column adds to the variance of its layer's output, whatever the others can make up for."""

    def order(gram: np.ndarray, kernel: Any, group_size: int = 1) -> list[int]:
        groups = np.arange(len(gram)).reshape(-1, group_size)
        own, blocks = np.asarray(kernel)[groups], gram[groups[:, :, None], groups[:, None, :]]
        return np.argsort(-np.einsum("gih,gij,gjh->g", own, blocks, own, optimize=True), kind="stable").tolist()

    size = model.config.head_columns
    encoders = list(zip(model.encoders, moments, strict=False))
    neurons = [order(found.neurons.gram, encoder.feed_forward_output.kernel) for encoder, found in encoders]
    heads = [order(found.heads.gram, encoder.attention.output_projection.kernel, size) for encoder, found in encoders]
    return neurons, heads


def measure(task: str, root: Path) -> list[dict[str, Any]]:
    """The rows of a task: each order at each width, and each amount of text."""
    from powerbert_tf.batches.padded_batches import prediction_batches
    from powerbert_tf.data.metrics import divergence
    from powerbert_tf.models.classifier import with_retention
    from powerbert_tf.models.narrow import prefix, take_widths
    from powerbert_tf.runs import pipeline
    from powerbert_tf.runs.preparation import prepare
    from powerbert_tf.search.rebuilding import dense_moments, importance_orders, rebuild_in_sequence
    from powerbert_tf.training.evaluation import predict_logits

    settings = settings_of(task, 0, root, cost_model="multiply_adds")
    pipeline.run(settings, "finetune")
    run = prepare(settings, root / task)
    dense, metric = run.dense_model(), run.task.metrics[0]
    full = predict_logits(dense, run.split("dev"), settings.inference)
    train = run.split("train")
    shuffled = np.random.default_rng(0).permutation(len(train))

    def text(num_rows: int) -> list[Mapping[str, np.ndarray]]:
        rows = shuffled[: np.searchsorted(np.cumsum(train.lengths[shuffled]), num_rows) + 1]
        return [inputs for inputs, _ in prediction_batches(train.take(rows), settings.inference.eval_batch_size)]

    def row(model: Any, **what: Any) -> dict[str, Any]:
        logits = predict_logits(model, run.split("dev"), settings.inference)
        moved = divergence(full, logits, run.task.kind)
        found = {"task": task, **what, "moved": moved, "metric": metric, "value": run.evaluate(model)[metric]}
        print(found, flush=True)
        return found

    def rebuilt(orders: Orders, reduction: Any, batches: Sequence[Mapping[str, np.ndarray]]) -> Any:
        ordered = take_widths(dense, *orders)
        model = with_retention(prefix(ordered, reduction.neurons, reduction.heads), reduction.rows)
        rebuild_in_sequence(dense, model, batches)
        return model

    usual = text(16_384)
    moments = dense_moments(dense, usual)
    surgeon, contribution = importance_orders(dense, moments), orders_by_contribution(dense, moments)
    orders = {
        "reconstruction": surgeon,
        "contribution": contribution,
        "contribution of neurons, reconstruction of heads": (contribution[0], surgeon[1]),
    }
    rows = [row(dense, what="dense")]
    for widths in WIDTHS:
        reduction = _narrowed(dense.config, *widths)
        kept = {"neurons": reduction.neurons[0], "heads": reduction.heads[0]}
        for name, order in orders.items():
            rows.append(row(rebuilt(order, reduction, usual), what="order", order=name, **kept))
    reduction = dataclasses.replace(_narrowed(dense.config, *WIDTHS[0]), rows=_falling(len(dense.encoders)))
    for num_rows in ROWS_OF_TEXT:
        rows.append(row(rebuilt(surgeon, reduction, text(num_rows)), what="text", rows=num_rows))
        if num_rows > train.lengths.sum():
            break
    return rows


def _narrowed(config: Any, neurons: float, heads: float) -> Any:
    """A `Reduction` that keeps all rows, and these parts of the neurons and heads of each encoder."""
    from powerbert_tf.elimination.reduction import Reduction

    size = config.num_hidden_layers
    return Reduction(
        (1.0,) * size,
        neurons=(round(neurons * config.intermediate_size),) * size,
        heads=(round(heads * config.num_attention_heads),) * size,
    )


def _falling(size: int) -> tuple[float, ...]:
    """Parts of the rows that encoders keep: fewer from encoder to encoder, [CLS] alone in the last one."""
    kept = np.interp(np.linspace(0, 1, size - 1), np.linspace(0, 1, len(_KEPT)), _KEPT)
    return (*kept.round(2).tolist(), 0.0001)


def describe(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    orders, texts = [], []
    for row in report["rows"]:
        task = {"task, metric": f"{row['task']}, {row['metric']}"}
        numbers = {"outputs moved": f"{row['moved']:.4f}", "metric": f"{row['value']:.4f}"}
        if row["what"] == "text":
            texts.append({**task, "word-vectors of text": f"{row['rows']:,}", **numbers})
        else:
            kept = f"{row['neurons']} neurons, {row['heads']} heads" if row["what"] == "order" else "all"
            orders.append({**task, "each encoder keeps": kept, "order by": row.get("order", ""), **numbers})
    note = "Outputs moved: mean KL divergence from the dense model on dev, in nats; of a regression, mean square."
    return page("# What decides how well widths are rebuilt", measured_on(report), note, table(orders), table(texts))


def main(_: list[str]) -> None:
    """Measures, and writes the report."""
    from powerbert_tf.latency.timing import device_name

    rows = []
    for task in FLAGS.tasks:
        rows += measure(task, Path(FLAGS.output_dir) / f"{task}-seed-0" / "finetuned")
    report = {**surroundings("benchmarks.accuracy.rebuilding"), "device": device_name(), "rows": rows}
    publish(report, output_path("rebuilding"), describe(report))


if __name__ == "__main__":
    flags.DEFINE_list("tasks", ["MRPC", "STS-B"], "Tasks.")
    define_recipe_flags()
    app.run(main)
