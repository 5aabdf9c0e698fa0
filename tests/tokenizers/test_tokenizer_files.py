"""Which tokenizer a checkpoint gets, and what does not fit together."""

import dataclasses
import json

import pytest
import tensorflow as tf
from tiny_bert import SPECIAL_TOKENS, tiny_config
from tiny_pieces import normalized, sample_texts, train_sentence_pieces, write_byte_pairs

from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.config import config_of
from powerbert_tf.tokenizers.byte_pairs import BytePairTokenizer
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.sentence_pieces import SentencePieceTokenizer
from powerbert_tf.tokenizers.word_pieces import Tokenizer

WORDS = [*SPECIAL_TOKENS, "the", "cat", "##s"]
CASED_WORDS = [*WORDS, "The"]


@pytest.fixture(scope="module")
def spiece():
    return train_sentence_pieces(503, [normalized(text) for text in sample_texts()])


def checkpoint(folder, architecture, vocab_size, **values):
    config = config_of(architecture, {**tiny_config(vocab_size=vocab_size), **distil_sizes(), **values})
    return Checkpoint(str(folder), folder, config, dict)


def distil_sizes():
    return {"dim": 35, "n_layers": 3, "n_heads": 5, "hidden_dim": 29}


def write_words(folder, words=WORDS):
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "electra"])
def test_word_pieces(architecture, tmp_path):
    write_words(tmp_path)
    tokenizer = load_tokenizer(checkpoint(tmp_path, architecture, 8))
    assert type(tokenizer) is Tokenizer
    assert tokenizer.tokenize(tf.constant(["The cats"])).to_list() == [[5, 6, 7]]


@pytest.mark.parametrize("name", ["spiece.model", "30k-clean.model"])
def test_sentence_pieces(name, spiece, tmp_path):
    (tmp_path / name).write_bytes(spiece)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "albert", 503, pad_token_id=0))
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert tokenizer.lower_case


def test_byte_pairs(tmp_path):
    write_byte_pairs(tmp_path, 503, sample_texts())
    tokenizer = load_tokenizer(checkpoint(tmp_path, "roberta", 503, pad_token_id=1))
    assert isinstance(tokenizer, BytePairTokenizer)
    with pytest.raises(InputError, match=r"--case=uncased: RoBERTa is cased; expected cased or auto"):
        load_tokenizer(checkpoint(tmp_path, "roberta", 503), "uncased")


@pytest.mark.parametrize(
    ("words", "stated", "case", "lower_case"),
    [
        (WORDS, None, "auto", True),
        (CASED_WORDS, None, "auto", False),
        (CASED_WORDS, None, "uncased", True),
        (WORDS, True, "auto", True),
        (WORDS, False, "auto", False),  # a script without capitals, say
        (CASED_WORDS, False, "auto", False),
        (CASED_WORDS, True, "cased", False),
    ],
)
def test_case(words, stated, case, lower_case, tmp_path):
    write_words(tmp_path, words)
    if stated is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": stated}))
    assert load_tokenizer(checkpoint(tmp_path, "bert", len(words)), case).lower_case == lower_case


def test_a_casing_that_does_not_fit(tmp_path):
    write_words(tmp_path, CASED_WORDS)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(InputError, match=r"do_lower_case is true, and vocab\.txt holds capitals, .* or give --case"):
        load_tokenizer(checkpoint(tmp_path, "bert", len(CASED_WORDS)))


@pytest.mark.parametrize("case", ["auto", "cased"])
def test_alberts_casing_and_accents_are_those_of_its_files(case, spiece, tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "keep_accents": true}')
    tokenizer = load_tokenizer(checkpoint(tmp_path, "albert", 503), case)
    assert not tokenizer.lower_case
    assert tokenizer.tokenize(tf.constant(["é"])).to_list() != tokenizer.tokenize(tf.constant(["e"])).to_list()


def test_a_vocabulary_of_another_size(spiece, tmp_path):
    write_words(tmp_path)
    with pytest.raises(InputError, match=r"vocab\.txt: 8 tokens; expected 11, the vocab_size"):
        load_tokenizer(checkpoint(tmp_path, "bert", 11))
    (tmp_path / "spiece.model").write_bytes(spiece)
    with pytest.raises(InputError, match=r"spiece\.model: 503 tokens; expected 30000, the vocab_size"):
        load_tokenizer(checkpoint(tmp_path, "albert", 30000))


def test_rows_that_fill_a_table_up_stay_unused(tmp_path, capsys):
    write_words(tmp_path)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", 64))
    assert len(tokenizer.vocabulary) == 8
    assert "vocab.txt: 8 tokens for 64 rows of embeddings; the last 56 stay unused" in capsys.readouterr().out
    for rows in (63, 8 + 128, 7):  # no multiple of 8, too many, too few
        with pytest.raises(InputError, match=rf"vocab\.txt: 8 tokens; expected {rows}, .* added_tokens\.json"):
            load_tokenizer(checkpoint(tmp_path, "bert", rows))


