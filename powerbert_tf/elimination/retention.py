"""How many word-vectors each encoder keeps, and what that costs: plain arithmetic, no tensors.

A retention configuration has one entry an encoder: counts (ints, the paper's), or fractions of each example's own
length (floats). Entry j says how many of an example's `n` word-vectors leave encoder j:

    counts      min(l_j, n)
    fractions   max(1, ceil(f_j * n))
"""

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

from powerbert_tf.common.errors import InputError

Configuration = tuple[int, ...] | tuple[float, ...]

# Fractions are whole numbers of these parts, so that ceil(f * n) is the same in Python and on every backend.
PARTS = 10_000

# The fraction of any example that is [CLS] alone, which is all that is read of the last encoder.
CLS_ALONE = 1 / PARTS


def parts_of(fraction: float) -> int:
    """The fraction as a number of `PARTS`."""
    return round(fraction * PARTS)


def round_up(fraction: float) -> float:
    """The next fraction that is a whole number of `PARTS`, at least one of them and at most 1."""
    return min(max(math.ceil(fraction * PARTS - 1e-6), 1), PARTS) / PARTS


def is_fractional(configuration: Sequence[float]) -> bool:
    """Whether the entries are fractions of each example's own length."""
    return isinstance(configuration[0], float)


def keep_all(configuration: Sequence[float], max_seq_length: int) -> float:
    """The entry of the same kind that keeps everything."""
    return 1.0 if is_fractional(configuration) else max_seq_length


def rows_kept(kept: float, length: Any) -> Any:
    """Rows of an example of `length` rows that an encoder with the entry `kept` keeps.

    Args:
        kept: A count (int) or a fraction (float).
        length: n; an int, or an integer array or tensor for fractions. A result of 0 stays to be raised to 1 there.
    """
    if isinstance(kept, float):
        share = (parts_of(kept) * length + (PARTS - 1)) // PARTS  # ceil
        return max(1, share) if isinstance(length, int) else share
    return min(kept, length)


def format_configuration(configuration: Sequence[float]) -> str:
    """`64,32,16` or `0.8,0.45,1.0`, as `parse_configuration` reads it."""
    return ",".join(str(kept) for kept in configuration)


def validate_configuration(configuration: Sequence[float], num_encoders: int, max_seq_length: int) -> Configuration:
    """Checks a retention configuration: one entry an encoder, none larger than the one before it.

    Args:
        configuration: What each encoder keeps: counts from 1 to N, or fractions above 0 and up to 1, four decimals.
        num_encoders: L.
        max_seq_length: N, the largest count that can be kept.

    Returns:
        The configuration as a tuple of ints or of floats.

    Raises:
        InputError: Wrong length, counts and fractions mixed, an entry out of its range, or larger than the one before.
    """
    where = f"retention_configuration={format_configuration(configuration)}"
    if len(configuration) != num_encoders:
        raise InputError(
            f"{where}: {len(configuration)} entries; expected {num_encoders}, one for each encoder of the checkpoint."
        )
    fractional = isinstance(configuration[0], numbers.Real) and not isinstance(configuration[0], numbers.Integral)
    before: float = 1.0 if fractional else max_seq_length
    for encoder, kept in enumerate(configuration, start=1):
        entry = f"{where}: encoder {encoder}"
        if fractional:
            if isinstance(kept, numbers.Integral) or not isinstance(kept, numbers.Real):
                raise InputError(f"{entry} has {kept!r} beside fractions; expected fractions (1.0 for all) or counts.")
            if not 0 < kept <= 1:
                raise InputError(f"{entry} keeps the fraction {kept}; expected one above 0 and up to 1.")
            if abs(kept * PARTS - parts_of(kept)) > 1e-6 or not parts_of(kept):
                raise InputError(f"{entry} keeps the fraction {kept}; expected at most four decimals.")
        else:
            if isinstance(kept, bool) or not isinstance(kept, numbers.Integral):
                raise InputError(f"{entry} has {kept!r} beside counts; expected a whole number of word-vectors.")
            if kept < 1:
                raise InputError(f"{entry} keeps {kept}; expected at least 1 ([CLS] never leaves).")
            if kept > max_seq_length:
                raise InputError(f"{entry} keeps {kept}, more than the maximum sequence length {max_seq_length}.")
        if kept > before:
            raise InputError(
                f"{entry} keeps {kept} of the {before} left by the one before; expected entries that never increase."
            )
        before = kept
    if fractional:
        return tuple(parts_of(kept) / PARTS for kept in configuration)
    return tuple(int(kept) for kept in configuration)


