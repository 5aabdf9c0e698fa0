"""`retention.json`: beside weights that know nothing of it, what a model keeps of its word-vectors.

    {"max_seq_length": 128, "selection": "attention", "kind": "fractions", "values": [0.9, 0.6, 0.1]}

`values` has an entry an encoder, the first one's first. Of n word-pieces, padding not counted, n at most
`max_seq_length`, encoder j keeps min(l_j, n) where `kind` is `counts`, max(1, ceil(f_j * n)) where it is `fractions`:
those of highest significance where `selection` is `attention`, always [CLS], in their order. Weights for many budgets
have `budgets`, a list of objects with `target_speedup`, `kind` and `values`, beside the full model's own.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.elimination.retention import Configuration, is_fractional, validate_configuration
from powerbert_tf.elimination.significance import SELECTIONS

RETENTION_FILE = "retention.json"
KINDS = ("counts", "fractions")


@dataclasses.dataclass(frozen=True)
class Retention:
    """What a `retention.json` says.

    Attributes:
        values: The retention configuration, an entry an encoder.
        max_seq_length: N.
        selection: Which word-vectors stay, one of `significance.SELECTIONS`.
        budgets: Further configurations of the same weights, by their target speed-up.
    """

    values: Configuration
    max_seq_length: int
    selection: str = "attention"
    budgets: Mapping[float, Configuration] = dataclasses.field(default_factory=dict)


def write_retention(folder: Path, retention: Retention) -> None:
    """Writes `retention.json` into a folder."""
    budgets = [{"target_speedup": target, **_described(values)} for target, values in sorted(retention.budgets.items())]
    write_json(
        folder / RETENTION_FILE,
        {
            "max_seq_length": retention.max_seq_length,
            "selection": retention.selection,
            **_described(retention.values),
            **({"budgets": budgets} if budgets else {}),
        },
    )


def read_retention(folder: str | os.PathLike[str]) -> Retention:
    """Reads the `retention.json` of a folder.

    Returns:
        What it says; `load_classifier(folder, ..., retention_configuration=read_retention(folder).values)` is the
        reduced model.

    Raises:
        InputError: The file is missing or damaged, or says what cannot be.
    """
    path = Path(folder) / RETENTION_FILE
    try:
        content = read_object(path)
        length, selection = content["max_seq_length"], content["selection"]
        if isinstance(length, bool) or not isinstance(length, int) or length < 1 or selection not in SELECTIONS:
            raise ValueError(f"max_seq_length {length!r}, selection {selection!r}")
        values = _configuration(content, length)
        budgets = {_target(budget): _configuration(budget, length) for budget in content.get("budgets", ())}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected what an export writes.") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # json's and unicode's errors are ValueErrors
        raise InputError(
            f"{path}: no retention configuration ({type(error).__name__}: {error}); expected max_seq_length, "
            f"selection ({', '.join(SELECTIONS)}), kind ({', '.join(KINDS)}) and values."
        ) from None
    return Retention(values, length, selection, budgets)


def _described(values: Sequence[float]) -> dict[str, Any]:
    return {"kind": KINDS[is_fractional(values)], "values": list(values)}


def _target(budget: Mapping[str, Any]) -> float:
    target = budget["target_speedup"]
    if type(target) not in (int, float) or not 1 <= target < float("inf"):
        raise ValueError(f"target_speedup {target!r}")
    return float(target)


def _configuration(content: Mapping[str, Any], max_seq_length: int) -> Configuration:
    kind, values = content["kind"], content["values"]
    if kind not in KINDS or not isinstance(values, list) or not values:
        raise ValueError(f"kind {kind!r}, values {values!r}")
    if kind == "fractions":
        values = [float(value) if type(value) is int else value for value in values]  # JSON's 1 is 1.0
    elif not all(type(value) is int for value in values):
        raise ValueError(f"kind {kind!r}, values {values!r}")
    checked = validate_configuration(values, len(values), max_seq_length)
    if KINDS[is_fractional(checked)] != kind:
        raise ValueError(f"kind {kind!r}, values {values!r}")
    return checked
