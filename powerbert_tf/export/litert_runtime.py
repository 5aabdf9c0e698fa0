"""LiteRT: a file for each length, because the number of kept word-vectors is a constant there; see `runtimes`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from powerbert_tf.data.kinds import Kind
from powerbert_tf.export.loading import load_litert as load
from powerbert_tf.export.signatures import linked
from powerbert_tf.models.classifier import INPUTS, BertClassifier

__all__ = ["load", "write"]


def write(
    model: BertClassifier,
    kind: Kind,
    lengths: Sequence[int],
    folder: Path,
    name: str,
    int8: bool,
    temperature: float = 1.0,
) -> dict[str, int]:
    """Writes `<name>-<length>.tflite` for each length, and with `int8` `<name>-<length>-int8.tflite`."""
    if model.custom_slots:
        raise ValueError(
            "custom_slots are given; expected extract layers: LiteRT is not tried with layers of your own."
        )
    files = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch, _quiet():
        functions = {f"length_{length}": _function(model, kind, length, temperature) for length in lengths}
        module = tf.Module()
        module.weights = [variable.value for variable in model.variables]
        tf.saved_model.save(module, scratch, signatures=functions)
        for length, signature in zip(lengths, functions, strict=True):
            for ending in ("", "-int8")[: 1 + int8]:
                converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=[signature])
                converter.optimizations = [tf.lite.Optimize.DEFAULT] if ending else []
                path = folder / f"{name}-{length}{ending}.tflite"
                path.write_bytes(converter.convert())
                files[path.name] = length
    return files


def _function(model: BertClassifier, kind: Kind, length: int, temperature: float) -> Any:
    # Any batch size: the runtime resizes.
    specs = [tf.TensorSpec([None, length], tf.int32, name=name) for name in INPUTS]

    @tf.function(input_signature=specs, autograph=False)
    def serve(token_ids, segment_ids, padding_mask):
        logits = model(dict(zip(INPUTS, (token_ids, segment_ids, padding_mask), strict=True)), training=False)
        return {kind.output: linked(kind, logits, temperature)}

    return serve


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter, which writes to file descriptor 2 directly."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
