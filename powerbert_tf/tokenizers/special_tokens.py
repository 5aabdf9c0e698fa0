"""The special tokens of each kind of tokenizer, by the names that `transformers` has for them."""

from collections.abc import Mapping
from typing import NamedTuple

from powerbert_tf.models.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES


class SpecialTokens(NamedTuple):
    """How special tokens are spelled. Spelled out in a text, they are text."""

    pad_token: str
    unk_token: str
    cls_token: str
    sep_token: str
    mask_token: str

    @property
    def needed(self) -> tuple[str, str, str, str]:
        """All but the mask, which no classifier needs."""
        return self[:4]


SPECIAL_TOKENS: Mapping[str, SpecialTokens] = {
    WORD_PIECES: SpecialTokens("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    SENTENCE_PIECES: SpecialTokens("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    BYTE_PAIRS: SpecialTokens("<pad>", "<unk>", "<s>", "</s>", "<mask>"),
}
