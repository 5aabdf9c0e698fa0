"""Columns of texts of any length: lists, and beyond some size temporary files that are mapped into memory."""

import itertools
import mmap
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from powerbert_tf.common.large_arrays import release

MOST_HELD = 1 << 25  # bytes of a column in memory
_PER_TEXT = 64  # bytes that a text takes beyond its characters
BLOCK = 8192  # texts that are read at once
_SURROGATES = "surrogatepass"  # JSON can spell half of a surrogate pair, which UTF-8 cannot


class TextWriter:
    """Collects the texts of a column: in memory, and beyond 32 MiB in temporary files without names."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._held_bytes = 0
        self._in_files = False
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, text: str) -> None:
        """Adds a text.

        Raises:
            OSError: The temporary file cannot be written.
        """
        self._count += 1
        if self._in_files:
            self._write(text)
            return
        self._held.append(text)
        self._held_bytes += len(text) + _PER_TEXT
        if self._held_bytes > MOST_HELD:
            self._move_to_files()

    def finish(self) -> Sequence[str]:
        """The column so far: a list, or `StoredTexts` if the texts are in files."""
        if not self._in_files:
            return self._held
        self._content.flush()
        self._ends.flush()
        content = mmap.mmap(self._content.fileno(), 0, access=mmap.ACCESS_READ)
        return StoredTexts(content, np.memmap(self._ends, "int64", "r"))

    def _move_to_files(self) -> None:
        self._in_files = True
        self._content, self._ends = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - see below
        for file in (self._content, self._ends):
            weakref.finalize(self, file.close)
        self._end = 0
        self._write("\n")  # before the first text: a file of empty texts could not be mapped
        for text in self._held:
            self._write(text)
        self._held = []

    def _write(self, text: str) -> None:
        encoded = text.encode("utf-8", _SURROGATES)
        self._end += len(encoded)
        self._content.write(encoded)
        self._ends.write(self._end.to_bytes(8, sys.byteorder))


class StoredTexts(Sequence[str]):
    """A column of texts in a file; any number of threads may read it.

    Args:
        content: The texts, one after the other.
        ends: Where the first text begins, and where each one ends, int64 `[n + 1]`.
    """

    def __init__(self, content: mmap.mmap, ends: np.ndarray):
        self._content, self._ends = content, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        row = range(len(self))[at]
        (text,) = self._read(slice(row, row + 1))  # to its end, where pages are given back
        return text

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            yield from self._read(slice(first, first + BLOCK))

    def take(self, rows: np.ndarray) -> Sequence[str]:
        """Selects texts by their numbers, `[k]`, in that order; they are in a file again if they are many."""
        writer = TextWriter()
        for first in range(0, len(rows), BLOCK):
            for text in self._read(rows[first : first + BLOCK]):
                writer.append(text)
        return writer.finish()

    def _read(self, rows: slice | np.ndarray) -> Iterator[str]:
        for start, end in zip(self._ends[:-1][rows].tolist(), self._ends[1:][rows].tolist(), strict=True):
            yield self._content[start:end].decode("utf-8", _SURROGATES)
        release(self._content, self._ends)


def take_texts(column: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Selects texts of a column by their numbers, `[k]`, in that order."""
    return column.take(rows) if isinstance(column, StoredTexts) else [column[row] for row in rows]


def in_blocks(column: Sequence[str], size: int = BLOCK) -> Iterator[list[str]]:
    """The texts of a column, `size` at a time."""
    texts = iter(column)
    while block := list(itertools.islice(texts, size)):
        yield block
