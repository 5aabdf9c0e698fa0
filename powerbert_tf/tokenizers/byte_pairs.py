"""RoBERTa's byte-level byte pairs as TensorFlow operations, which also run inside a SavedModel."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import BYTE_PAIRS
from powerbert_tf.tokenizers.special_tokens import SPECIAL_TOKENS
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_SPECIAL_TOKENS = SPECIAL_TOKENS[BYTE_PAIRS].needed
_CUT = "\ufdd0"  # a noncharacter, which no text holds
_SPACE = r"\t\n\x0b\f\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
# GPT-2's pattern has white space "not followed by anything else", which RE2 lacks: the last character before a word is
# cut off beforehand.
_BEFORE_LAST_SPACE = rf"([{_SPACE}]+)([{_SPACE}][^{_SPACE}])"
_WORD = rf"{_CUT}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}{_CUT}]+|[{_SPACE}]+"
_NO_MERGE = 2**62  # a priority after all


def byte_symbols() -> list[str]:
    """The character that stands for each byte in a vocabulary, as in GPT-2: a printable one stands for itself."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


class BytePairTokenizer(Tokenizer):
    """Splits texts into the tokens of the released RoBERTa models: `<s> a </s>`, `<s> a </s></s> b </s>`, one segment.

    The ids are those of `tokenizers.ByteLevelBPETokenizer`, with two exceptions: special tokens spelled out in a text
    are ordinary text, and NUL is dropped.
    """

    lower_case = False  # byte pairs are cased
    kind = BYTE_PAIRS
    tells_segments = False
    _separators = 2

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]):
        """Builds the look-up of pairs.

        Args:
            vocabulary: Token -> id.
            merges: Pairs of tokens that are joined, in the order of their priority.

        Raises:
            InputError: The vocabulary lacks a special token, a byte, a token of a pair, or the token that a pair makes.
        """
        tf.Module.__init__(self)  # without the look-up of WordPiece
        needed = [*_SPECIAL_TOKENS, *byte_symbols(), *(token for a, b in merges for token in (a, b, a + b))]
        missing = [token for token in needed if token not in vocabulary]
        if missing:
            raise InputError(f"lacks {missing[0]!r}")
        self.vocabulary = sorted(vocabulary, key=vocabulary.__getitem__)
        self.pad_id, _, self._cls_id, self._sep_id = (vocabulary[token] for token in _SPECIAL_TOKENS)
        self._bytes = tf.constant([vocabulary[symbol] for symbol in byte_symbols()], tf.int64)
        self._base = 1 + max(vocabulary.values())
        # A pair of ids is one number, and so are its priority and the id that it becomes: the least one is next.
        pairs = {(vocabulary[a], vocabulary[b]): vocabulary[a + b] for a, b in reversed(merges)}
        ranks = {(vocabulary[a], vocabulary[b]): rank for rank, (a, b) in reversed(list(enumerate(merges)))}
        self._merges = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([a * self._base + b for a, b in pairs], tf.int64),
                tf.constant([ranks[pair] * self._base + joined for pair, joined in pairs.items()], tf.int64),
            ),
            default_value=_NO_MERGE,
        )
        described = json.dumps([type(self).__name__, tf_text.__version__, dict(vocabulary), list(merges)])
        self.fingerprint = hashlib.sha256(described.encode()).hexdigest()

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """See `Tokenizer.tokenize`; bytes that are not UTF-8 become U+FFFD."""
        words = self._split(texts)
        distinct, place = tf.unique(words.flat_values, out_idx=tf.int64)
        return tf.cast(words.with_flat_values(tf.gather(self._join(distinct), place)).merge_dims(1, 2), tf.int32)

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        return texts

    def _tokenize_normalized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenize(texts)

    def spelled(self) -> list[tuple[str, bool]]:
        """See `Tokenizer`; a token that is a part of a character is shown as U+FFFD."""
        byte_of = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        spelled = []
        whole = {*_SPECIAL_TOKENS, *(token.content for token in self.added)}
        for token in self.vocabulary:
            if token in whole:
                spelled.append((token, True))
                continue
            # Tokens that no merge makes, such as <mask>, need not be made of symbols.
            text = bytes(byte_of.get(symbol, ord("?")) for symbol in token).decode("utf-8", "replace")
            spelled.append((text.removeprefix(" "), text.startswith(" ")))
        return spelled

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Words `[B, (n)]`, with the space before them."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = tf.strings.regex_replace(texts, r"\x00", "")  # at which the next operation but one would end
        texts = tf.strings.regex_replace(texts, _BEFORE_LAST_SPACE, rf"\1{_CUT}\2")
        words = tf_text.regex_split(texts, _WORD, _WORD)
        return tf.ragged.boolean_mask(words, words != _CUT)

    def _join(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids `[W, (n)]` int64 of words `[W]`: starts from bytes and joins the pair of highest priority repeatedly."""
        # Rows of bytes, with -1 beyond a word's end; each round joins one pair of every word that has one.
        ids = tf.gather(self._bytes, tf.cast(tf_text.ByteSplitter().split(words), tf.int32)).to_tensor(-1)

        def next_pairs(ids):
            a, b = ids[:, :-1], ids[:, 1:]
            return tf.where(b < 0, tf.constant(_NO_MERGE, tf.int64), self._merges.lookup(a * self._base + b))

        def has_pairs(ids):
            return tf.reduce_any(next_pairs(ids) < _NO_MERGE)

        def join(ids):
            pairs = next_pairs(ids)
            best = tf.reduce_min(pairs, axis=1, keepdims=True)
            # The first of them, where there are several; beyond the row in a word that is finished.
            here = tf.where(best < _NO_MERGE, tf.argmin(pairs, axis=1)[:, None], tf.shape(ids, tf.int64)[1])
            place = tf.range(tf.shape(ids, tf.int64)[1])[None]
            moved = tf.concat([ids[:, 1:], tf.fill([tf.shape(ids)[0], 1], tf.constant(-1, tf.int64))], axis=1)
            return [tf.where(place < here, ids, tf.where(place == here, best % self._base, moved))]

        (ids,) = tf.while_loop(has_pairs, join, [ids], shape_invariants=[tf.TensorShape([None, None])])
        return tf.RaggedTensor.from_tensor(ids, lengths=tf.reduce_sum(tf.cast(ids >= 0, tf.int64), axis=1))
