"""Settings of a tokenizer that change ids: the ids of `transformers`, or a refusal that names the setting."""

import json

import pytest
import tensorflow as tf
from test_tokenizer_files import WORDS, checkpoint
from tiny_pieces import sample_texts, write_byte_pairs

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.word_pieces import Tokenizer

transformers = pytest.importorskip("transformers")

PIECES = [*WORDS, "caf", "##é", "##e", "é", "e", "!"]
TEXTS = ["The cats!", "CAFÉ café", "é e E", ""]


def write_word_pieces(folder, cls="BertTokenizer", **settings):
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    theirs = getattr(transformers, cls)(str(folder / "vocab.txt"), **settings)
    theirs.save_pretrained(folder)
    return theirs


def write_roberta(folder, **settings):
    write_byte_pairs(folder, 503, sample_texts())
    theirs = transformers.RobertaTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), **settings)
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("cls", ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"])
@pytest.mark.parametrize("alone", [False, True])
def test_what_transformers_writes_is_read(cls, alone, tmp_path):
    theirs = write_word_pieces(tmp_path, cls)
    if alone:
        (tmp_path / "vocab.txt").unlink(missing_ok=True)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == expected


def test_what_transformers_writes_of_byte_pairs_is_read(tmp_path):
    theirs = write_roberta(tmp_path)
    tokenizer = load_tokenizer(checkpoint(tmp_path, "roberta", 503))
    texts = sample_texts()[:53]
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == expected


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokenize_chinese_chars": False}, r"tokenize_chinese_chars=False is not supported; expected True"),
        ({"do_basic_tokenize": False}, r"do_basic_tokenize=False"),
        ({"never_split": ["[NAME]"]}, r"never_split=\['\[NAME\]'\]"),
        ({"truncation_side": "left"}, r"truncation_side='left' is not supported; expected 'right'"),
        ({"padding_side": "left"}, r"padding_side='left' is not supported; expected 'right'"),
        ({"unk_token": "<unk>"}, r"unk_token='<unk>' is not supported; expected '\[UNK\]'"),
        ({"sep_token": {"content": "</s>"}}, r"sep_token='</s>' is not supported; expected '\[SEP\]'"),
        ({"do_lower_case": False}, r"do_lower_case=False; the normalizer in tokenizer\.json beside it does otherwise"),
        (
            {"added_tokens_decoder": {"14": {"content": "[NAME]", "single_word": True}}},
            r"single_word of the added token '\[NAME\]' is not supported",
        ),
        (
            {"tokenizer_class": "BertJapaneseTokenizer"},
            r"tokenizer_class=BertJapaneseTokenizer; expected BertTokenizer",
        ),
        ({"tokenizer_class": "RobertaTokenizerFast"}, r"tokenizer_class=RobertaTokenizer; expected BertTokenizer"),
    ],
)
def test_settings_of_the_configuration_are_refused(values, message, tmp_path):
    write_word_pieces(tmp_path)
    change(tmp_path / "tokenizer_config.json", **values)
    with pytest.raises(InputError, match=rf"tokenizer_config\.json: {message}"):
        load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normalizer": None}, "its normalizer is none; expected BertNormalizer"),
        ({"normalizer": {"type": "Lowercase"}}, "its normalizer is Lowercase"),
        (
            {"normalizer": {"type": "BertNormalizer", "handle_chinese_chars": False}},
            "handle_chinese_chars=False is not supported",
        ),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre_tokenizer is Whitespace; expected BertPreTokenizer"),
        ({"post_processor": None}, "its post_processor makes 'no template' of a text"),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}], "pair": []}},
            r"its post_processor makes 'A' of a text and 'none' of a pair; expected '\[CLS\] A \[SEP\]'",
        ),
        ({"added_tokens": [{"id": 7, "content": "[NAME]"}]}, r"the added token '\[NAME\]' has id 7; expected 14"),
        ({"truncation": {"direction": "Left"}}, r"truncation\.direction='Left' is not supported; expected 'Right'"),
        ({"truncation": {"strategy": "OnlyFirst"}}, r"truncation\.strategy='OnlyFirst' is not supported"),
        ({"padding": {"direction": "Left"}}, r"padding\.direction='Left' is not supported"),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_steps_of_a_whole_tokenizer_are_refused(values, message, alone, tmp_path):
    write_word_pieces(tmp_path)
    if alone:
        (tmp_path / "vocab.txt").unlink(missing_ok=True)
    change(tmp_path / "tokenizer.json", **values)
    with pytest.raises(InputError, match=rf"tokenizer\.json: {message}"):
        load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))


def test_a_blank_before_the_first_word_is_refused(tmp_path):
    write_roberta(tmp_path)
    change(tmp_path / "tokenizer_config.json", add_prefix_space=True)
    with pytest.raises(InputError, match=r"add_prefix_space=True is not supported; expected False"):
        load_tokenizer(checkpoint(tmp_path, "roberta", 503))


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"cls": ["[SEP]", 3]}, r"its post_processor has id None for \[CLS\]; expected 2, as in its vocabulary"),
        ({"sep": ["[SEP]", 4]}, r"its post_processor has id 4 for \[SEP\]; expected 3"),
    ],
)
def test_special_tokens_with_other_ids_are_refused(processor, message, tmp_path):
    write_word_pieces(tmp_path)
    bert = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], **processor}
    change(tmp_path / "tokenizer.json", post_processor=bert)
    with pytest.raises(InputError, match=rf"tokenizer\.json: {message}"):
        load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))


@pytest.mark.parametrize("setting", [{"max_input_chars_per_word": 5}, {"continuing_subword_prefix": "@@"}])
def test_settings_of_the_model_are_refused(setting, tmp_path):
    write_word_pieces(tmp_path)
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    change(tmp_path / "tokenizer.json", model={**model, **setting})
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=rf"tokenizer\.json: {name}={value!r} is not supported; expected"):
        load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))


def test_segments_that_a_tokenizer_does_not_give_are_all_zero(tmp_path):
    write_word_pieces(tmp_path)
    texts = [tf.constant(["The cats"]), tf.constant(["café"])]
    expected = theirs_of(tmp_path)("The cats", "café")
    _, segments = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))(texts, 31)
    assert segments.to_list() == [expected["token_type_ids"]]
    assert any(expected["token_type_ids"])
    change(tmp_path / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert "token_type_ids" not in theirs_of(tmp_path)("The cats", "café")
    token_ids, segments = load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))(texts, 31)
    assert token_ids.to_list() == [expected["input_ids"]]
    assert not segments.flat_values.numpy().any()


def theirs_of(folder):
    return transformers.AutoTokenizer.from_pretrained(folder, use_fast=True)


def test_what_structure_does_not_show_hard_texts_do(tmp_path, monkeypatch):
    """A step that is there under the right name, and does something else."""
    write_word_pieces(tmp_path)
    monkeypatch.setattr(Tokenizer, "_normalize", lambda self, texts: texts)
    with pytest.raises(InputError, match=r"tokenizer\.json: gives the ids \[.*\] for .*café.*, which become \["):
        load_tokenizer(checkpoint(tmp_path, "bert", len(PIECES)))
