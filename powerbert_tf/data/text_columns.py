"""Columns of texts of any length: lists, and beyond some size a file that is read where it is needed."""

import itertools
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from powerbert_tf.common.scratch import FileReader, ScratchFile

_MOST_HELD = 1 << 25  # bytes of a column in memory
_PER_TEXT = 64  # bytes that a text takes beyond its characters
_WRITTEN_ROWS, _READ_ROWS = 4096, 8192  # at once
_READ_BYTES = 1 << 22
_END = np.dtype("int64")


class TextWriter:
    """A column to be written, text after text.

    Args:
        most_held: Bytes beyond which it goes to a temporary file, which has no name and goes with the process; None for
            32 MiB.
    """

    def __init__(self, most_held: int | None = None):
        self._most_held = _MOST_HELD if most_held is None else most_held
        self._held: list[str] = []
        self._held_bytes = 0
        self._files: tuple[ScratchFile, ScratchFile] | None = None  # texts, and where each ends
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._held)

    def append(self, text: str) -> None:
        """Adds a text.

        Raises:
            OSError: The temporary file cannot be written.
        """
        self._held.append(text)
        self._held_bytes += len(text) + _PER_TEXT
        if self._held_bytes > self._most_held or (self._files and len(self._held) >= _WRITTEN_ROWS):
            self._write()

    def finish(self) -> Sequence[str]:
        """The column: a list where it is small."""
        if self._files is None:
            return self._held
        self._write()
        return StoredTexts(*self._files, self._count)

    def _write(self) -> None:
        if self._files is None:
            self._files = ScratchFile(), ScratchFile()
        texts, ends = self._files
        encoded = [text.encode("utf-8", "surrogatepass") for text in self._held]
        lengths = np.fromiter(map(len, encoded), _END, len(encoded))
        ends.append((texts.size + np.cumsum(lengths)).tobytes())
        texts.append(b"".join(encoded))
        self._count += len(encoded)
        self._held, self._held_bytes = [], 0


class StoredTexts(Sequence[str]):
    """A column in a file; nothing of it is held.

    Args:
        texts: One after the other, UTF-8.
        ends: Where each ends, int64.
        count: How many.
    """

    def __init__(self, texts: FileReader, ends: FileReader, count: int):
        self._texts, self._ends, self._count = texts, ends, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return self.take(np.arange(self._count)[at])
        row = range(self._count)[at]
        start, end = self._borders(row, row + 1)
        return self._read(int(start), int(end)).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, self._count, _READ_ROWS):
            borders = self._borders(first, min(first + _READ_ROWS, self._count))
            at = 0
            while at < len(borders) - 1:
                # As many whole texts as fit, and one at least.
                upto = int(np.searchsorted(borders, borders[at] + _READ_BYTES, side="right")) - 1
                upto = max(upto, at + 1)
                content = self._read(int(borders[at]), int(borders[upto]))
                within = (borders[at : upto + 1] - borders[at]).tolist()
                for start, end in itertools.pairwise(within):
                    yield content[start:end].decode("utf-8", "surrogatepass")
                at = upto

    def take(self, rows: np.ndarray) -> Sequence[str]:
        """Some of the texts, `[k]` numbers, in that order; again a file where they are many."""
        writer = TextWriter()
        # From one end to the other, a text takes a tenth of the time that it takes by itself.
        if 8 * len(rows) > self._count and np.all(rows[1:] > rows[:-1]):
            chosen = np.zeros(self._count, bool)
            chosen[rows] = True
            for text in itertools.compress(self, chosen):
                writer.append(text)
        else:
            for row in rows:
                writer.append(self[int(row)])
        return writer.finish()

    def _borders(self, start: int, stop: int) -> np.ndarray:
        """Where the text `start` begins, and where it and those up to `stop` end."""
        first = [0] if start == 0 else self._ends.read_array(_END.str, 1, (start - 1) * _END.itemsize)
        return np.concatenate([first, self._ends.read_array(_END.str, stop - start, start * _END.itemsize)])

    def _read(self, start: int, end: int) -> bytes:
        return self._texts.read_array("uint8", end - start, start).tobytes()


def take_texts(column: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Some texts of a column, `[k]` numbers, in that order."""
    return column.take(rows) if isinstance(column, StoredTexts) else [column[row] for row in rows]


def in_blocks(column: Sequence[str], size: int = 8192) -> Iterator[list[str]]:
    """The texts, so many at a time."""
    texts = iter(column)
    while block := list(itertools.islice(texts, size)):
        yield block
