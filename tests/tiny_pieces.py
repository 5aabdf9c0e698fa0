"""Tokenizers small enough to be trained in a test: SentencePiece as ALBERT has it, byte pairs as RoBERTa has them."""

import csv
import json
import unicodedata
from pathlib import Path

import pytest
from conftest import REPOSITORY

# White space of Python, quotes of two characters, accents, capitals, commas after digits, spelled-out pieces.
HARD = [
    "",
    " \t\r\n\u00a0\u2003\u2028\u3000",
    "a\tb\nc\rd\u00a0e\u2009f\u3000g\u2028h\x0bi\x0cj\x85k\x1cl",
    "the\u200bse\u00ad, a \ue000private",
    "``quoted'' 'single' ``` ''' \"",
    "naïve café Ångström ÀÉÎÕÜ e\u0301 n\u0303 ñ resume\u0301 \u0e31\u0e01",
    "½ … ™ ´ µ ﬁ ² Ⅳ ⅷ ① ª",
    "Straße STRASSE ẞ İstanbul ISTANBUL ı ŞIK",
    "ΌΔΟΣ οδός ΣΑΣ Σ κύριος Россия Ёлка",
    "1,000 2,000, 15, 3,4,5, 7,, 12,a ٣,",
    "[CLS] a [SEP] <pad> <unk> <s> </s> <mask>",
    "don't we'll I'M 'S 'll' they're 've",
    "日本語 中文字 abc中def 한국어 👍 🏽 👨‍👩‍👧 ❤️ שָׁלוֹם हिन्दी",
    "a   b  c \n\n d\t\te  ",
    "x" * 150 + " " + "ab" * 90,
    "`^$~|<>=+@#%&*_-",
]


def sample_texts() -> list[str]:
    """Sentences of the generated sample."""
    texts = []
    for name, columns in (("SST-2", (0,)), ("MRPC", (3, 4)), ("CoLA", (3,))):
        path = REPOSITORY / "glue_data" / "sample" / name / "train.tsv"
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[name != "CoLA" :]
        texts += [row[column] for row in rows for column in columns]
    return texts


def normalized(text: str, lower_case: bool = True, keep_accents: bool = False) -> str:
    """What ALBERT's own tokenizer gives to SentencePiece."""
    text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
    if not keep_accents:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.lower() if lower_case else text


def train_sentence_pieces(size: int, texts: list[str], **options) -> bytes:
    """A SentencePiece model of `size` pieces, the special ones placed as in `30k-clean.model`."""
    pytest.importorskip("sentencepiece")
    from benchmarks.paper import albert_from_scratch

    return albert_from_scratch.train_sentence_pieces(texts, size, hard_vocab_limit=False, **options)


def write_byte_pairs(folder: Path, size: int, texts: list[str]) -> None:
    """Trains byte pairs and writes `vocab.json` and `merges.txt`, the special tokens placed as in RoBERTa's."""
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(texts, vocab_size=size, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    assert json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["<pad>"] == 1
