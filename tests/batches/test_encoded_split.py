"""Token ids in memory and in a file give the same batches."""

import dataclasses
import tempfile

import numpy as np
import pytest
from made_up_rows import encoded_rows, segment_ids_of, token_ids_of

from powerbert_tf.batches import encoded_split
from powerbert_tf.batches.encoded_split import encode_chunks, encode_split, with_thinned_copies
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"], lower_case=True)
LENGTHS = np.random.default_rng(0).integers(1, 23, size=211)
ROWS = [np.random.default_rng(row).integers(0, 997, size=length).tolist() for row, length in enumerate(LENGTHS)]
SECOND = [len(row) * 2 // 3 for row in ROWS]  # where the second text begins


def in_file(values, dtype=None):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 13 + values.astype(dtype or values.dtype).tobytes())
        file.flush()
        return np.memmap(file, dtype or values.dtype, "r", 13, values.shape)


@pytest.fixture(params=["memory", "uint16", "int32"])
def encoded(request):
    encoded = encoded_rows(ROWS, 29, np.arange(211), pad_id=1009, second=SECOND)
    if request.param == "memory":
        return encoded
    return dataclasses.replace(
        encoded, token_ids=in_file(encoded.token_ids, request.param), spans=in_file(encoded.spans)
    )


def test_rows_are_padded(encoded):
    assert len(encoded) == len(ROWS)
    np.testing.assert_array_equal(encoded.lengths, LENGTHS)
    assert encoded.lengths.dtype == np.int64
    rows = np.random.default_rng(7).permutation(len(ROWS))
    for filled_to in (0, 223):
        inputs = encoded.pad(rows, 29, filled_to)
        for name, values in inputs.items():
            assert (values.dtype, values.shape) == ("int32", (max(211, filled_to), 29)), name
        for number, row in enumerate(rows):
            rest = 29 - len(ROWS[row])
            assert inputs["token_ids"][number].tolist() == ROWS[row] + [1009] * rest
            second = [int(position >= SECOND[row]) for position in range(len(ROWS[row]))]
            assert inputs["segment_ids"][number].tolist() == second + [0] * rest
            assert inputs["padding_mask"][number].tolist() == [1] * len(ROWS[row]) + [0] * rest
        for number in range(211, filled_to):
            assert {name: set(values[number].tolist()) for name, values in inputs.items()} == {
                "token_ids": {1009}, "segment_ids": {0}, "padding_mask": {0}
            }  # fmt: skip


def test_some_rows_are_taken_into_memory(encoded):
    rows = np.array([200, 3, 3, 97])
    taken = encoded.take(rows)
    assert not isinstance(taken.token_ids, np.memmap)
    assert token_ids_of(taken) == [ROWS[row] for row in rows]
    assert taken.labels.tolist() == rows.tolist()
    np.testing.assert_array_equal(taken.pad(np.arange(4), 23)["segment_ids"], encoded.pad(rows, 23)["segment_ids"])


def test_copies_of_rows_lack_some_tokens():
    first, last, words = 3, 5, range(7, 1009)
    draw = np.random.default_rng(1)
    rows = [[first, *draw.choice(words, 211).tolist(), last, *draw.choice(words, 89).tolist(), last] for _ in range(13)]
    encoded = encoded_rows(rows, 307, np.arange(13), second=[213] * 13)
    both = with_thinned_copies(encoded, 2, 0.3, seed=0)
    assert len(both) == 39
    assert both.labels.tolist() == [*range(13)] * 3
    found, segments = token_ids_of(both), segment_ids_of(both)
    assert found[:13] == rows
    assert found[13:26] != found[26:]
    kept = 0
    for number, (row, segment) in enumerate(zip(found[13:], segments[13:], strict=True)):
        whole = iter(rows[number % 13])
        assert all(token in whole for token in row)  # in their order
        assert [row[0], row[-1], row.count(last)] == [first, last, 2]
        assert row[segment.count(0) - 1] == last  # the second text begins behind it
        kept += len(row) - 3
    assert kept / (26 * 300) == pytest.approx(0.7, abs=0.02)  # 4 standard deviations of 7,800 draws
    same = with_thinned_copies(encoded, 1, 0.0, seed=0)
    assert token_ids_of(same) == 2 * rows


def test_pages_that_were_read_are_given_back(monkeypatch):
    released = []
    monkeypatch.setattr(encoded_split, "release", lambda *arrays: released.extend(arrays))
    encoded = encoded_rows(ROWS, 29)
    for use in (lambda: encoded.lengths, lambda: encoded.pad(np.array([3]), 29), lambda: encoded.take(np.array([3]))):
        use()
        assert any(one is encoded.spans for one in released)
        released.clear()


def test_long_rows():
    encoded = encoded_rows([np.arange(70_000), [70_000, 70_001]], 70_000, pad_id=5)
    assert encoded.pad(np.array([1]), 3)["token_ids"].tolist() == [[70_000, 70_001, 5]]


@pytest.mark.parametrize(("rows", "characters"), [(64, 1 << 20), (512, 101)])
def test_chunks_hold_all_rows_in_their_order(monkeypatch, rows, characters):
    monkeypatch.setattr(encoded_split, "FEWEST_AT_ONCE", rows)
    monkeypatch.setattr(encoded_split, "MOST_AT_ONCE", rows)
    monkeypatch.setattr(encoded_split, "CHARACTERS_AT_ONCE", characters)
    texts = ["a b " * (number % 7) for number in range(997)]
    split = Split((texts,), None, None)
    assert len(list(encode_chunks(split, TOKENIZER, 13))) > 7
    expected = [[2, *([4, 5] * (number % 7))[:11], 3] for number in range(997)]
    assert token_ids_of(encode_split(split, TOKENIZER, 13)) == expected
