"""One training step of BERT on every engine that is installed: `python -m benchmarks.training --help`.

Ours three times: fine-tuning, the search with soft-extract or with gates, and re-training with a configuration of
three times fewer multiply-adds. Each engine has a process of its own, and they are measured in turns. Before
anything is timed the losses before the first step, without dropout, are compared, and it is checked that steps lower
them.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

from benchmarks.command import FLAGS, check_agreement, define_grid_flags, measure, output_path, publish
from benchmarks.configurations import RETENTION, with_fewer_multiply_adds
from benchmarks.random_checkpoint import SHAPES
from benchmarks.training_report import write_report
from powerbert_tf.elimination.operations import multiply_adds

_TIMES_FEWER = 3.0  # multiply-adds of the encoders, re-training
# Of a loss of about 1: KerasHub takes the tanh approximation of GELU, and 12 encoders add up.
_TOLERANCE = {"float32": 2e-3, "mixed_float16": 0.05, "mixed_bfloat16": 0.2}


def check_training(batch: int, length: int, answers: Mapping[str, Mapping[str, Any]], tolerance: float) -> None:
    """Engines with the same weights have the same loss, and two steps on a batch lower it.

    Args:
        batch: For the message.
        length: For the message.
        answers: First answers by engine.
        tolerance: Largest difference of losses.

    Raises:
        RuntimeError: They have not, or do not.
    """
    check_agreement("training", batch, length, answers, tolerance)
    for name, answer in answers.items():
        (before,), (after,) = answer["answer"], answer["answer_after"]
        if not after < before:
            raise RuntimeError(f"batch {batch} x {length}: {name} trains nothing, its loss goes {before} -> {after}.")


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    try:
        cells = [(int(batch), int(length)) for batch, length in (cell.split("x") for cell in FLAGS.cells)]
    except ValueError:
        raise app.UsageError(f"--cells={','.join(FLAGS.cells)}: expected such as 32x64,8x128.") from None
    size = SHAPES[FLAGS.shape].encoder_size
    lengths = [length for _, length in cells]
    retention = with_fewer_multiply_adds(RETENTION[FLAGS.shape], size, lengths, _TIMES_FEWER)
    output = output_path(f"training-{FLAGS.shape}")
    check = functools.partial(check_training, tolerance=_TOLERANCE[FLAGS.precision])
    report = measure("training", cells, retention, check, output)
    report["multiply_adds"] = [
        {
            "length": length,
            "dense": multiply_adds(size, length),
            "reduced": multiply_adds(size, length, retention),
        }
        for length in sorted(set(lengths))
    ]
    publish(report, output, write_report)


def define_flags() -> None:
    """Flags of the command."""
    define_grid_flags(rounds=3, calls=2, at_once=3)  # BERT-base takes up to 5 GB an engine
    flags.DEFINE_list("cells", ["32x64", "8x128"], "Batch x length; rows are full.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