def parse_configuration(text: str, num_encoders: int, max_seq_length: int) -> Configuration:
    """Reads `"64,32,16"` (counts) or `"0.8,0.45,0.2"` (fractions) and validates it.

    Raises:
        InputError: Something between the commas is no number, or `validate_configuration` refuses it.
    """
    fractional = "." in text
    try:
        entries = [float(entry) if fractional and "." in entry else int(entry) for entry in text.split(",")]
    except ValueError:
        raise InputError(
            f"retention_configuration={text}: expected {num_encoders} whole numbers, or {num_encoders} fractions such "
            "as 0.8, with commas between."
        ) from None
    return validate_configuration(entries, num_encoders, max_seq_length)


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


def uniform_schedule(keep: float, num_encoders: int) -> tuple[float, ...]:
    """Fractions that fall by the same difference from encoder to encoder, from 1 before the first to `keep`."""
    return tuple(round_up(1 - (1 - keep) * j / num_encoders) for j in range(1, num_encoders + 1))


def geometric_schedule(keep: float, num_encoders: int) -> tuple[float, ...]:
    """Fractions that fall by the same ratio from encoder to encoder, from 1 before the first to `keep`."""
    return tuple(round_up(keep ** (j / num_encoders)) for j in range(1, num_encoders + 1))


def kept_lengths(configuration: Sequence[float] | None, num_encoders: int, length: int) -> tuple[int, ...]:
    """Word-vectors that leave each encoder for an input of `length` rows.

    Args:
        configuration: Retention configuration, or None for plain BERT.
        num_encoders: L.
        length: Rows that enter the first encoder.
    """
    if configuration is None:
        return (length,) * num_encoders
    return tuple(rows_kept(kept, length) for kept in configuration)


@dataclasses.dataclass(frozen=True)
class EncoderSize:
    """What the cost of a stack of encoders depends on: L, H and the feed-forward size."""

    num_encoders: int
    hidden_size: int
    intermediate_size: int


def attention_multiply_adds(size: EncoderSize, rows: int, kept: int) -> int:
    """Multiply-adds of self-attention up to its heads' outputs: all `rows` attend, `kept` of them are computed."""
    projections = 3 * rows * size.hidden_size**2  # query, key, value
    return projections + rows**2 * size.hidden_size + kept * rows * size.hidden_size  # scores; probabilities by values


def update_multiply_adds(size: EncoderSize, kept: int) -> int:
    """Multiply-adds of what follows on each row that stays: output projection and feed-forward network."""
    return kept * size.hidden_size**2 + 2 * kept * size.hidden_size * size.intermediate_size


def last_multiply_adds(size: EncoderSize, rows: int) -> int:
    """Multiply-adds of the last encoder, whose only query, and only row, is [CLS]."""
    projections = (2 * rows + 1) * size.hidden_size**2  # keys and values of all rows, one query
    return projections + 2 * rows * size.hidden_size + update_multiply_adds(size, 1)


def multiply_adds(size: EncoderSize, length: int, configuration: Sequence[float] | None = None) -> int:
    """Multiply-adds of the encoders for one example; embeddings, pooler and head are left out (under 1 %).

    Which rows stay is known as soon as the attention probabilities are: encoder j projects and scores the rows that
    encoder j-1 left, and computes all else for the rows that it keeps. Of the last encoder [CLS] alone is computed.

    Args:
        size: The stack.
        length: Rows that enter the first encoder, padding included if it is computed.
        configuration: Retention configuration, or None for plain BERT.
    """
    *leaving, _ = kept_lengths(configuration, size.num_encoders, length)
    entering = (length, *leaving)
    inner = (
        attention_multiply_adds(size, rows, kept) + update_multiply_adds(size, kept)
        for rows, kept in zip(entering, leaving, strict=False)
    )
    return sum(inner) + last_multiply_adds(size, entering[-1])
