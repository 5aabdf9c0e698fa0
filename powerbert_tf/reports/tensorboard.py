"""Training curves as TensorBoard logs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from powerbert_tf.elimination.reduction import WIDTHS

# What tf.summary.scalar adds. That function itself needs TensorBoard, which writing does not.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
)


def write_tensorboard(folder: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes event files, one folder per stage: loss, metrics, and what a search finds: masses, what encoders keep.

    `curves` holds the rows of `log.jsonl` by stage; the epoch is the step.
    """
    for stage, rows in curves.items():
        writer = tf.summary.create_file_writer(str(folder / stage))
        with writer.as_default():
            for row in rows:
                for name, value in scalars(row).items():
                    tf.summary.write(name, tf.constant(value, tf.float32), step=row["epoch"], metadata=_SCALAR)
        writer.close()


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch, by their names in TensorBoard."""
    found = {"loss": row["loss"], **{f"{row['split']}/{name}": value for name, value in row["metrics"].items()}}
    for key in ("masses", "retention_configuration", "fractions", *WIDTHS):
        for encoder, value in enumerate(row.get(key, ()), start=1):
            found[f"{key}/encoder_{encoder}"] = value
    for key in ("speedup", "multiplier", "train_seconds"):
        if key in row:
            found[key] = row[key]
    return {name: float(value) for name, value in found.items()}
