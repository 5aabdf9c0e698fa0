"""ALBERT's SentencePiece as TensorFlow operations, which also run inside a SavedModel."""

import functools
import hashlib
import itertools
import unicodedata
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import SENTENCE_PIECES
from powerbert_tf.tokenizers.special_tokens import SPECIAL_TOKENS
from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased

_WORD_START = "▁"
_SPECIAL_TOKENS = SPECIAL_TOKENS[SENTENCE_PIECES].needed


def _class_of(characters: Iterable[str]) -> str:
    """A class of RE2 that holds these characters."""
    numbers = enumerate(sorted(map(ord, characters)))
    runs = [[number for _, number in run] for _, run in itertools.groupby(numbers, lambda pair: pair[1] - pair[0])]
    return "[" + "".join(rf"\x{{{run[0]:X}}}-\x{{{run[-1]:X}}}" for run in runs) + "]"


@functools.cache
def _whitespace_and_accents() -> tuple[str, str]:
    """Patterns of white space and accents as in Python, which ALBERT's own tokenizer uses; RE2 lacks them."""
    characters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    whitespace = _class_of(character for character in characters if character.isspace())
    return f"{whitespace}+", _class_of(character for character in characters if unicodedata.combining(character))


class SentencePieceTokenizer(Tokenizer):
    """Splits texts into the tokens of the released ALBERT models.

    The ids are those of ALBERT's own tokenizer: white space collapsed, quotes of two characters made one, accents
    stripped, lower case; and a token that ends in a digit and a comma is cut before the comma. Special tokens spelled
    out in a text are ordinary text, and NUL is dropped.
    """

    kind = SENTENCE_PIECES

    def __init__(self, model: bytes, lower_case: bool | None, keep_accents: bool = False, plain: bool = False):
        """Builds the operations.

        Args:
            model: Content of a SentencePiece model's file.
            lower_case: Whether to lower-case texts; None to do so if the vocabulary has no capitals.
            keep_accents: Whether to keep accents.
            plain: Whether texts go to the SentencePiece model as they are, without ALBERT's own rules, as in KerasHub;
                the two arguments before have no effect then.

        Raises:
            InputError: `model` is no SentencePiece model, or lacks a special token.
        """
        tf.Module.__init__(self)  # without the look-up of WordPiece
        self._generation = 0
        try:
            self._model = tf_text.SentencepieceTokenizer(model=model, out_type=tf.int32)
            size = int(self._model.vocab_size())
        except tf.errors.OpError:
            raise InputError("no SentencePiece model, or a damaged one") from None
        self._content = model
        self.vocabulary = [piece.decode("utf-8") for piece in self._model.id_to_string(tf.range(size)).numpy()]
        ids = {piece: number for number, piece in enumerate(self.vocabulary)}
        missing = [piece for piece in _SPECIAL_TOKENS if piece not in ids]
        if missing:
            raise InputError(f"lacks the token {' or '.join(missing)}")
        self.pad_id, unknown, self._cls_id, self._sep_id = (ids[piece] for piece in _SPECIAL_TOKENS)
        self.lower_case = not plain and (not is_cased(self.vocabulary) if lower_case is None else lower_case)
        self._keep_accents = keep_accents
        self._plain = plain
        self._instead = None if plain else self._cut_before_commas(model, ids, unknown)
        rules = ("plain",) if plain else (self.lower_case, keep_accents)
        described = repr((type(self).__name__, tf_text.__version__, *rules)).encode()
        self.fingerprint = hashlib.sha256(described + model).hexdigest()

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """See `Tokenizer.tokenize`."""
        ids = self._living_model().tokenize(self._normalize(texts))
        return ids if self._instead is None else tf.gather(self._instead, ids).merge_dims(1, 2)

    def generation(self) -> int:
        """See `Tokenizer`; it increases after each new seed."""
        self._living_model()
        return self._generation

    def spelled(self) -> list[tuple[str, bool]]:
        """See `Tokenizer`; special tokens stand alone."""
        special = set(_SPECIAL_TOKENS)
        return [
            (piece.removeprefix(_WORD_START), piece.startswith(_WORD_START) or piece in special)
            for piece in self.vocabulary
        ]

    def _living_model(self) -> tf_text.SentencepieceTokenizer:
        """The operations, made anew where `tf.random.set_seed` has cleared the kernel that owns the model."""
        with tf.init_scope():
            try:
                self._model.vocab_size()
            except tf.errors.NotFoundError:
                self._model = tf_text.SentencepieceTokenizer(model=self._content, out_type=tf.int32)
                self._generation += 1
        return self._model

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        replace = tf.strings.regex_replace
        whitespace, accents = _whitespace_and_accents()
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = replace(texts, r"\x00", "")  # at which the operations would end the text
        if self._plain:
            return texts
        texts = tf.strings.strip(replace(texts, whitespace, " "))
        texts = replace(texts, "``|''", '"')
        if not self._keep_accents:
            texts = replace(tf_text.normalize_utf8(texts, "NFKD"), accents, "")
        if self.lower_case:
            # tf.strings.lower follows the locale of the process in UTF-8 (a Turkish I loses its dot), never in ASCII.
            texts = tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
        return texts

    def _cut_before_commas(self, model: bytes, ids: dict[str, int], unknown: int) -> tf.RaggedTensor | None:
        """The ids that replace each token, `[V, (n)]`; None if all tokens stay.

        ALBERT's tokenizer splits `▁2000,` into the tokens of `2000`, which it looks up again, and `,`. That depends on
        nothing but the token.
        """
        instead: list[list[int]] = [[number] for number in range(len(self.vocabulary))]
        cut = [piece for piece in self.vocabulary if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()]
        if not cut:
            return None
        spell = tf_text.SentencepieceTokenizer(model=model, out_type=tf.string)
        anew = spell.tokenize([piece[:-1].replace(_WORD_START, "") for piece in cut]).to_list()
        for piece, parts in zip(cut, anew, strict=True):
            first, *others = (part.decode("utf-8") for part in parts)
            if not piece.startswith(_WORD_START):
                first = first.removeprefix(_WORD_START)  # which it had none of
            instead[ids[piece]] = [ids.get(part, unknown) for part in (first, *others, ",") if part]
        return tf.ragged.constant(instead, dtype=tf.int32)
