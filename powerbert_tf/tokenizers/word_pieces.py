"""BERT's WordPiece as TensorFlow operations, which also run inside a SavedModel."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.checkpoints.checkpoint import ROUND_ROBIN
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import WORD_PIECES
from powerbert_tf.tokenizers.added_tokens import AddedToken, AddedTokens
from powerbert_tf.tokenizers.packing import pack_texts
from powerbert_tf.tokenizers.special_tokens import SPECIAL_TOKENS

_VERSION = 1  # of the ids: increase it if a text gets other ids
_SPECIAL_TOKENS = SPECIAL_TOKENS[WORD_PIECES].needed
VOCABULARY_HINT = "use the vocabulary that came with the checkpoint"
_MAX_CHARACTERS_PER_WORD = 100
# What `_normalize` and `_words` change of such a text are its capitals and its borders of words, alone.
_PLAIN = r"[\t\n\r -~]*"
_CJK = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
# Classes of RE2, in which `[^\PX y]` reads "in X, but not y".
_DROPPED = r"[^\P{C}\t\n\r]|\x{FFFD}"
_WHITESPACE = r"[\t\n\r]|[^\P{Z} ]"
_ACCENT = r"\p{Mn}"
_WORD_OF_ITS_OWN = rf"[!-/:-@\[-`{{-~\p{{P}}{_CJK}]"
_TOO_LONG = rf"[^ ]{{{_MAX_CHARACTERS_PER_WORD + 1},}}"


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Reads a `vocab.txt`: one token per line, whose number is its id.

    Returns:
        The tokens, in the order of their ids.

    Raises:
        InputError: The file is missing, empty or not UTF-8, has a blank or duplicate line, or lacks a special token.
    """
    expected = "expected a BERT vocab.txt with one token per line"
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {expected}; check the path.") from error
    # Only "\n" ends a line: real vocabularies hold tokens such as U+2028, at which str.splitlines would split.
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        raise InputError(f"{path}: the file is empty; {expected}; fetch the file again.")
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            token = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            problem = f"is not UTF-8 ({error.reason}); {expected} in UTF-8; convert the file"
            raise InputError(f"{path}: line {number} {problem}.") from error
        if not token:
            raise InputError(f"{path}: line {number} is blank; {expected}; remove the line.")
        if token in numbers:
            repeats = f"line {number} repeats {token!r} of line {numbers[token]}"
            raise InputError(f"{path}: {repeats}; {expected}, each once; {VOCABULARY_HINT}.")
        numbers[token] = number
    missing = [token for token in _SPECIAL_TOKENS if token not in numbers]
    if missing:
        raise InputError(
            f"{path}: no line reads {' or '.join(missing)}; {expected}, among them {', '.join(_SPECIAL_TOKENS)}; "
            f"{VOCABULARY_HINT}."
        )
    return list(numbers)


def is_cased(vocabulary: Sequence[str]) -> bool:
    """Whether a vocabulary has tokens with capitals; those in brackets, such as `[CLS]`, do not count."""
    return any(token != token.lower() for token in vocabulary if not (token.startswith("[") and token.endswith("]")))


