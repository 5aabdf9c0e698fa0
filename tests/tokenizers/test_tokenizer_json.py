"""Folders whose only file of the tokenizer is `tokenizer.json`: the ids of `tokenizers`, or one clear error."""

import json

import pytest
import tensorflow as tf
from test_tokenizer_files import WORDS, checkpoint
from tiny_pieces import HARD, sample_texts, write_byte_pairs

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.files import load_tokenizer

tokenizers = pytest.importorskip("tokenizers")

PIECES = [*WORDS, "caf", "##é", "##e", "é", "e", "!"]
TEXTS = ["The cats!", "CAFÉ café", "é e E", ""]


def save_word_pieces(folder, **normalizer):
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    theirs = tokenizers.BertWordPieceTokenizer(vocabulary, **normalizer)
    theirs.save(str(folder / "tokenizer.json"))
    return theirs


@pytest.mark.parametrize(
    "normalizer",
    [
        {"lowercase": True},
        {"lowercase": False},
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True},
    ],
)
def test_word_pieces(normalizer, tmp_path):
    theirs = save_word_pieces(tmp_path, **normalizer)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))
    expected = [theirs.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == expected
    assert tokenizer.files == (tmp_path / "tokenizer.json",)


@pytest.mark.parametrize("spelled", ["pairs", "texts"])
def test_byte_pairs(spelled, tmp_path):
    write_byte_pairs(tmp_path, 503, sample_texts())
    files = [tmp_path / name for name in ("vocab.json", "merges.txt")]
    theirs = tokenizers.ByteLevelBPETokenizer(*map(str, files))
    theirs._tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    theirs.save(str(tmp_path / "tokenizer.json"))
    for file in files:
        file.unlink()
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    if spelled == "texts":  # as versions before 0.20 wrote them
        content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    texts = [text for text in HARD if "<" not in text]  # special tokens spelled out are text here
    tokenizer = load_tokenizer(checkpoint(tmp_path, "roberta", 503))
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == [
        theirs.encode(text, add_special_tokens=False).ids for text in texts
    ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "Unigram", "vocab": [["a", 0.0]]}, "a tokenizer of type Unigram; expected WordPiece"),
        ({"type": "WordPiece"}, "expected a JSON object with a model and its vocab"),
        ({"type": "WordPiece", "vocab": {"a": 0, "b": 7}}, "each from 0 to one below their number"),
        ({"type": "WordPiece", "vocab": {"[PAD]": 0, "[UNK]": 1}}, r"lacks \[CLS\] and \[SEP\]; use the vocabulary"),
        ([], "expected a JSON object with a model"),
    ],
)
def test_damaged(model, message, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(InputError, match=message):
        load_tokenizer(checkpoint(tmp_path, "bert", 2))
