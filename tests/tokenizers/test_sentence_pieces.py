"""ALBERT's tokenizer against `sentencepiece` in the hands of ALBERT's own rules, and against Hugging Face's."""

import pytest
import tensorflow as tf
from test_tokenization import Exported, glue_texts
from tiny_pieces import HARD, normalized, sample_texts, train_sentence_pieces

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.sentence_pieces import SentencePieceTokenizer

COMMAS = ["▁2000,", "15,", "▁7,"]  # such as a large vocabulary holds


@pytest.fixture(scope="module")
def model():
    return train_sentence_pieces(1009, [normalized(text) for text in sample_texts()], user_defined_symbols=COMMAS)


@pytest.fixture(scope="module")
def cased_model():
    return train_sentence_pieces(1009, sample_texts())


def reference(model, texts, **how):
    """ALBERT's own rules around `sentencepiece`."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def pieces_of(text):
        for piece in processor.encode(normalized(text, **how), out_type=str):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                parts = processor.encode(piece[:-1].replace("▁", ""), out_type=str)
                if piece[0] != "▁" and parts[0][0] == "▁":
                    parts = parts[1:] if len(parts[0]) == 1 else [parts[0][1:], *parts[1:]]
                yield from [*parts, ","]
            else:
                yield piece

    return [[processor.piece_to_id(piece) for piece in pieces_of(text)] for text in texts]


def ids_of(tokenizer, texts):
    starts = range(0, len(texts), 8192)
    return [ids for start in starts for ids in tokenizer.tokenize(tf.constant(texts[start : start + 8192])).to_list()]


def unequal(expected, found, texts):
    return [text for text, a, b in zip(texts, expected, found, strict=True) if a != b]


def test_ids_equal_those_of_sentencepiece(model):
    texts = [*sample_texts(), *HARD]
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    assert unequal(reference(model, texts), ids_of(tokenizer, texts), texts) == []


@pytest.mark.slow
def test_ids_equal_those_of_sentencepiece_on_glue(model):
    texts = glue_texts()
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    assert unequal(reference(model, texts), ids_of(tokenizer, texts), texts) == []


@pytest.mark.parametrize("how", [{"lower_case": False}, {"lower_case": False, "keep_accents": True}])
def test_a_cased_model(how, cased_model):
    texts = [*sample_texts(), *HARD]
    assert (
        unequal(reference(cased_model, texts, **how), ids_of(SentencePieceTokenizer(cased_model, **how), texts), texts)
        == []
    )


def test_case_is_that_of_the_pieces(model, cased_model):
    assert SentencePieceTokenizer(model, None).lower_case
    assert not SentencePieceTokenizer(cased_model, None).lower_case


def test_ids_equal_those_of_hugging_face(tmp_path):
    """Its fast tokenizer has no rule for commas after digits; so here is a model without such pieces."""
    transformers = pytest.importorskip("transformers")
    texts = sample_texts()
    model = train_sentence_pieces(1009, [normalized(text) for text in texts])
    (tmp_path / "spiece.model").write_bytes(model)
    theirs = transformers.AlbertTokenizer.from_pretrained(tmp_path)
    expected = [theirs.encode(text, add_special_tokens=False) for text in texts]
    assert unequal(expected, ids_of(SentencePieceTokenizer(model, True), texts), texts) == []


def test_pieces_that_end_in_a_digit_and_a_comma_are_cut(model):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    assert set(COMMAS) <= set(tokenizer.vocabulary)
    (ids,) = ids_of(tokenizer, ["in 2000, 15, 7, x"])
    pieces = [tokenizer.vocabulary[number] for number in ids]
    assert not set(COMMAS) & set(pieces)
    assert pieces.count(",") == 3


def test_inputs_are_alberts(model):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    place = tokenizer.vocabulary.index
    token_ids, segment_ids = tokenizer((tf.constant(["The film"]), tf.constant(["a story"])), 31)
    first, second = ids_of(tokenizer, ["the film", "a story"])
    cls, sep = place("[CLS]"), place("[SEP]")
    assert token_ids.to_list() == [[cls, *first, sep, *second, sep]]
    assert segment_ids.to_list() == [[0] * (len(first) + 2) + [1] * (len(second) + 1)]
    assert tokenizer.pad_id == place("<pad>") == 0


def test_it_outlives_a_new_seed(model):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    expected = ids_of(tokenizer, ["the film"])
    tf.random.set_seed(7)  # as every stage does; it clears the kernels that hold such a model
    assert ids_of(tokenizer, ["the film"]) == expected


def test_nul_ends_no_text(model):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    assert ids_of(tokenizer, ["the fi\x00lm"]) == ids_of(tokenizer, ["the film"])


def test_what_is_no_utf8_is_taken(model):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    assert ids_of(tokenizer, [b"the film \xff\xfe"]) == ids_of(tokenizer, ["the film \ufffd\ufffd"])


def test_it_goes_into_a_saved_model(model, tmp_path):
    tokenizer = SentencePieceTokenizer(model, lower_case=True)
    texts = ["In 2000, the FILM", "a story"]
    module = Exported(tokenizer)
    expected = module.serve(tf.constant(texts), tf.constant(texts[::-1]))
    tf.saved_model.save(module, str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(texts), tf.constant(texts[::-1]))
    for name, ids in expected.items():
        assert served[name].numpy().tolist() == ids.numpy().tolist()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04\x95"])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(InputError, match=r"no SentencePiece model, or a damaged one|lacks the token <pad> or"):
        SentencePieceTokenizer(content, True)
