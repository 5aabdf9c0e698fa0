"""Arrays that are written here and there, in a temporary file where they are large."""

import math
import tempfile

import numpy as np
from numpy.typing import DTypeLike

_MOST_HELD = 1 << 26  # bytes


def new_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array with anything in it.

    Beyond 64 MiB it is that of a file without a name, whose pages the system may take out of memory as it likes.

    Raises:
        OSError: The temporary file cannot be written.
    """
    if math.prod(shape) * np.dtype(dtype).itemsize <= _MOST_HELD:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)