@pytest.mark.parametrize("architecture", ["bert", "albert", "distilbert", "roberta", "electra"])
def test_files_decide_on_the_kind_and_not_the_architecture(architecture, spiece, tmp_path):
    ours, pad = {}, {"pad_token_id": 1} if architecture == "roberta" else {}
    for kind, size in (("words", 7 + 1), ("byte pairs", 503), ("sentence pieces", 503)):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "words":
            write_words(folder, [WORDS[1], WORDS[0], *WORDS[2:]] if pad else WORDS)
        elif kind == "byte pairs":
            write_byte_pairs(folder, size, sample_texts())
        else:
            (folder / "spiece.model").write_bytes(spiece)
        found = checkpoint(folder, architecture, size)
        if kind == "sentence pieces" and pad:
            with pytest.raises(InputError, match="the padding token has id 0; expected 1"):
                load_tokenizer(checkpoint(folder, architecture, size, **pad))
        ours[kind] = type(load_tokenizer(found))
    assert list(ours.values()) == [Tokenizer, BytePairTokenizer, SentencePieceTokenizer]


def test_a_model_of_one_segment_gets_no_second_one(tmp_path):
    """RoBERTa with `vocab.txt`, whose tokenizer would tell two texts apart."""
    write_words(tmp_path, [WORDS[1], WORDS[0], *WORDS[2:]])
    tokenizer = load_tokenizer(checkpoint(tmp_path, "roberta", 8, type_vocab_size=1, pad_token_id=1))
    token_ids, segments = tokenizer([tf.constant(["the cat"]), tf.constant(["cats"])], 31)
    assert token_ids.to_list() == [[2, 5, 6, 3, 6, 7, 3]]
    assert not segments.flat_values.numpy().any()


@pytest.mark.parametrize(("pair_truncation", "kept"), [("longest_first", 3), ("round_robin", 2), ("waterfall", 0)])
def test_pairs_are_cut_as_the_checkpoints_tool_does(pair_truncation, kept, tmp_path):
    write_words(tmp_path)
    found = dataclasses.replace(checkpoint(tmp_path, "bert", 8), pair_truncation=pair_truncation)
    (token_ids,) = load_tokenizer(found)([tf.constant(["the " * 7]), tf.constant(["cat " * 7])], 8)[0].to_list()
    assert token_ids.count(6) == kept
    assert len(token_ids) == 8


def test_a_swapped_vocabulary_of_the_same_size(tmp_path):
    write_words(tmp_path, [*WORDS[:-2], "die", "Katze"])
    stored = {"model": {"vocab": {word: number for number, word in enumerate(WORDS)}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"vocab\.txt: entry 6 is 'die'; tokenizer\.json beside it has 'cat'"):
        load_tokenizer(checkpoint(tmp_path, "bert", 8))


def test_a_swapped_model_of_the_same_size(spiece, tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece)
    pieces = [[piece, 0.0] for piece in SentencePieceTokenizer(spiece, True).vocabulary]
    other = {"model": {"vocab": [*pieces[:-1], ["other", 0.0]]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match=r"spiece\.model: entry 502 is .*; tokenizer\.json beside it has 'other'"):
        load_tokenizer(checkpoint(tmp_path, "albert", 503))


def test_a_padding_token_elsewhere(tmp_path):
    write_words(tmp_path, ["the", *SPECIAL_TOKENS])
    with pytest.raises(InputError, match=r"vocab\.txt: the padding token has id 1; expected 0, the pad_token_id"):
        load_tokenizer(checkpoint(tmp_path, "bert", 6, pad_token_id=0))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("bert", r"vocab\.txt: cannot be read"),
        ("albert", r"spiece\.model: no such file; the tokenizer of ALBERT needs it; fetch it"),
        ("roberta", r"vocab\.json: no such file; the tokenizer of RoBERTa needs it"),
    ],
)
def test_files_that_are_not_there(architecture, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_tokenizer(checkpoint(tmp_path, architecture, 8))


def test_a_word_piece_vocabulary_is_no_alberts(tmp_path):
    write_words(tmp_path)
    (tmp_path / "spiece.model").write_bytes((tmp_path / "vocab.txt").read_bytes())
    with pytest.raises(
        InputError, match=r"spiece\.model: no SentencePiece model, or a damaged one; use the model that"
    ):
        load_tokenizer(checkpoint(tmp_path, "albert", 8))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", "[]", r"vocab\.json: expected a JSON object, found list"),
        ("vocab.json", '{"a": 0, "b": 2}', r"vocab\.json: expected a JSON object of tokens and their ids"),
        ("vocab.json", '{"a": 0, "b": 1}', r"vocab\.json: lacks '<pad>'; use the vocabulary that came with"),
        ("merges.txt", "#version: 0.2\na b c\n", r"merges\.txt: 'a b c' is not a pair; expected two tokens per line"),
    ],
)
def test_byte_pairs_that_are_damaged(file, content, message, tmp_path):
    write_byte_pairs(tmp_path, 503, sample_texts())
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_tokenizer(checkpoint(tmp_path, "roberta", 503))
