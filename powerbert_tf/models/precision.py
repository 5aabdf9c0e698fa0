"""What models compute in; their weights, significance scores, LayerNorm and the head are float32 in any case."""

import contextlib
from collections.abc import Iterator

import keras

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's dtype policies


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers that are made in the block compute in one of `PRECISIONS`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
