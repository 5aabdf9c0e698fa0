"""Retention configurations to measure with, and any of them brought to a speed-up in multiply-adds."""

from collections.abc import Sequence

import numpy as np

from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.retention import round_up
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget

# The published configuration of RTE, N = 256, as fractions: the same at 256, in proportion elsewhere.
RTE = tuple(round_up(count / 256) for count in (153, 125, 111, 105, 85, 80, 72, 48, 35, 27, 22, 5))
# What calibrate found for MRPC at twice the speed, see docs/results.md.
MRPC = (0.8885, 0.5781, 0.5781, 0.1763, 0.1763, 0.0006)
RETENTION = {
    "bert_base": RTE,
    "albert_base": RTE,
    "minilm": MRPC,
    "bert_large": tuple(f for f in RTE for _ in range(2)),
}


def with_fewer_multiply_adds(
    fractions: Sequence[float], size: EncoderSize, lengths: Sequence[int], times: float
) -> tuple[float, ...]:
    """A configuration with `times` fewer multiply-adds in the encoders, the mean over inputs of these lengths.

    Args:
        fractions: Where to start, one an encoder.
        size: The encoders.
        lengths: Word-pieces of the inputs.
        times: At least 1.
    """
    table = count_costs(size, max(lengths), batch_size=1)
    return fit_to_budget(fractions, Costs(table, np.array(lengths), size.num_encoders), times)
