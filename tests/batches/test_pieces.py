"""Word-pieces in memory and in a file give the same batches."""

import tempfile

import numpy as np
import pytest

from powerbert_tf.batches.encoded_rows import FileValues, HeldValues, Pieces
from powerbert_tf.common.scratch import FileReader

LENGTHS = np.random.default_rng(0).integers(0, 23, size=211)
ROWS = [np.random.default_rng(row).integers(0, 997, size=length).tolist() for row, length in enumerate(LENGTHS)]
FLAT = np.concatenate(ROWS)
BEFORE = 13  # bytes of the file that are something else


def in_file(values, dtype):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * BEFORE + values.astype(dtype).tobytes())
        file.flush()
        return FileValues(FileReader(file.fileno(), "the file"), dtype, BEFORE)


@pytest.fixture(params=["memory", "uint16", "int32"])
def pieces(request):
    make = HeldValues if request.param == "memory" else lambda values: in_file(values, request.param)
    return Pieces(make(FLAT), make(FLAT % 2), LENGTHS)


def test_rows_are_padded(pieces):
    assert len(pieces) == len(ROWS)
    np.testing.assert_array_equal(pieces.lengths, LENGTHS)
    rows = np.random.default_rng(7).permutation(len(ROWS))
    for name, of in (("token_ids", lambda value: value), ("segment_ids", lambda value: value % 2)):
        found = pieces.gather(name, rows, 29, 1009)
        assert found.dtype == np.int32
        expected = [[of(value) for value in ROWS[row]] + [1009] * (29 - len(ROWS[row])) for row in rows]
        np.testing.assert_array_equal(found, expected)


def test_some_rows_are_taken_into_memory(pieces):
    rows = np.array([200, 3, 3, 97])
    taken = pieces.take(rows)
    assert taken.lengths.tolist() == [len(ROWS[row]) for row in rows]
    for number, row in enumerate(rows):
        found = taken.gather("token_ids", np.array([number]), len(ROWS[row]), 0)
        assert found.tolist() == [ROWS[row]]
    assert pieces.flat("token_ids", rows).tolist() == [value for row in rows for value in ROWS[row]]


def test_a_file_that_has_become_shorter():
    with tempfile.TemporaryFile() as file:
        file.write(bytes(7))
        file.flush()
        reader = FileReader(file.fileno(), "the file")
    assert reader.read_array("uint8", 7, 0).tolist() == [0] * 7
    with pytest.raises(OSError, match=r"the file: ends at byte 7; it was longer when it was written\."):
        reader.read_array("uint16", 3, 3)


def test_long_rows_and_none():
    lengths = np.array([70_000, 2])
    pieces = Pieces(HeldValues(np.arange(70_002)), HeldValues(np.zeros(70_002)), lengths)
    assert pieces.gather("token_ids", np.array([1]), 3, 5).tolist() == [[70_000, 70_001, 5]]
    nothing = Pieces(HeldValues(np.zeros(0)), HeldValues(np.zeros(0)), np.zeros(0, int))
    assert len(nothing) == 0
