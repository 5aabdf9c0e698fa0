"""Files that are read here and there for as long as somebody needs them, whether or not they have a name.

Arrays that are written here and there, in a temporary file where they are large.
"""

import math
import os
import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


class FileReader:
    """Reads a file from any place; any number of threads may.

    It is read, and not mapped: what is mapped counts as memory of the process until something else needs the room.

    Attributes:
        name: For messages.

    Args:
        descriptor: Of the open file; the reader has one of its own, closed when nobody needs the reader any more.
        name: For messages.
    """

    def __init__(self, descriptor: int, name: str):
        self.name = name
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fills a buffer with the bytes from `offset` on.

        Raises:
            OSError: The file cannot be read, or ends before the buffer is full.
        """
        view = memoryview(buffer).cast("B")
        while view:
            count = os.preadv(self._descriptor, [view], offset)
            if not count:
                raise OSError(f"{self.name}: ends at byte {offset}; it was longer when it was written.")
            view, offset = view[count:], offset + count

    def read_array(self, dtype: str, count: int, offset: int) -> np.ndarray:
        """So many numbers, `[count]`, from byte `offset` on.

        Raises:
            OSError: As of `read_into`.
        """
        values = np.empty(count, dtype)
        if count:
            self.read_into(values, offset)
        return values


class ScratchFile(FileReader):
    """A temporary file without a name, to write at its end and to read anywhere.

    Attributes:
        size: Bytes written.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            super().__init__(file.fileno(), "a temporary file")
        self.size = 0

    def append(self, content: bytes) -> None:
        """Writes at the end.

        Raises:
            OSError: There is no room.
        """
        view = memoryview(content)
        while view:
            count = os.pwrite(self._descriptor, view, self.size)
            view, self.size = view[count:], self.size + count


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
