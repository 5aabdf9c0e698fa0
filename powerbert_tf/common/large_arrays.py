"""Arrays that may be larger than memory: in a temporary file beyond some size."""

import math
import mmap
import tempfile

import numpy as np
from numpy.typing import DTypeLike

MOST_HELD = 1 << 26  # bytes of an array in memory


def new_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Makes an array without setting its values.

    Beyond 64 MiB, its values are in a file without a name, and the system moves them out of memory when it needs room.

    Raises:
        OSError: The temporary file cannot be written.
    """
    if math.prod(shape) * np.dtype(dtype).itemsize <= MOST_HELD:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def release(*mapped: np.ndarray | mmap.mmap) -> None:
    """Gives back the memory of pages that were read from files; they are read again when they are needed.

    Otherwise a file that is mapped and read to its end counts as memory of the process, all of it. Arrays in memory
    stay as they are.
    """
    for one in mapped:
        pages = one.base if isinstance(one, np.memmap) else one
        if isinstance(pages, mmap.mmap):
            pages.madvise(mmap.MADV_DONTNEED)
