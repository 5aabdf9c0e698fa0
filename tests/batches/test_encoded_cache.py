import os

import numpy as np
import pytest
from made_up_rows import segment_ids_of, token_ids_of
from safetensors.numpy import load_file, save_file

from powerbert_tf.batches import encoded_cache
from powerbert_tf.batches.encoded_cache import load_encoded
from powerbert_tf.batches.encoded_split import encode_chunks, encode_split
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"]
TOKENIZER = Tokenizer(VOCABULARY, lower_case=True)
SPLIT = Split((["a", "bc x", ""], ["b", "", "a a a a a a"]), np.array([1, 0, 1], "int32"), None)
N = 7


@pytest.fixture
def warnings_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(encoded_cache.logging, "warning", lambda text, *values: messages.append(text % values))
    return messages


@pytest.fixture
def tokenized(monkeypatch):
    """The list of what was tokenized."""
    seen = []

    def encode(*arguments):
        seen.append(arguments)
        return encode_chunks(*arguments)

    monkeypatch.setattr(encoded_cache, "encode_chunks", encode)
    return seen


def assert_same(encoded, other):
    assert token_ids_of(encoded) == token_ids_of(other)
    assert segment_ids_of(encoded) == segment_ids_of(other)
    np.testing.assert_array_equal(encoded.labels, other.labels)
    np.testing.assert_array_equal(encoded.lengths, other.lengths)
    assert (encoded.pad_id, encoded.max_seq_length) == (other.pad_id, other.max_seq_length)


def test_a_split_is_tokenized_once(tokenized, tmp_path, warnings_logged):
    folder = tmp_path / "new" / "folder"
    expected = encode_split(SPLIT, TOKENIZER, N)
    for _ in range(2):
        assert_same(load_encoded(SPLIT, TOKENIZER, N, folder), expected)
    assert len(tokenized) == 1
    assert not warnings_logged
    (path,) = folder.iterdir()
    assert path.name.startswith("encoded-")


def test_labels_are_those_of_the_split(tokenized, tmp_path):
    load_encoded(SPLIT, TOKENIZER, N, tmp_path)
    other = Split(SPLIT.texts, None, ["7", "8", "9"])
    assert load_encoded(other, TOKENIZER, N, tmp_path).labels is None
    assert len(tokenized) == 1


def test_vocabularies_beyond_16_bits(tokenized, tmp_path):
    vocabulary = [*VOCABULARY[:4], *(f"word{i}" for i in range(2**16)), "a", "b"]
    tokenizer = Tokenizer(vocabulary, lower_case=True)
    expected = encode_split(SPLIT, tokenizer, N)
    assert expected.token_ids.max() == 2**16 + 5
    for _ in range(2):
        assert_same(load_encoded(SPLIT, tokenizer, N, tmp_path), expected)
    assert len(tokenized) == 1


def test_a_file_holds_for_everything_that_ids_depend_on(tokenized, tmp_path, warnings_logged, monkeypatch):
    first, second = SPLIT.texts
    given = [
        (SPLIT, TOKENIZER, N),
        (SPLIT, TOKENIZER, N - 1),
        (SPLIT, Tokenizer(VOCABULARY, lower_case=False), N),
        (SPLIT, Tokenizer([*VOCABULARY, "d"], lower_case=True), N),
        (Split((first,), None, None), TOKENIZER, N),
        (Split((second, first), None, None), TOKENIZER, N),
        (Split((first, ["b", "", "a a a a a A"]), None, None), TOKENIZER, N),
        # The same letters, with other borders.
        (Split((["ab", "c x", ""], second), None, None), TOKENIZER, N),
        (Split((["a\0", "c"],), None, None), TOKENIZER, N),
        (Split((["a", "\0c"],), None, None), TOKENIZER, N),
    ]
    for arguments in given:
        assert_same(load_encoded(*arguments, tmp_path), encode_split(*arguments))
    assert len(tokenized) == len(list(tmp_path.iterdir())) == len(given)
    monkeypatch.setattr(encoded_cache, "FORMAT", 0)
    load_encoded(SPLIT, TOKENIZER, N, tmp_path)
    assert len(tokenized) == len(given) + 1
    assert not warnings_logged


def change_an_id(path):
    arrays = load_file(path)
    arrays["token_ids"][0] += 1
    with encoded_cache.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(arrays, path, metadata=metadata)


def without_metadata(path):
    save_file(load_file(path), path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "SafetensorError"),
        (lambda path: path.write_bytes(b""), "SafetensorError"),
        (lambda path: path.write_bytes(b"\x80\x04K\x07." * 97), "SafetensorError"),  # a pickle
        (change_an_id, "its content has changed"),
        (without_metadata, "it was made from other texts or settings"),
        (lambda path: (path.unlink(), path.mkdir()), "Error"),
    ],
)
def test_a_damaged_file_is_made_again(tokenized, tmp_path, warnings_logged, damage, reason):
    expected = load_encoded(SPLIT, TOKENIZER, N, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    assert_same(load_encoded(SPLIT, TOKENIZER, N, tmp_path), expected)
    assert len(tokenized) == 2
    assert str(path) in warnings_logged[0]
    assert reason in warnings_logged[0]
    if path.is_dir():  # nothing can take its place
        assert "cannot be written" in warnings_logged[1]
        return
    assert_same(load_encoded(SPLIT, TOKENIZER, N, tmp_path), expected)
    assert len(tokenized) == 2


def test_a_folder_that_cannot_be_written_is_only_logged(tokenized, tmp_path, warnings_logged):
    (tmp_path / "file").write_text("")
    assert_same(load_encoded(SPLIT, TOKENIZER, N, tmp_path / "file" / "folder"), encode_split(SPLIT, TOKENIZER, N))
    assert len(warnings_logged) == 1
    assert "cannot be written" in warnings_logged[0]


def test_without_a_folder_nothing_is_kept(tokenized, tmp_path, monkeypatch):
    monkeypatch.setenv("POWERBERT_TF_CACHE", str(tmp_path))
    for _ in range(2):
        assert_same(load_encoded(SPLIT, TOKENIZER, N, None), encode_split(SPLIT, TOKENIZER, N))
    assert len(tokenized) == 2
    assert not list(tmp_path.iterdir())


def test_the_files_unused_for_longest_go_first(tokenized, tmp_path, monkeypatch):
    (tmp_path / "costs-1.json").write_text("x" * 9973)  # none of ours

    def load(length):
        load_encoded(SPLIT, TOKENIZER, length, tmp_path)

    def files():
        return {path.name for path in tmp_path.glob("encoded-*")}

    names = {}
    for age, length in ((30, 5), (20, 6), (10, 7)):
        before = files()
        load(length)
        (names[length],) = files() - before
        path = tmp_path / names[length]
        used = path.stat().st_mtime - age
        os.utime(path, (used, used))
    load(5)  # used again: 6 is the oldest now
    # Room for three: the headers, of some hundred bytes, are most of a file.
    room = sum((tmp_path / name).stat().st_size for name in files()) + 100
    monkeypatch.setattr(encoded_cache, "MOST_BYTES", room)
    load(8)
    assert names[6] not in files()
    assert {names[5], names[7]} < files()
    monkeypatch.setattr(encoded_cache, "MOST_BYTES", 1)
    load(9)
    assert len(files()) == 1
    assert (tmp_path / "costs-1.json").exists()
