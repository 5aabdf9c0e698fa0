"""How many word-vectors each encoder keeps, and what that costs: plain arithmetic, no tensors."""

import dataclasses
import math
import numbers
from collections.abc import Sequence

from powerbert_tf.errors import InputError


def validate_configuration(configuration: Sequence[int], num_encoders: int, max_seq_length: int) -> tuple[int, ...]:
    """Checks a retention configuration `(l_1, ..., l_L)`: one count an encoder, none larger than the one before it.

    Args:
        configuration: Word-vectors kept by each encoder.
        num_encoders: L.
        max_seq_length: N, the largest count that can be kept.

    Returns:
        The configuration as a tuple.

    Raises:
        InputError: Wrong length, a count that is no integer, below 1, above N, or larger than the one before.
    """
    given = ",".join(str(kept) for kept in configuration)
    where = f"retention_configuration={given}"
    for encoder, kept in enumerate(configuration, start=1):
        if isinstance(kept, bool) or not isinstance(kept, numbers.Integral):
            raise InputError(f"{where}: encoder {encoder} has {kept!r}; expected a whole number of word-vectors.")
    if len(configuration) != num_encoders:
        raise InputError(
            f"{where}: {len(configuration)} counts; expected {num_encoders}, one for each encoder of the checkpoint."
        )
    before = max_seq_length
    for encoder, kept in enumerate(configuration, start=1):
        if kept < 1:
            raise InputError(f"{where}: encoder {encoder} keeps {kept}; expected at least 1 ([CLS] never leaves).")
        if kept > max_seq_length:
            raise InputError(
                f"{where}: encoder {encoder} keeps {kept}, more than the maximum sequence length {max_seq_length}."
            )
        if kept > before:
            raise InputError(
                f"{where}: encoder {encoder} keeps {kept} of the {before} left by the one before; "
                "expected counts that never increase."
            )
        before = kept
    return tuple(int(kept) for kept in configuration)


def parse_configuration(text: str, num_encoders: int, max_seq_length: int) -> tuple[int, ...]:
    """Reads `"64,32,16"` and validates it.

    Raises:
        InputError: Something between the commas is no whole number, or `validate_configuration` refuses it.
    """
    try:
        counts = tuple(int(count) for count in text.split(","))
    except ValueError:
        raise InputError(
            f"retention_configuration={text}: expected {num_encoders} whole numbers with commas between."
        ) from None
    return validate_configuration(counts, num_encoders, max_seq_length)


def configuration_from_masses(masses: Sequence[float]) -> tuple[int, ...]:
    """Turns masses into a configuration (paper, section 3.3).

    l_j = ceil(mass_j), never larger than l_{j-1}, at least 1.

    Args:
        masses: mass(j; r) = sum_k r_j[k], one an encoder.
    """
    configuration: list[int] = []
    for mass in masses:
        kept = max(1, math.ceil(mass))
        configuration.append(min(kept, configuration[-1]) if configuration else kept)
    return tuple(configuration)


def kept_lengths(configuration: Sequence[int] | None, num_encoders: int, length: int) -> tuple[int, ...]:
    """Word-vectors that leave each encoder for an input of `length` rows: min(l_j, length).

    Args:
        configuration: Retention configuration, or None for plain BERT.
        num_encoders: L.
        length: Rows that enter the first encoder.
    """
    if configuration is None:
        return (length,) * num_encoders
    return tuple(min(kept, length) for kept in configuration)


@dataclasses.dataclass(frozen=True)
class EncoderSize:
    """What the cost of a stack of encoders depends on: L, H and the feed-forward size."""

    num_encoders: int
    hidden_size: int
    intermediate_size: int


def multiply_adds(size: EncoderSize, length: int, configuration: Sequence[int] | None = None) -> int:
    """Multiply-adds of the encoders for one example; embeddings, pooler and head are left out (under 1 %).

    Extraction comes after the self-attention, so that encoder j attends over the rows that encoder j-1 left and runs
    its feed-forward network on the l_j rows that it keeps.

    Args:
        size: The stack.
        length: Rows that enter the first encoder, padding included if it is computed.
        configuration: Retention configuration, or None for plain BERT.
    """
    total = 0
    rows = length
    for kept in kept_lengths(configuration, size.num_encoders, length):
        projections = 4 * rows * size.hidden_size**2  # query, key, value, output
        attention = 2 * rows**2 * size.hidden_size  # scores, and probabilities times values
        feed_forward = 2 * kept * size.hidden_size * size.intermediate_size
        total += projections + attention + feed_forward
        rows = kept
    return total
