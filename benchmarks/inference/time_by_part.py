"""Where the time of a dense and of a reduced model goes, part by part: `python -m benchmarks.inference.time_by_part`.

Parts are timed by their rows as for a search (`latency.encoder_costs`), so that the sum of a model's parts can be
held against its multiply-adds: what a part realises less than the others is what keeps a speed-up below them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.common import command
from benchmarks.common.command import FLAGS, output_path, publish, surroundings
from benchmarks.common.engine import Job
from benchmarks.common.frameworks import set_up_keras
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import SHAPES, retention_of, with_fewer_multiply_adds
from powerbert_tf.elimination.operations import (
    EncoderSize,
    attention_multiply_adds,
    last_multiply_adds,
    update_multiply_adds,
)
from powerbert_tf.elimination.retention import kept_lengths
from powerbert_tf.latency.costs import CostTable
from powerbert_tf.latency.encoder_costs import measure_costs

_PARTS = ("embeddings, pooler, head", "attention", "choosing rows", "update", "last encoder")


def spend(costs: CostTable, configuration: Sequence[float] | None, num_encoders: int, length: int) -> dict[str, float]:
    """Milliseconds of a batch by part; choosing rows is the extra time of attention that extracts."""

    def of(curve: str, rows: int) -> float:
        return float(np.interp(rows, costs.rows, getattr(costs, curve)))

    *leaving, _ = kept_lengths(configuration, num_encoders, length)
    *entering, last = [length, *leaving]
    attention = sum(of("attention", rows) for rows in entering)
    extracting = attention if configuration is None else sum(of("extracting_attention", rows) for rows in entering)
    return {
        "embeddings, pooler, head": of("outside", length),
        "attention": attention,
        "choosing rows": extracting - attention,
        "update": sum(of("update", rows) for rows in leaving),
        "last encoder": of("last", last),
    }


def count(size: EncoderSize, configuration: Sequence[float] | None, length: int) -> dict[str, float]:
    """Multiply-adds of an example by part; attention has all queries, and choosing rows saves those that leave."""
    *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
    *entering, last = [length, *leaving]
    attention = sum(attention_multiply_adds(size, rows, rows) for rows in entering)
    extracting = sum(attention_multiply_adds(size, *rows) for rows in zip(entering, leaving, strict=True))
    return {
        "embeddings, pooler, head": 0,
        "attention": attention,
        "choosing rows": extracting - attention,
        "update": sum(update_multiply_adds(size, rows) for rows in leaving),
        "last encoder": last_multiply_adds(size, last),
    }


def efficiency(costs: CostTable, size: EncoderSize) -> list[dict[str, float]]:
    """Billion multiply-adds a second of attention and update, by rows."""
    per_second = costs.batch_size / 1e6  # of multiply-adds of an example and milliseconds of a batch
    return [
        {
            "rows": int(rows),
            "attention": attention_multiply_adds(size, int(rows), int(rows)) * per_second / float(attention),
            "update": update_multiply_adds(size, int(rows)) * per_second / float(update),
        }
        for rows, attention, update in zip(costs.rows, costs.attention, costs.update, strict=True)
    ]


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = []
    for model in report["models"]:
        dense = report["models"][0]
        for part in (*_PARTS, "all"):
            ms, multiply_adds = model["ms"][part], model["multiply_adds"][part]
            saved = dense["multiply_adds"][part] / multiply_adds if multiply_adds > 0 else float("nan")
            rows.append(
                {
                    "model": model["name"],
                    "part": part,
                    "ms": ms,
                    "share of the time": f"{100 * ms / model['ms']['all']:.1f} %",
                    "times faster": f"{dense['ms'][part] / ms:.2f}" if dense["ms"][part] and ms > 0 else "",
                    "times fewer multiply-adds": f"{saved:.2f}" if saved == saved else "",
                }
            )
    return page(
        f"# Where the time goes, {report['shape']}, {report['batch']} x {report['length']}",
        measured_on(report),
        table(rows),
        "## Billion multiply-adds a second, by rows",
        table(report["efficiency"]),
    )


def main(_: Sequence[str]) -> None:
    """Measures parts, adds them up, and writes JSON and Markdown."""
    config = SHAPES[FLAGS.shape]
    size, length = config.encoder_size, FLAGS.length
    set_up_keras(Job("", 2, length, FLAGS.threads, ()))
    published = retention_of(FLAGS.shape, FLAGS.retention, length)
    configurations: dict[str, Sequence[float] | None] = {"dense": None, "reduced": published}
    for times in map(float, FLAGS.multiply_adds):
        configurations[f"{times:g} times fewer"] = with_fewer_multiply_adds(published, size, [length], times)
    costs = measure_costs(config, length, FLAGS.batch, repeats=FLAGS.rounds)
    models = []
    for name, configuration in configurations.items():
        ms, counted = spend(costs, configuration, size.num_encoders, length), count(size, configuration, length)
        models.append(
            {
                "name": name,
                "configuration": configuration,
                "ms": {**ms, "all": sum(ms.values())},
                "multiply_adds": {**counted, "all": sum(counted.values())},
            }
        )
    report = {
        **surroundings("benchmarks.inference.time_by_part"),
        "shape": FLAGS.shape,
        "batch": FLAGS.batch,
        "length": length,
        "device": costs.device,
        "models": models,
        "efficiency": efficiency(costs, size),
    }
    publish(report, output_path(f"parts-{FLAGS.shape}-{FLAGS.batch}x{length}"), to_markdown(report))


def define_flags() -> None:
    """Flags of the command."""
    command.define_flags()
    flags.DEFINE_enum("shape", "albert_base", sorted(SHAPES), "Size of the model.")
    flags.DEFINE_integer("batch", 8, "Examples.", lower_bound=1)
    flags.DEFINE_integer("length", 128, "Rows of an example.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Calls of each part, per number of rows.", lower_bound=1)
    flags.DEFINE_string("retention", "", "Fractions that are kept; empty for those of the shape.")
    flags.DEFINE_list("multiply_adds", ["6.8"], "Further configurations: times fewer multiply-adds.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
