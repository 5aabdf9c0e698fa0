"""What a reader must know before believing the numbers of a run, in plain sentences."""

from collections.abc import Mapping
from typing import Any

from powerbert_tf.runs.run import Run
from powerbert_tf.training.epoch_log import read_log, still_improving

_FEW = 100  # dev examples: an interval is then ten points wide or more
_EPOCHS = {"finetune": "--epochs", "retrain": "--epochs_retrain"}


def find_cautions(run: Run, evaluated: Mapping[str, Any]) -> list[str]:
    """Reasons to doubt the figures of `evaluate/result.json`; none for most runs."""
    found = []
    for stage, flag in _EPOCHS.items():
        kept = (run.folder.result(stage) or {}).get("epoch")
        if still_improving(read_log(run.folder.stage(stage)), kept):
            found.append(f"{stage} was still improving clearly when it ended; a larger {flag} may do better.")
    if evaluated["examples"] < _FEW:
        found.append(f"There are only {evaluated['examples']} dev examples, so the figures may be chance.")
    if not run.settings.inputs.held_out_share:
        found.append("The dev rows chose the epoch, too, so figures on them are a little too high.")
    return found
