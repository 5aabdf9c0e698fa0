"""Packing against tensorflow_text's own, which takes token by token what is computed here."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.packing import pack_texts

CLS, SEP = 101, 103


def texts(num_texts, num_rows):
    random = np.random.default_rng(num_texts)
    lengths = random.integers(0, 13, size=(num_texts, num_rows))
    return [
        tf.RaggedTensor.from_row_lengths(random.integers(1000, 9973, size=sum(row), dtype="int32"), row)
        for row in lengths
    ]


@pytest.mark.parametrize("num_texts", [1, 2])
@pytest.mark.parametrize("max_seq_length", [3, 4, 7, 12, 29])
def test_equals_tensorflow_text(num_texts, max_seq_length):
    given = texts(num_texts, 211)
    trimmed = tf_text.RoundRobinTrimmer(max_seq_length - num_texts - 1).trim(given)
    expected = tf_text.combine_segments(trimmed, CLS, SEP)
    for found, other in zip(pack_texts(given, max_seq_length, CLS, SEP), expected, strict=True):
        assert found.dtype == tf.int32
        assert found.to_list() == other.to_list()


@pytest.mark.parametrize("max_seq_length", [4, 7, 12])
def test_the_first_text_may_come_first(max_seq_length):
    given = texts(2, 211)
    trimmed = tf_text.WaterfallTrimmer(max_seq_length - 3).trim(given)
    expected = tf_text.combine_segments(trimmed, CLS, SEP)
    found = pack_texts(given, max_seq_length, CLS, SEP, pair_truncation="waterfall")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.to_list() == theirs.to_list()


@pytest.mark.parametrize("max_seq_length", [4, 23, 24])
@pytest.mark.parametrize("separators", [1, 2])
def test_equals_tokenizers(max_seq_length, separators):
    """All pairs of up to 39 tokens, in the format of BERT and of RoBERTa."""
    tokenizers = pytest.importorskip("tokenizers")
    lengths = [(first, second) for first in range(40) for second in range(40)]
    model = tokenizers.models.WordLevel({"x": 7, "cls": CLS, "sep": SEP}, unk_token="x")
    theirs = tokenizers.Tokenizer(model)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    form = [tokenizers.processors.BertProcessing, tokenizers.processors.RobertaProcessing][separators - 1]
    theirs.post_processor = form(("sep", SEP), ("cls", CLS))
    theirs.enable_truncation(max_seq_length)
    expected = theirs.encode_batch([("x " * first, "x " * second) for first, second in lengths])
    given = [
        tf.RaggedTensor.from_row_lengths(tf.fill([sum(column)], 7), tf.constant(column, tf.int64))
        for column in zip(*lengths, strict=True)
    ]
    found = pack_texts(given, max_seq_length, CLS, SEP, separators=separators, pair_truncation="longest_first")
    assert found[0].to_list() == [one.ids for one in expected]


@pytest.mark.parametrize("num_texts", [1, 2])
def test_no_rows(num_texts):
    for found in pack_texts(texts(num_texts, 0), 7, CLS, SEP):
        assert found.shape[0] == 0
        assert found.flat_values.shape[0] == 0


def test_graphs_know_no_lengths():
    ragged = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[ragged, ragged])
    def pack(first, second):
        return pack_texts([first, second], 11, CLS, SEP)

    for num_rows in (1, 5):
        given = texts(2, num_rows)
        for found, expected in zip(pack(*given), pack_texts(given, 11, CLS, SEP), strict=True):
            assert found.to_list() == expected.to_list()


def test_room_for_special_tokens():
    with pytest.raises(InputError, match=r"max_seq_length=1: 1 text.* at least 2"):
        pack_texts(texts(1, 3), 1, CLS, SEP)
