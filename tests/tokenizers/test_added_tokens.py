"""Tokens that were added to a vocabulary: the ids of `transformers`, which finds them in a text before all else."""

import json

import pytest
import tensorflow as tf
from test_tokenization import Exported
from test_tokenizer_files import WORDS, checkpoint
from tiny_pieces import HARD, sample_texts, train_sentence_pieces, write_byte_pairs

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.files import load_tokenizer, write_tokenizer_folder

transformers = pytest.importorskip("transformers")

PIECES = [*WORDS, "[unused1]", "name", "[", "]", "caf", "##é", "##e", "url", "<", ">"]
TEXTS = [
    "The [NAME] cats",
    "[name] the[NAME]cat[NAME][NAME]",
    "<url> <URL> <Url>s the <urls> cat",
    "caf\u00e9<url>the \u4e2d<url>\u6587",
    "[unused1] the [UNUSED1]",
    "",
    "[NAME]",
    " \t[NAME] \n",
    "THE <Ürl> cats <url",
]


def added(content, **settings):
    return transformers.AddedToken(content, **settings)


def write(folder, *, special=(), others=()):
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"))
    theirs.add_special_tokens({"additional_special_tokens": list(special)})
    theirs.add_tokens(list(others))
    theirs.save_pretrained(folder)
    return theirs


def ids_of(theirs, texts):
    return [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]


@pytest.mark.parametrize(
    ("special", "others"),
    [
        (["[NAME]"], []),
        (["[unused1]"], []),
        ([], ["<url>"]),
        (["[NAME]", "[NAME]s"], ["<url>", "<urls>"]),
        ([], [added("<URL>", normalized=True), added("[NAME]", normalized=False, lstrip=True, rstrip=True)]),
        ([], [added("<Ürl>", normalized=True)]),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_word_pieces(special, others, whole, tmp_path):
    theirs = write(tmp_path, special=special, others=others)
    if not whole:  # as versions before 5 wrote them
        (tmp_path / "tokenizer.json").unlink()
        decoder = {number: token.__getstate__() for number, token in theirs.added_tokens_decoder.items()}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", len(theirs)))
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == ids_of(theirs, TEXTS)
    assert len(tokenizer.vocabulary) == len(theirs)


def test_tokens_that_have_an_id_in_a_file_of_their_own(tmp_path):
    theirs = write(tmp_path, others=[added("[NAME]", normalized=True)])
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (tmp_path / "added_tokens.json").write_text(json.dumps({"[NAME]": len(PIECES)}))
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES) + 1))
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == ids_of(theirs, TEXTS)


def test_byte_pairs(tmp_path):
    write_byte_pairs(tmp_path, 503, sample_texts())
    theirs = transformers.RobertaTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    theirs.add_tokens(["<url>", "[NAME]"])
    theirs.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "roberta", 505))
    texts = [*TEXTS, *(text for text in HARD if "<" not in text)]
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == ids_of(theirs, texts)
    assert tokenizer.spelled()[503:] == [("<url>", True), ("[NAME]", True)]


def test_in_a_graph_as_outside_of_it(tmp_path):
    theirs = write(tmp_path, special=["[NAME]"], others=["<url>"])
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", len(theirs)))
    tf.saved_model.save(Exported(tokenizer), str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(TEXTS), tf.constant(TEXTS[::-1]))
    expected = theirs(TEXTS, TEXTS[::-1], max_length=32, truncation=True, padding=True)
    assert served["token_ids"].numpy().tolist() == expected["input_ids"]


def test_a_folder_that_is_written_is_read_again(tmp_path):
    theirs = write(tmp_path, special=["[NAME]"], others=["<url>"])
    source = checkpoint(tmp_path, "bert", len(theirs))
    tokenizer = load_tokenizer(source)
    folder = tmp_path / "written"
    folder.mkdir()
    write_tokenizer_folder(source, tokenizer, folder)
    again = load_tokenizer(checkpoint(folder, "bert", len(theirs)))
    assert again.fingerprint == tokenizer.fingerprint
    assert ids_of(transformers.AutoTokenizer.from_pretrained(folder), TEXTS) == ids_of(theirs, TEXTS)


def test_other_tokens_are_another_tokenizer(tmp_path):
    write(tmp_path, special=["[NAME]"])
    first = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES) + 1))
    write(tmp_path, special=["[FACE]"])
    assert load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES) + 1)).fingerprint != first.fingerprint


def test_what_is_not_done_is_refused(tmp_path):
    write_byte_pairs(tmp_path, 503, sample_texts())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"added_tokens_decoder": {"503": {"content": "<url>", "lstrip": True}}})
    )
    with pytest.raises(InputError, match=r"tokenizer_config\.json: lstrip of the added token '<url>' is not supported"):
        load_tokenizer(checkpoint(tmp_path, "roberta", 504))


def test_sentence_pieces_have_special_tokens_alone(tmp_path):
    (tmp_path / "spiece.model").write_bytes(train_sentence_pieces(503, sample_texts()))
    (tmp_path / "added_tokens.json").write_text('{"<url>": 503}')
    with pytest.raises(
        InputError, match=r"added_tokens\.json: the added token '<url>' is not supported; expected <pad>"
    ):
        load_tokenizer(checkpoint(tmp_path, "albert", 504))


def test_ids_with_a_gap_are_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text('{"[NAME]": 41}')
    with pytest.raises(InputError, match=rf"'\[NAME\]' has id 41; expected {len(PIECES)} or the next"):
        load_tokenizer(checkpoint(tmp_path, "bert", 42))
