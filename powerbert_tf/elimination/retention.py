"""How many word-vectors each encoder keeps: retention configurations, and the file `retention.json` that holds one.

A retention configuration has one entry per encoder: counts (ints, the paper's), or fractions of each example's own
length (floats). Entry j says how many of an example's `n` word-vectors encoder j keeps, [CLS] always among them:

    counts      min(l_j, n)
    fractions   max(1, ceil(f_j * n))

The file accompanies weights in other formats, which do not say what a model keeps:

    {"max_seq_length": 128, "selection": "attention", "kind": "fractions", "values": [0.9, 0.6, 0.1]}

`kind` is `counts` or `fractions`, `values` has one entry per encoder, and `selection` names the score by which
word-vectors are ranked. `n` counts tokens without padding. Weights for several budgets have `budgets`, a list of
objects with `target_speedup`, `kind` and `values`, beside the configuration of the full model. Where encoders have been
narrowed, `neurons` and `heads` hold how many each of them has; a budget may have its own.
"""

import dataclasses
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, write_json

Configuration = tuple[int, ...] | tuple[float, ...]

RETENTION_FILE = "retention.json"
KINDS = ("counts", "fractions")
WIDTHS = ("neurons", "heads")  # what else an encoder may have fewer of, by their keys in files

# Fractions are multiples of 1 / PARTS, so that ceil(f * n) is the same in Python and on every backend.
PARTS = 10_000

# The fraction that keeps only [CLS] of any example, which is all that the last encoder computes.
CLS_ALONE = 1 / PARTS


def parts_of(fraction: float) -> int:
    """The fraction as a number of `PARTS`."""
    return round(fraction * PARTS)


def round_up(fraction: float) -> float:
    """The fraction rounded up to a whole number of `PARTS`, at least one and at most all of them."""
    return min(max(math.ceil(fraction * PARTS - 1e-6), 1), PARTS) / PARTS


def is_fractional(configuration: Sequence[float]) -> bool:
    """Whether the entries are fractions of each example's own length."""
    return isinstance(configuration[0], float)


def keep_all(configuration: Sequence[float], max_seq_length: int) -> float:
    """The entry of the same kind that keeps everything."""
    return 1.0 if is_fractional(configuration) else max_seq_length


def rows_kept(kept: float, length: Any) -> Any:
    """The number of rows that an encoder with the entry `kept` keeps of `length`.

    Args:
        kept: A count (int) or a fraction (float).
        length: n; an int, or an integer array or tensor for fractions, where the result may be 0 and not 1.
    """
    if isinstance(kept, float):
        share = (parts_of(kept) * length + (PARTS - 1)) // PARTS  # ceil
        return max(1, share) if isinstance(length, int) else share
    return min(kept, length)


def format_configuration(configuration: Sequence[float]) -> str:
    """`64,32,16` or `0.8,0.45,1.0`, as `parse_configuration` reads it."""
    return ",".join(str(kept) for kept in configuration)


def validate_configuration(configuration: Sequence[float], num_encoders: int, max_seq_length: int) -> Configuration:
    """Checks a retention configuration: one entry per encoder, none larger than the one before it.

    Args:
        configuration: What each encoder keeps: counts from 1 to N, or fractions in (0, 1] of up to four decimals.
        num_encoders: L.
        max_seq_length: N, the largest count that can be kept.

    Returns:
        The configuration as a tuple of ints or of floats.

    Raises:
        InputError: The length is wrong, counts and fractions are mixed, or an entry is out of range or larger than the
            one before.
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
                raise InputError(f"{entry} keeps {kept}; expected at least 1 ([CLS] always stays).")
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
        InputError: An entry is not a number, or the configuration is not valid.
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
        masses: mass(j; r) = sum_k r_j[k], one per encoder.
    """
    configuration: list[int] = []
    for mass in masses:
        kept = max(1, math.ceil(mass))
        configuration.append(min(kept, configuration[-1]) if configuration else kept)
    return tuple(configuration)


def uniform_schedule(keep: float, num_encoders: int) -> tuple[float, ...]:
    """Fractions that fall linearly from 1 before the first encoder to `keep`."""
    return tuple(round_up(1 - (1 - keep) * j / num_encoders) for j in range(1, num_encoders + 1))


def geometric_schedule(keep: float, num_encoders: int) -> tuple[float, ...]:
    """Fractions that fall geometrically from 1 before the first encoder to `keep`."""
    return tuple(round_up(keep ** (j / num_encoders)) for j in range(1, num_encoders + 1))


