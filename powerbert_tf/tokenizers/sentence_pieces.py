"""ALBERT's SentencePiece as TensorFlow operations, fit for a data pipeline and for a SavedModel alike."""

import functools
import hashlib
import itertools
import unicodedata
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased

_WORD_START = "▁"
_SPECIAL_PIECES = ("<pad>", "<unk>", "[CLS]", "[SEP]")


def _class_of(characters: Iterable[str]) -> str:
    """A class of RE2 that holds these characters."""
    numbers = enumerate(sorted(map(ord, characters)))
    runs = [[number for _, number in run] for _, run in itertools.groupby(numbers, lambda pair: pair[1] - pair[0])]
    return "[" + "".join(rf"\x{{{run[0]:X}}}-\x{{{run[-1]:X}}}" for run in runs) + "]"


@functools.cache
def _whitespace_and_accents() -> tuple[str, str]:
    """As in Python, whose str.split and unicodedata.combining ALBERT's own tokenizer uses: RE2 lacks them."""
    characters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    whitespace = _class_of(character for character in characters if character.isspace())
    return f"{whitespace}+", _class_of(character for character in characters if unicodedata.combining(character))


class SentencePieceTokenizer(Tokenizer):
    """Cuts texts into SentencePiece's pieces, as the released ALBERT models expect them.

    The ids are those of ALBERT's own tokenizer: white space collapsed, quotes of two characters made one, accents
    stripped, lower case; and a piece that ends in a digit and a comma is cut before the comma. Special pieces spelled
    out in a text are ordinary text, and NUL is dropped.

    Attributes:
        pad_id: The id of `<pad>`.
        pieces: All pieces, in the order of their ids.
        fingerprint: What tells its ids from those of another tokenizer: 64 hexadecimal digits.
    """

    def __init__(self, model: bytes, lower_case: bool | None, keep_accents: bool = False, plain: bool = False):
        """Builds the operations.

        Args:
            model: Content of a SentencePiece model's file.
            lower_case: Whether to lower-case texts; None for where the pieces hold no capital.
            keep_accents: Whether accents stay.
            plain: Whether texts go to the SentencePiece model as they are, without ALBERT's own rules, as KerasHub
                has it; the two arguments before mean nothing then.

        Raises:
            InputError: `model` is no SentencePiece model, or lacks a special piece.
        """
        tf.Module.__init__(self)  # not the look-up of word-pieces
        self._generation = 0
        try:
            self._model = tf_text.SentencepieceTokenizer(model=model, out_type=tf.int32)
            size = int(self._model.vocab_size())
        except tf.errors.OpError:
            raise InputError("no SentencePiece model, or a damaged one") from None
        self._content = model
        self.pieces = [piece.decode("utf-8") for piece in self._model.id_to_string(tf.range(size)).numpy()]
        ids = {piece: number for number, piece in enumerate(self.pieces)}
        missing = [piece for piece in _SPECIAL_PIECES if piece not in ids]
        if missing:
            raise InputError(f"holds no piece {' or '.join(missing)}")
        self.pad_id, unknown, self._cls_id, self._sep_id = (ids[piece] for piece in _SPECIAL_PIECES)
        self.lower_case = not plain and (not is_cased(self.pieces) if lower_case is None else lower_case)
        self._keep_accents = keep_accents
        self._plain = plain
        self._instead = None if plain else self._cut_before_commas(model, ids, unknown)
        rules = ("plain",) if plain else (self.lower_case, keep_accents)
        described = repr((type(self).__name__, tf_text.__version__, *rules)).encode()
        self.fingerprint = hashlib.sha256(described + model).hexdigest()

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Cuts texts into pieces, without special ones.

        Args:
            texts: Strings [B], in UTF-8.

        Returns:
            Ids [B, (n)], int32.
        """
        ids = self._living_model().tokenize(self._normalize(texts))
        return ids if self._instead is None else tf.gather(self._instead, ids).merge_dims(1, 2)

    def generation(self) -> int:
        """As of `Tokenizer`: another one after each new seed."""
        self._living_model()
        return self._generation

    def spelled(self) -> list[tuple[str, bool]]:
        """As of `Tokenizer`; special pieces stand alone."""
        special = set(_SPECIAL_PIECES)
        return [
            (piece.removeprefix(_WORD_START), piece.startswith(_WORD_START) or piece in special)
            for piece in self.pieces
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
        """What each piece becomes, ids `[V, (n)]`; None where all stay.

        Of `▁2000,` ALBERT's tokenizer takes `2000` anew, and `,`. That depends on nothing but the piece.
        """
        instead: list[list[int]] = [[number] for number in range(len(self.pieces))]
        cut = [piece for piece in self.pieces if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()]
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