class Tokenizer(tf.Module):
    """Splits texts into the tokens of the released BERT models.

    The ids are those of `tokenizers.BertWordPieceTokenizer`, with these exceptions:

    - `[CLS]`, `[SEP]` and other special tokens spelled out in a text are ordinary text, as they were when BERT was
      trained, so that a text cannot forge the borders of its segments.
    - The tables of `tokenizers` end at Unicode 8. Accents, punctuation and capitals added later (most of them in rare
      scripts) are treated as such here and as plain letters there; U+166D, U+1734, U+1885 and U+1886 have changed
      category since.
    - The ideographs U+2B820 to U+2B91F are words of their own, as in BERT; `tokenizers` begins this range too late.

    Both BERT tokenizers of tensorflow_text are equal to it on fewer texts: they lower-case with NFKC case folding (`½`,
    `…`, `™`, `ß` and the final sigma fall apart), put a space where a control character is to be dropped, and count the
    100 characters of the longest word in bytes. Nothing of that occurs in printable ASCII: such texts, nearly all of
    GLUE's, are split and looked up by its operation, three times as fast. Of other texts only the look-up is its own.

    Attributes:
        pad_id: The id of `[PAD]`.
        vocabulary: All tokens, in the order of their ids.
        fingerprint: 64 hexadecimal digits that differ between tokenizers with different ids.
        lower_case: Whether texts are lower-cased.
        truncation: What is kept of a text that is too long, see `packing.pack_texts`.
        pair_truncation: How two texts share the room if they are too long, see `Checkpoint.pair_truncation`.
        tells_segments: Whether the second of two texts has another segment than the first.
        added: Tokens that were added to the vocabulary, see `add_tokens`.
        kind: One of `architectures.WORD_PIECES`, `SENTENCE_PIECES`, `BYTE_PAIRS`.
        files: The files that it was read from; empty if it was not read from files.
    """

    truncation = "head"
    pair_truncation = ROUND_ROBIN
    tells_segments = True
    added: tuple[AddedToken, ...] = ()
    _num_behind = 0  # of them, behind the vocabulary
    kind = WORD_PIECES
    files: tuple[pathlib.Path, ...] = ()
    _separators = 1  # `[SEP]` between two texts

    def __init__(self, vocabulary: Sequence[str], lower_case: bool | None, strip_accents: bool | None = None):
        """Builds the look-up of tokens.

        Args:
            vocabulary: Tokens in the order of their ids, as from `read_vocabulary`.
            lower_case: Whether to lower-case texts; None to do so if the vocabulary has no capitals.
            strip_accents: Whether to strip accents; None to do so if texts are lower-cased, as BERT does.

        Raises:
            InputError: The vocabulary has a token that cannot be looked up.
        """
        super().__init__()
        self.vocabulary = vocabulary = list(vocabulary)
        self.pad_id, _, self._cls_id, self._sep_id = map(vocabulary.index, _SPECIAL_TOKENS)
        self.lower_case = lower_case = not is_cased(vocabulary) if lower_case is None else lower_case
        self._strips_accents = lower_case if strip_accents is None else strip_accents
        described = [type(self).__name__, _VERSION, tf_text.__version__, lower_case, vocabulary]
        if self._strips_accents != lower_case:
            described.append({"strip_accents": self._strips_accents})
        self.fingerprint = hashlib.sha256(json.dumps(described).encode("utf-8", "surrogatepass")).hexdigest()
        # Its table takes no control characters. A token that plain texts cannot hold is replaced, so that ids stay.
        within_reach = [
            token if token.isascii() and token.isprintable() else f"\ue000{number}"
            for number, token in enumerate(vocabulary)
        ]
        try:
            self._plain = tf_text.FastWordpieceTokenizer(
                within_reach, token_out_type=tf.int32, max_bytes_per_word=_MAX_CHARACTERS_PER_WORD
            )
            self._any = tf_text.FastWordpieceTokenizer(
                vocabulary,
                token_out_type=tf.int32,
                no_pretokenization=True,
                # A character takes four bytes at most, and `_words` has seen to the number of characters.
                max_bytes_per_word=4 * _MAX_CHARACTERS_PER_WORD,
            )
        except RuntimeError as error:  # raised by the operation for tokens that it cannot look up
            raise InputError(f"vocabulary: cannot be used ({error}); {VOCABULARY_HINT}.") from None

    def add_tokens(self, tokens: Sequence[AddedToken]) -> None:
        """Adds tokens, which are found in texts before these are split; those behind the vocabulary extend it.

        Raises:
            InputError: The ids of tokens that the vocabulary lacks do not follow those that it has, one by one.
        """
        if not tokens:
            return
        last = len(self.vocabulary)
        for token in sorted(tokens, key=lambda token: token.id):
            if token.id == len(self.vocabulary):
                self.vocabulary = [*self.vocabulary, token.content]
            elif self.vocabulary[token.id : token.id + 1] != [token.content]:
                raise InputError(
                    f"the added token {token.content!r} has id {token.id}; expected {last} or the next, behind the "
                    "vocabulary, or its id there"
                )
        self._num_behind = len(self.vocabulary) - last
        self.added = tuple(tokens)
        self._added = AddedTokens(tokens, self._normalize)
        described = json.dumps([self.fingerprint, *map(dataclasses.astuple, tokens)])
        self.fingerprint = hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Splits texts into tokens, without special ones.

        Args:
            texts: Strings [B], in UTF-8; what is not UTF-8 is dropped.

        Returns:
            Ids [B, (n)], int32.
        """
        return self._added.tokenize(texts, self._tokenize_normalized) if self.added else self._tokenize(texts)

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        is_plain = tf.strings.regex_full_match(texts, _PLAIN)
        plain, other = (tf.where(mask)[:, 0] for mask in (is_plain, ~is_plain))
        ids = tf.concat([self._tokenize_plain(tf.gather(texts, plain)), self._tokenize_any(tf.gather(texts, other))], 0)
        return tf.gather(ids, tf.math.invert_permutation(tf.concat([plain, other], 0)))

    def _tokenize_plain(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._plain.tokenize(tf.strings.lower(texts) if self.lower_case else texts)

    def _tokenize_any(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenize_normalized(self._normalize(texts))

    def _tokenize_normalized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._any.tokenize(_words(texts)).merge_dims(1, 2)

    def __call__(self, texts: Sequence[tf.Tensor], max_seq_length: int) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Makes the input of BERT, see `packing.pack_texts`.

        Args:
            texts: One or two tensors of strings [B].
            max_seq_length: Most tokens of an input, special ones included.

        Returns:
            Ids [B, (n)] and segments [B, (n)], both int32.

        Raises:
            InputError: `max_seq_length` has no room for the special tokens.
        """
        ids = [self.tokenize(text) for text in texts]
        token_ids, segment_ids = pack_texts(
            ids,
            max_seq_length,
            self._cls_id,
            self._sep_id,
            self.truncation,
            self._separators,
            self.pair_truncation,
        )
        return token_ids, segment_ids if self.tells_segments else tf.zeros_like(segment_ids)

    @property
    def num_pieces(self) -> int:
        """Tokens of the vocabulary before others were added behind it."""
        return len(self.vocabulary) - self._num_behind

    def num_special_tokens(self, num_texts: int) -> int:
        """Special tokens of an input of one or two texts."""
        return 2 + self._separators * (num_texts - 1)

    def generation(self) -> int:
        """Counts how often the operations were made anew; graphs that were traced with earlier ones cannot be used."""
        return 0

    def spelled(self) -> list[tuple[str, bool]]:
        """The readable text of each token, by id, and whether a word begins with it."""
        return [(token.removeprefix("##"), not token.startswith("##")) for token in self.vocabulary]

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts [B] without what is dropped, and lower-cased and without accents if need be."""
        replace = tf.strings.regex_replace
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = replace(texts, _DROPPED, "")
        texts = replace(texts, _WHITESPACE, " ")
        if self._strips_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = replace(texts, _ACCENT, "")
        if self.lower_case:
            # tf.strings.lower follows the locale of the process in UTF-8 (a Turkish I loses its dot), never in ASCII;
            # and it makes a sigma at the end of a word a final one, which BERT does not.
            texts = replace(tf.strings.lower(texts), "Σ", "σ")
            texts = tf.strings.lower(texts, encoding="utf-8")
        return texts


def _words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits normalized texts [B] into words [B, (n)]."""
    texts = tf.strings.regex_replace(texts, _WORD_OF_ITS_OWN, r" \0 ")
    texts = tf.strings.regex_replace(texts, _TOO_LONG, "[UNK]")
    return tf.strings.split(texts)