def kept_lengths(configuration: Sequence[float] | None, num_encoders: int, length: int) -> tuple[int, ...]:
    """How many of `length` rows each encoder keeps; all of them without a configuration."""
    if configuration is None:
        return (length,) * num_encoders
    return tuple(rows_kept(kept, length) for kept in configuration)


@dataclasses.dataclass(frozen=True)
class Retention:
    """The content of a `retention.json`.

    Attributes:
        values: The retention configuration, one entry per encoder.
        max_seq_length: N.
        selection: Name of the score that ranks word-vectors.
        budgets: Further configurations of the same weights, by their target speed-up.
        neurons: Neurons of each encoder's feed-forward network; None for all.
        heads: Attention heads of each encoder; None for all.
        budget_widths: `neurons` and `heads` by the target of a budget that is narrowed in them, arguments of
            `models.narrow.prefix`.
    """

    values: Configuration
    max_seq_length: int
    selection: str = "attention"
    budgets: Mapping[float, Configuration] = dataclasses.field(default_factory=dict)
    neurons: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    budget_widths: Mapping[float, Mapping[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)


def write_retention(folder: Path, retention: Retention) -> None:
    """Writes `retention.json` into a folder."""
    budgets = [
        {"target_speedup": target, **_described(values), **retention.budget_widths.get(target, {})}
        for target, values in sorted(retention.budgets.items())
    ]
    write_json(
        folder / RETENTION_FILE,
        {
            "max_seq_length": retention.max_seq_length,
            "selection": retention.selection,
            **_described(retention.values),
            **{name: widths for name in WIDTHS if (widths := getattr(retention, name)) is not None},
            **({"budgets": budgets} if budgets else {}),
        },
    )


def read_retention(folder: str | os.PathLike[str]) -> Retention:
    """Reads the `retention.json` of a folder.

    Returns:
        Its content; `load_classifier(folder, ..., retention_configuration=read_retention(folder).values)` is the
        reduced model.

    Raises:
        InputError: The file is missing or damaged, its configuration is not valid, or its score is unknown.

    Example:
        >>> powerbert_tf.read_retention("saved").max_seq_length
        23
    """
    from powerbert_tf.elimination.significance import score_names  # not above: configurations need no Keras

    path = Path(folder) / RETENTION_FILE
    try:
        content = read_object(path)
        length, selection = content["max_seq_length"], content["selection"]
        if isinstance(length, bool) or not isinstance(length, int) or length < 1 or selection not in score_names():
            raise ValueError(f"max_seq_length {length!r}, selection {selection!r}")
        values = _configuration(content, length)
        of_budgets = {_target(budget): budget for budget in content.get("budgets", ())}
        budgets = {target: _configuration(budget, length) for target, budget in of_budgets.items()}
        widths = {target: found for target, budget in of_budgets.items() if (found := _widths(budget, len(values)))}
        own = _widths(content, len(values))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected what an export writes.") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # json's and unicode's errors are ValueErrors
        raise InputError(
            f"{path}: no retention configuration ({type(error).__name__}: {error}); expected max_seq_length, "
            f"selection ({', '.join(score_names())}), kind ({', '.join(KINDS)}) and values."
        ) from None
    return Retention(values, length, selection, budgets, **own, budget_widths=widths)


def _described(values: Sequence[float]) -> dict[str, Any]:
    return {"kind": KINDS[is_fractional(values)], "values": list(values)}


def _target(budget: Mapping[str, Any]) -> float:
    target = budget["target_speedup"]
    if type(target) not in (int, float) or not 1 <= target < float("inf"):
        raise ValueError(f"target_speedup {target!r}")
    return float(target)


def _widths(content: Mapping[str, Any], num_encoders: int) -> dict[str, tuple[int, ...]]:
    found = {name: content[name] for name in WIDTHS if content.get(name) is not None}
    for name, widths in found.items():
        is_list = isinstance(widths, list) and len(widths) == num_encoders
        if not is_list or any(type(width) is not int or width < 1 for width in widths):
            raise ValueError(f"{name} {widths!r}")
    return {name: tuple(widths) for name, widths in found.items()}


def _configuration(content: Mapping[str, Any], max_seq_length: int) -> Configuration:
    kind, values = content["kind"], content["values"]
    if kind not in KINDS or not isinstance(values, list) or not values:
        raise ValueError(f"kind {kind!r}, values {values!r}")
    if kind == "fractions":
        values = [float(value) if type(value) is int else value for value in values]  # JSON's 1 is 1.0
    elif not all(type(value) is int for value in values):
        raise ValueError(f"kind {kind!r}, values {values!r}")
    return validate_configuration(values, len(values), max_seq_length)
