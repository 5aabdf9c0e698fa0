"""How much faster a reduced model is, measured on the batches of a split."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from powerbert_tf.batches.buckets import choose_buckets, padded_lengths
from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.latency.costs import GROUPED
from powerbert_tf.latency.timing import device_name, measure_latency
from powerbert_tf.models.classifier import BertClassifier

_BATCHES = 8  # to measure on, spread over all lengths
_EXAMPLES = 48  # at least
_ALONE = 16  # examples that are timed one by one
_REPEATS = 5

# Ways of running the dense model: `padding` of `latency_batches`, and its name in results.
BASELINES = {"grouped": GROUPED, "batch": "padded to the batch", "max": "padded to N"}


@dataclasses.dataclass(frozen=True)
class SpeedTest:
    """Measures models on batches of a split.

    Attributes:
        encoded: The split, whose lengths count.
        batch_size: Examples in a batch.
        inference: Whether XLA compiles the models, for few lengths, or they run as plain graphs, which take each batch
            at its own length.
    """

    encoded: EncodedSplit
    batch_size: int
    inference: InferenceSettings

    def milliseconds(
        self, models: Mapping[str, BertClassifier], padding: str = "grouped", most: int = 0
    ) -> dict[str, float]:
        """Mean milliseconds per batch of each model; the models take turns.

        Args:
            models: By their names.
            padding: See `latency_batches`.
            most: Number of batches, at most; 0 for enough.
        """
        inference = self.inference
        length_buckets = inference.length_buckets if inference.jit_compile else None
        # Padded to N, all batches have one shape.
        max_batches = most or (1 if padding == "max" else max(_BATCHES, _EXAMPLES // self.batch_size))
        batches = latency_batches(self.encoded, self.batch_size, padding, max_batches, length_buckets)
        times = measure_latency(models, batches, repeats=_REPEATS, jit_compile=inference.jit_compile)
        return {name: float(np.mean(milliseconds)) for name, milliseconds in times.items()}

    def speedup(self, dense: BertClassifier, reduced: BertClassifier) -> tuple[float, dict[str, float]]:
        """The speed-up on length-grouped batches, and the milliseconds per batch of `dense` and `reduced`."""
        times = self.milliseconds({"dense": dense, "reduced": reduced})
        return times["dense"] / times["reduced"], times

    def speedup_over_padded(self, dense: BertClassifier, reduced: BertClassifier) -> float:
        """The speed-up of the reduced model on length-grouped batches over the dense one padded to N."""
        padded = self.milliseconds({"dense": dense}, padding="max")["dense"]
        return padded / self.milliseconds({"reduced": reduced})["reduced"]

    def baselines(self, dense: BertClassifier) -> dict[str, float]:
        """Milliseconds per batch of the dense model run in three ways, by the names in `BASELINES`."""
        return {name: self.milliseconds({"dense": dense}, padding)["dense"] for padding, name in BASELINES.items()}

    def compare(self, dense: BertClassifier, reduced: BertClassifier) -> dict[str, Any]:
        """Speed-ups of a reduced model over three ways of running the dense one.

        Returns:
            `grouped` (both on length-grouped batches, taking turns), `batch` and `padded` (the dense model padded to
            the longest of an unsorted batch, and to N; the reduced one grouped); `milliseconds` per batch of each;
            `alone`, milliseconds of each for one example at a time; `batch_size` and `device`.
        """
        grouped, times = self.speedup(dense, reduced)
        one_by_one = dataclasses.replace(self, batch_size=1)
        baselines = self.baselines(dense)
        return {
            "grouped": grouped,
            "batch": baselines[BASELINES["batch"]] / times["reduced"],
            "padded": baselines[BASELINES["max"]] / times["reduced"],
            "milliseconds": {
                **{f"dense, {name}": milliseconds for name, milliseconds in baselines.items()},
                f"dense, {GROUPED}": times["dense"],
                f"reduced, {GROUPED}": times["reduced"],
            },
            "alone": one_by_one.milliseconds({"dense": dense, "reduced": reduced}, most=_ALONE),
            "batch_size": self.batch_size,
            "device": device_name(self.inference.jit_compile),
        }

    def describe(self) -> str:
        """This device and the way of measuring, in words."""
        return f"{device_name(self.inference.jit_compile)}, batch {self.batch_size}, medians of {_REPEATS} rounds"


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
        batch_size: B. Examples beyond the last full batch are left out, unless there is no full one.
        padding: `"grouped"`: examples are sorted by length, and a batch is padded to its longest, see
            `costs.grouped_lengths`; `"batch"`: in the order of the split, padded to the batch's longest; `"max"`: in
            that order, padded to N.
        max_batches: More batches than these are thinned out evenly.
        length_buckets: The most padded lengths of the whole split's batches, see `buckets.choose_buckets`; None for
            each batch's own.

    Returns:
        `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` each.

    Raises:
        ValueError: `padding` is none of these.
    """
    if padding not in BASELINES:
        raise ValueError(f"padding={padding!r}; expected one of {', '.join(BASELINES)}.")
    lengths = encoded.lengths
    order = np.argsort(lengths, kind="stable") if padding == "grouped" else np.arange(len(lengths))
    count = max(len(order) // batch_size, 1)
    rows = np.split(order[: count * batch_size], count)
    longest = np.array([encoded.max_seq_length if padding == "max" else lengths[batch].max() for batch in rows])
    if length_buckets is not None:
        longest = padded_lengths(longest, choose_buckets(longest, length_buckets))
    numbers = np.round(np.linspace(0, count - 1, min(count, max_batches))).astype(int)
    return [encoded.pad(rows[number], int(longest[number])) for number in numbers]
