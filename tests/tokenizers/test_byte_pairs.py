"""RoBERTa's tokenizer against `tokenizers`, which knows nothing of TensorFlow."""

import json

import pytest
import tensorflow as tf
from test_tokenization import Exported, glue_texts
from tiny_pieces import HARD, sample_texts, write_byte_pairs

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.byte_pairs import BytePairTokenizer, byte_symbols

SPELLED_OUT = "[CLS] a [SEP] <pad> <unk> <s> </s> <mask>"  # special to `tokenizers`, text to us


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("byte_pairs")
    write_byte_pairs(folder, 1009, sample_texts())
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    _, *merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    return BytePairTokenizer(vocabulary, [tuple(merge.split(" ")) for merge in merges])


@pytest.fixture(scope="module")
def theirs(folder):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def ids_of(tokenizer, texts):
    starts = range(0, len(texts), 1024)
    return [ids for start in starts for ids in tokenizer.tokenize(tf.constant(texts[start : start + 1024])).to_list()]


def unequal(theirs, tokenizer, texts):
    expected = [encoding.ids for encoding in theirs.encode_batch(texts)]
    return [text for text, a, b in zip(texts, expected, ids_of(tokenizer, texts), strict=True) if a != b]


def test_ids_equal_those_of_tokenizers(tokenizer, theirs):
    texts = [*sample_texts(), *(text for text in HARD if text != SPELLED_OUT)]
    assert unequal(theirs, tokenizer, texts) == []


def test_ids_equal_those_of_tokenizers_on_glue(tokenizer, theirs):
    assert unequal(theirs, tokenizer, glue_texts()[::10]) == []


def test_inputs_are_robertas(tokenizer, folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.RobertaTokenizer.from_pretrained(folder)
    firsts, seconds = ["A film of the year", "Good", "a b c d e f g h i j k l m n"], ["It is good", "Yes " * 20, "no"]
    for texts in ((firsts,), (firsts, seconds)):
        token_ids, segment_ids = tokenizer([tf.constant(column) for column in texts], 31)
        expected = theirs(*texts, truncation=False)["input_ids"]
        fits = [number for number, ids in enumerate(expected) if len(ids) <= 31]
        assert len(fits) >= 2
        for number in fits:
            assert token_ids[number].numpy().tolist() == expected[number]
        assert max(map(len, token_ids.to_list())) <= 31
        assert not segment_ids.flat_values.numpy().any()
    assert tokenizer.pad_id == theirs.pad_token_id == 1


def test_special_tokens_spelled_out_are_text(tokenizer, theirs):
    (ids,) = ids_of(tokenizer, [SPELLED_OUT])
    assert not set(ids) & {theirs.token_to_id(token) for token in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")}


def test_nul_ends_no_text(tokenizer):
    assert ids_of(tokenizer, ["the fi\x00lm"]) == ids_of(tokenizer, ["the film"])


def test_no_texts_and_empty_ones(tokenizer):
    assert ids_of(tokenizer, ["", "a", ""])[::2] == [[], []]
    assert tokenizer.tokenize(tf.constant([], tf.string)).shape[0] == 0
    assert ids_of(tokenizer, ["", ""]) == [[], []]


def test_room_for_special_tokens(tokenizer):
    with pytest.raises(InputError, match=r"max_seq_length=3: 2 text\(s\) take 4 special tokens already; .* at least 4"):
        tokenizer((tf.constant(["a"]), tf.constant(["b"])), 3)


def test_it_goes_into_a_saved_model(tokenizer, tmp_path):
    texts = ["A film  of\n\nthe year", "it's"]
    module = Exported(tokenizer)
    expected = module.serve(tf.constant(texts), tf.constant(texts[::-1]))
    tf.saved_model.save(module, str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(texts), tf.constant(texts[::-1]))
    for name, ids in expected.items():
        assert served[name].numpy().tolist() == ids.numpy().tolist()


@pytest.mark.parametrize("missing", ["<pad>", "</s>", "Ġ", "ab"])
def test_a_vocabulary_that_lacks_a_token_is_refused(missing):
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_symbols(), "ab"]
    vocabulary = {token: number for number, token in enumerate(tokens) if token != missing}
    with pytest.raises(InputError, match=f"lacks '{missing}'"):
        BytePairTokenizer(vocabulary, [("a", "b")])
