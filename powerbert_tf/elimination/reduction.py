"""What each encoder of a reduced model keeps, in three dimensions: word-vectors (rows), neurons and heads.

Rows are a retention configuration (`retention`). Neurons of a feed-forward network and attention heads are counts; they
are removed from the weights, for every input alike.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.retention import WIDTHS, Configuration, format_configuration, validate_configuration

DIMENSIONS = ("rows", *WIDTHS)


@dataclasses.dataclass(frozen=True)
class Reduction:
    """What each encoder keeps; one entry per encoder in each dimension.

    Attributes:
        rows: Retention configuration.
        neurons: Neurons of each feed-forward network; None for all.
        heads: Attention heads; None for all.

    Example:
        >>> powerbert_tf.Reduction((0.9, 0.6, 0.3), heads=(2, 1, 1)).is_narrowed
        True
    """

    rows: Configuration
    neurons: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether neurons or heads are removed."""
        return self.neurons is not None or self.heads is not None

    @property
    def widths(self) -> dict[str, tuple[int, ...]]:
        """The dimensions beside rows that are reduced, by name."""
        return {name: value for name in WIDTHS if (value := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, list[float]]:
        """Entries of a `result.json`; without the widths that are not reduced."""
        return {"retention_configuration": list(self.rows)} | {name: list(own) for name, own in self.widths.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], num_encoders: int, max_seq_length: int) -> "Reduction":
        """Reads what `to_json` returned; further entries are ignored.

        Raises:
            InputError: The retention configuration does not fit. Widths are checked by `models.config.BertConfig`.
        """
        rows = validate_configuration(values["retention_configuration"], num_encoders, max_seq_length)
        widths = {name: tuple(values[name]) for name in WIDTHS if values.get(name) is not None}
        return cls(rows, **widths)

    def __str__(self) -> str:
        widths = [f"{name} {format_widths(own)}" for name, own in self.widths.items()]
        return "; ".join([format_configuration(self.rows), *widths])


def format_widths(widths: Sequence[int]) -> str:
    """`512,384,384`, as `parse_widths` reads it."""
    return ",".join(map(str, widths))


def parse_widths(name: str, text: str) -> tuple[int, ...] | None:
    """Reads the flag `name`, such as `"512,384,384"`; None if it is empty.

    Raises:
        InputError: An entry is no whole number of at least 1.
    """
    if not text:
        return None
    entries = text.split(",")
    if not all(entry.strip().isdecimal() and int(entry) for entry in entries):
        raise InputError(f"--{name}={text}: expected whole numbers of at least 1 with commas between, one per encoder.")
    return tuple(map(int, entries))
