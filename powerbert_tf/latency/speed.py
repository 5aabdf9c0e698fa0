"""How much faster a reduced model is, measured: against the same batches unpadded, and against the paper's way.

The batches of a split on which speed is measured.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from powerbert_tf.batches.batching import EncodedSplit, pad_rows
from powerbert_tf.batches.buckets import choose_buckets, padded_lengths
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.latency.costs import GROUPED
from powerbert_tf.latency.timing import device_name, measure_latency
from powerbert_tf.models.classifier import BertClassifier

_BATCHES = 8  # that are measured on, spread over all lengths
_EXAMPLES = 48  # at least
_REPEATS = 5

# Ways of running the dense model: what `latency_batches` calls the padding, and what people do.
BASELINES = {"grouped": GROUPED, "batch": "padded to the batch", "max": "padded to N"}


def measure_milliseconds(
    models: Mapping[str, BertClassifier],
    encoded: EncodedSplit,
    batch_size: int,
    inference: InferenceSettings,
    padding: str = "grouped",
) -> dict[str, float]:
    """Mean milliseconds of a batch, by model; the models take turns.

    Args:
        models: By any name.
        encoded: Whose lengths count.
        batch_size: Examples of a batch.
        inference: Whether the models are compiled by XLA, for few lengths, or run as a plain graph, which takes each
            batch's own.
        padding: `"grouped"` by length, or padded to the longest of an unsorted `"batch"`, or to N (`"max"`).
    """
    length_buckets = inference.length_buckets if inference.jit_compile else None
    # Padded to N they all have one shape.
    max_batches = 1 if padding == "max" else max(_BATCHES, _EXAMPLES // batch_size)
    batches = latency_batches(encoded, batch_size, padding, max_batches, length_buckets)
    times = measure_latency(models, batches, repeats=_REPEATS, jit_compile=inference.jit_compile)
    return {name: float(np.mean(milliseconds)) for name, milliseconds in times.items()}


def measure_speedup(
    dense: BertClassifier, reduced: BertClassifier, encoded: EncodedSplit, batch_size: int, inference: InferenceSettings
) -> tuple[float, dict[str, float]]:
    """Times faster on length-grouped batches, and the milliseconds of a batch of `dense` and `reduced`."""
    times = measure_milliseconds({"dense": dense, "reduced": reduced}, encoded, batch_size, inference)
    return times["dense"] / times["reduced"], times


def measure_speedup_over_padded(
    dense: BertClassifier, reduced: BertClassifier, encoded: EncodedSplit, batch_size: int, inference: InferenceSettings
) -> float:
    """Times that the reduced model on length-grouped batches is faster than the dense one padded to N."""
    padded = measure_milliseconds({"dense": dense}, encoded, batch_size, inference, padding="max")["dense"]
    return padded / measure_milliseconds({"reduced": reduced}, encoded, batch_size, inference)["reduced"]


def measure_baselines(
    dense: BertClassifier, encoded: EncodedSplit, batch_size: int, inference: InferenceSettings
) -> dict[str, float]:
    """Milliseconds of a batch of the dense model, run in three ways, by the names in `BASELINES`."""
    return {
        name: measure_milliseconds({"dense": dense}, encoded, batch_size, inference, padding)["dense"]
        for padding, name in BASELINES.items()
    }


def compare_speed(
    dense: BertClassifier, reduced: BertClassifier, encoded: EncodedSplit, batch_size: int, inference: InferenceSettings
) -> dict[str, Any]:
    """Speed-ups of a reduced model against three ways of running the dense one.

    Returns:
        `grouped` (both on length-grouped batches, from one run in which they take turns), `batch` and `padded` (the
        dense model padded to the longest of an unsorted batch, and to N; the reduced one grouped); `milliseconds` of a
        batch of each; `batch_size` and `device`.
    """
    grouped, times = measure_speedup(dense, reduced, encoded, batch_size, inference)
    baselines = measure_baselines(dense, encoded, batch_size, inference)
    return {
        "grouped": grouped,
        "batch": baselines[BASELINES["batch"]] / times["reduced"],
        "padded": baselines[BASELINES["max"]] / times["reduced"],
        "milliseconds": {
            **{f"dense, {name}": milliseconds for name, milliseconds in baselines.items()},
            f"dense, {GROUPED}": times["dense"],
            f"reduced, {GROUPED}": times["reduced"],
        },
        "batch_size": batch_size,
        "device": device_name(inference.jit_compile),
    }


def describe_measurement(batch_size: int, inference: InferenceSettings) -> str:
    """This device and the way of measuring, in words."""
    return f"{device_name(inference.jit_compile)}, batch {batch_size}, medians of {_REPEATS} rounds"


PADDINGS = ("grouped", "batch", "max")


def latency_batches(
    encoded: EncodedSplit,
    batch_size: int,
    padding: str = "grouped",
    max_batches: int = 12,
    length_buckets: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """Batches of a split to measure on.

    Args:
        encoded: The split, with at least one example.
        batch_size: B. What remains after the last full batch is left out, unless there is no full one.
        padding: `"grouped"`: examples are sorted by length, a batch is padded to its longest, as
            `cost.grouped_lengths` says; `"batch"`: in the order of the split, padded to the batch's longest; `"max"`:
            in that order, padded to N.
        max_batches: More batches than these are thinned out evenly.
        length_buckets: Most padded lengths of the whole split's batches, see `buckets.choose_buckets`; None for each
            batch's own.

    Returns:
        `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` each.

    Raises:
        ValueError: `padding` is none of `PADDINGS`.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r}; expected one of {', '.join(PADDINGS)}.")
    lengths = encoded.lengths
    order = np.argsort(lengths, kind="stable") if padding == "grouped" else np.arange(len(lengths))
    count = max(len(order) // batch_size, 1)
    rows = [order[number * batch_size : (number + 1) * batch_size] for number in range(count)]
    longest = np.array([encoded.max_seq_length if padding == "max" else lengths[batch].max() for batch in rows])
    if length_buckets is not None:
        longest = padded_lengths(longest, choose_buckets(longest, length_buckets))
    numbers = np.arange(count)
    if count > max_batches:
        numbers = np.round(np.linspace(0, count - 1, max_batches)).astype(int)
    return [pad_rows(encoded, rows[number], longest[number]) for number in numbers]
