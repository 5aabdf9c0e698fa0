"""The precision of a model's computation. Weights, scores, LayerNorm and the head are always float32."""

import contextlib
from collections.abc import Iterator

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's dtype policies


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Makes layers that are created in the block compute in one of `PRECISIONS`."""
    import keras  # late, as flags need the names only

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
