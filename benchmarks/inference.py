"""Inference of a dense and a reduced BERT on every engine that is installed: `python -m benchmarks.inference --help`.

Each engine has a process of its own, and they are measured in turns, so that drift and noise meet all of them alike.
Outputs are compared before anything is timed; the first calls of a shape, which compile, are not timed.
"""

import functools
from collections.abc import Sequence

from absl import app, flags

from benchmarks.command import FLAGS, check_agreement, define_grid_flags, measure, output_path, publish
from benchmarks.configurations import RETENTION
from benchmarks.inference_report import write_report
from benchmarks.random_checkpoint import SHAPES
from powerbert_tf.elimination.operations import multiply_adds
from powerbert_tf.elimination.retention import parse_configuration

# Of logits of about 1: KerasHub takes the tanh approximation of GELU, and 12 encoders add up.
_TOLERANCE = {"float32": 2e-3, "mixed_float16": 0.05, "mixed_bfloat16": 0.2}


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON, Markdown and a plot."""
    size = SHAPES[FLAGS.shape].encoder_size
    retention = RETENTION[FLAGS.shape]
    lengths, batches = [int(value) for value in FLAGS.lengths], [int(value) for value in FLAGS.batches]
    if FLAGS.retention:
        retention = parse_configuration(FLAGS.retention, size.num_encoders, max(lengths))
    output = output_path(f"inference-{FLAGS.shape}")
    cells = [(batch, length) for batch in batches for length in lengths]
    check = functools.partial(check_agreement, "inference", tolerance=_TOLERANCE[FLAGS.precision])
    report = measure("inference", cells, retention, check, output)
    report["multiply_adds"] = [
        {
            "length": length,
            "dense": multiply_adds(size, length),
            "reduced": multiply_adds(size, length, retention),
        }
        for length in lengths
    ]
    publish(report, output, write_report)


def define_flags() -> None:
    """Flags of the command."""
    define_grid_flags(rounds=5, calls=2)
    flags.DEFINE_list("batches", ["1", "8", "32"], "Batch sizes.")
    flags.DEFINE_list("lengths", ["32", "64", "128", "256"], "Lengths; rows are full.")
    flags.DEFINE_string("retention", "", "Fractions that the reduced engines keep; empty for those of the shape.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
