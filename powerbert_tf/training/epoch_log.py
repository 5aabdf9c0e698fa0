"""The log of a training: one object per epoch, in `log.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.training.state import LOG_FILE

_STEEP = 0.05  # by which loss or distance falls in the last epoch of a training that ended too early, relative


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The epochs in the log of a training stage; none without a log."""
    path = folder / LOG_FILE
    if not path.is_file():
        return []
    # In earlier versions, epochs were chosen on dev.
    return [{"split": "dev", **json.loads(line)} for line in path.read_text(encoding="utf-8").splitlines()]


def still_improving(rows: Sequence[Mapping[str, Any]], kept: int | None) -> bool:
    """Whether a training ended while its last epoch was clearly better than the one before, on held-out rows.

    Args:
        rows: Of `read_log`.
        kept: The epoch whose weights were kept.
    """
    values = [row.get("held_out_loss", row.get("distance")) for row in rows[-2:]]
    if len(values) < 2 or None in values or rows[-1]["epoch"] != kept:
        return False
    before, last = values
    return last < (1 - _STEEP) * before
