"""Tokens that were added to a vocabulary, such as `[NAME]`: found in a text before it is split, and never cut."""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that was added.

    Attributes:
        content: How it is spelled.
        id: Its id.
        normalized: Whether it is looked for in texts that are normalized (lower-cased and so on), and is so itself.
    """

    content: str
    id: int
    normalized: bool = False


class AddedTokens(tf.Module):
    """Splits texts at added tokens, the longest where several begin, as `tokenizers` does."""

    def __init__(self, tokens: Sequence[AddedToken], normalize: Callable[[tf.Tensor], tf.Tensor]):
        """Builds the look-up.

        Args:
            tokens: The tokens.
            normalize: Normalizes texts `[B]`.

        Raises:
            InputError: Two tokens become the same if they are normalized.
        """
        super().__init__()
        as_they_are = {token.content: token.id for token in tokens if not token.normalized}
        others = [token for token in tokens if token.normalized]
        contents = normalize(tf.constant([token.content for token in others], tf.string)).numpy()
        normalized: dict[str, int] = {}
        for content, token in zip(contents, others, strict=True):
            if normalized.setdefault(content.decode("utf-8"), token.id) != token.id:
                raise InputError(
                    f"the added token {token.content!r} is the same as another one once texts are normalized; "
                    "expected different ones"
                )
        self._normalize = normalize
        self._as_they_are, self._normalized = _Finder(as_they_are), _Finder(normalized)

    def tokenize(self, texts: tf.Tensor, tokenize: Callable[[tf.Tensor], tf.RaggedTensor]) -> tf.RaggedTensor:
        """Splits texts `[B]` into ids `[B, (n)]` int32; `tokenize` does so for what lies between added tokens."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        return self._as_they_are.tokenize(
            texts, lambda rest: self._normalized.tokenize(self._normalize(rest), tokenize)
        )


class _Finder(tf.Module):
    def __init__(self, ids: dict[str, int]):
        super().__init__()
        self._pattern = "|".join(map(_escaped, sorted(filter(None, ids), key=len, reverse=True)))
        if self._pattern:
            keys, values = tf.constant(list(ids), tf.string), tf.constant(list(ids.values()), tf.int64)
            self._ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=-1)

    def tokenize(self, texts: tf.Tensor, tokenize: Callable[[tf.Tensor], tf.RaggedTensor]) -> tf.RaggedTensor:
        if not self._pattern:
            return tokenize(texts)
        parts = tf_text.regex_split(texts, self._pattern, self._pattern)
        flat = parts.flat_values
        found = self._ids.lookup(flat)
        is_token = found >= 0
        between = tokenize(tf.where(is_token, "", flat))
        added = tf.RaggedTensor.from_row_lengths(
            tf.cast(tf.boolean_mask(found, is_token), tf.int32), tf.cast(is_token, tf.int64)
        )
        return parts.with_flat_values(tf.concat([between, added], axis=1)).merge_dims(1, 2)


def _escaped(text: str) -> str:
    """A pattern of RE2 for the text itself."""
    return "".join(one if one.isalnum() else rf"\x{{{ord(one):X}}}" for one in text)
