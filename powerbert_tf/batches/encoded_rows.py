"""The word-pieces of many rows: in memory, or in a file from which a batch takes the rows that it is made of."""

from typing import Protocol

import numpy as np

from powerbert_tf.common.scratch import FileReader

_STRIDE = 16  # rows between two places that are kept; those between are added up when they are asked for


class Values(Protocol):
    """Numbers of all rows, one row after the other."""

    def gather(self, starts: np.ndarray, counts: np.ndarray, length: int, filler: int) -> np.ndarray:
        """Stretches of them as a matrix.

        Args:
            starts: Where each stretch begins, `[B]`.
            counts: How many each has, `[B]`, none more than `length`.
            length: T.
            filler: What stands behind each.

        Returns:
            int32 `[B, T]`.
        """


class HeldValues:
    """Numbers in memory, `[m]`."""

    def __init__(self, values: np.ndarray):
        self._values = values

    def gather(self, starts: np.ndarray, counts: np.ndarray, length: int, filler: int) -> np.ndarray:
        """See `Values`."""
        positions = np.arange(length)
        within = positions < counts[:, None]
        found = np.full(within.shape, filler, "int32")
        found[within] = self._values[(starts[:, None] + positions)[within]]
        return found


class FileValues:
    """Numbers in a file, from byte `offset` on."""

    def __init__(self, file: FileReader, dtype: str, offset: int):
        self._file, self._dtype, self._offset = file, np.dtype(dtype), offset

    def gather(self, starts: np.ndarray, counts: np.ndarray, length: int, filler: int) -> np.ndarray:
        """See `Values`."""
        found = np.full((len(starts), length), filler, self._dtype)
        places = (self._offset + starts * self._dtype.itemsize).tolist()
        for row, count, place in zip(found, counts.tolist(), places, strict=True):
            if count:
                self._file.read_into(row[:count], place)
        return found.astype("int32")


class Pieces:
    """Word-pieces and segments of rows; of each row, less than 3 bytes are in memory where the values are in a file.

    Attributes:
        lengths: Word-pieces of each row, `[n]`; of a small type, whose sums and products overflow.

    Args:
        token_ids: Of all rows.
        segment_ids: Of all rows.
        lengths: Word-pieces of each row, `[n]`.
    """

    def __init__(self, token_ids: Values, segment_ids: Values, lengths: np.ndarray):
        self._values = {"token_ids": token_ids, "segment_ids": segment_ids}
        kind = "uint16" if lengths.max(initial=0) < 2**16 else "int32"
        self._strides = np.zeros((-(-len(lengths) // _STRIDE), _STRIDE), kind)
        self.lengths = self._strides.reshape(-1)[: len(lengths)]
        self.lengths[:] = lengths
        self._starts = np.zeros(len(self._strides) + 1, "int64")
        np.cumsum(self._strides.sum(axis=1), out=self._starts[1:])

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, name: str, rows: np.ndarray, length: int, filler: int) -> np.ndarray:
        """Rows padded to `length`: `"token_ids"` or `"segment_ids"`, int32 `[B, T]`."""
        stride, behind = np.divmod(rows, _STRIDE)
        before = self._strides[stride] * (np.arange(_STRIDE) < behind[:, None])
        starts = self._starts[stride] + before.sum(axis=1, dtype="int64")
        return self._values[name].gather(starts, self.lengths[rows], length, filler)

    def flat(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows one after the other, without padding, int32 `[m]`."""
        lengths = self.lengths[rows]
        longest = int(lengths.max(initial=0))
        return self.gather(name, rows, longest, 0)[np.arange(longest) < lengths[:, None]]

    def take(self, rows: np.ndarray) -> "Pieces":
        """Some of the rows, `[k]` numbers, in that order; in memory."""
        ids, segments = (HeldValues(self.flat(name, rows)) for name in self._values)
        return Pieces(ids, segments, self.lengths[rows])
