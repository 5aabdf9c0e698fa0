"""How much faster a reduced model is, measured: against the same batches unpadded, and against the paper's way."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from powerbert_tf.batching import EncodedSplit
from powerbert_tf.latency import device_name, latency_batches, measure_latency
from powerbert_tf.modeling import BertClassifier

_BATCHES = 12  # that are measured on, spread over all lengths
_EXAMPLES = 48  # at least
_REPEATS = 5


def measure_milliseconds(
    models: Mapping[str, BertClassifier], encoded: EncodedSplit, batch_size: int, padding: str = "grouped"
) -> dict[str, float]:
    """Mean milliseconds of a batch, by model; the models take turns.

    Args:
        models: By any name.
        encoded: Whose lengths count.
        batch_size: Examples of a batch.
        padding: `"grouped"` by length, or padded to the longest of an unsorted `"batch"`, or to N (`"max"`).
    """
    batches = latency_batches(encoded, batch_size, padding, max_batches=max(_BATCHES, _EXAMPLES // batch_size))
    times = measure_latency(models, batches, repeats=_REPEATS)
    return {name: float(np.mean(milliseconds)) for name, milliseconds in times.items()}


def measure_speedup(
    dense: BertClassifier, reduced: BertClassifier, encoded: EncodedSplit, batch_size: int
) -> tuple[float, dict[str, float]]:
    """Times faster on length-grouped batches, and the milliseconds of a batch of `dense` and `reduced`."""
    times = measure_milliseconds({"dense": dense, "reduced": reduced}, encoded, batch_size)
    return times["dense"] / times["reduced"], times


def compare_speed(
    dense: BertClassifier, reduced: BertClassifier, encoded: EncodedSplit, batch_size: int
) -> dict[str, Any]:
    """Speed-ups of a reduced model against three ways of running the dense one.

    Returns:
        `grouped` (both on length-grouped batches), `batch` and `padded` (the dense model padded to the longest of an
        unsorted batch, and to N; the reduced one grouped); `milliseconds` of a batch of each; `batch_size`, `device`.
    """
    grouped, times = measure_speedup(dense, reduced, encoded, batch_size)
    by_padding = {
        padding: measure_milliseconds({"dense": dense}, encoded, batch_size, padding)["dense"]
        for padding in ("batch", "max")
    }
    return {
        "grouped": grouped,
        "batch": by_padding["batch"] / times["reduced"],
        "padded": by_padding["max"] / times["reduced"],
        "milliseconds": {
            "dense, grouped by length": times["dense"],
            "dense, padded to the batch": by_padding["batch"],
            "dense, padded to N": by_padding["max"],
            "reduced, grouped by length": times["reduced"],
        },
        "batch_size": batch_size,
        "device": device_name(),
    }


def describe_measurement(speed: Mapping[str, Any]) -> str:
    """Device and batch size of what `compare_speed` returned, in words."""
    return f"{speed['device']}, batch {speed['batch_size']}, medians of {_REPEATS} rounds"
