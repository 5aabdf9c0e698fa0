"""BERT's word-pieces as TensorFlow operations, fit for a data pipeline and for a SavedModel alike."""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.packing import pack_texts

_VERSION = 1  # of the ids; a change of what a text becomes changes it, too
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_MAX_CHARACTERS_PER_WORD = 100
# What `_split` changes of such a text are its capitals and its borders of words, alone.
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
    """Reads a `vocab.txt`: one word-piece per line, whose number is its id.

    Args:
        path: A UTF-8 file.

    Returns:
        The word-pieces, in the order of their ids.

    Raises:
        InputError: The file is missing, empty or not UTF-8, has a blank or duplicate line, or lacks a special token.
    """
    expected = "expected a BERT vocab.txt with one word-piece per line"
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {expected}; check the path.") from error
    # Only "\n" ends a line: real vocabularies hold word-pieces such as U+2028, at which str.splitlines would split.
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        raise InputError(f"{path}: the file is empty; {expected}; fetch the file again.")
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            piece = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: line {number} is not UTF-8 ({error.reason}); {expected} in UTF-8; convert the file."
            ) from error
        if not piece:
            raise InputError(f"{path}: line {number} is blank; {expected}; remove the line.")
        if piece in numbers:
            raise InputError(
                f"{path}: line {number} repeats {piece!r} of line {numbers[piece]}; {expected}, each once; "
                "use the vocabulary that came with the checkpoint."
            )
        numbers[piece] = number
    missing = [token for token in SPECIAL_TOKENS if token not in numbers]
    if missing:
        raise InputError(
            f"{path}: no line reads {' or '.join(missing)}; {expected}, among them {', '.join(SPECIAL_TOKENS)}; "
            "use the vocabulary that came with the checkpoint."
        )
    return list(numbers)


def is_cased(vocabulary: Sequence[str]) -> bool:
    """Tells whether a vocabulary distinguishes case: whether lower-casing would put some of its entries out of reach.

    Args:
        vocabulary: Word-pieces; those in brackets, such as `[CLS]`, do not count.
    """
    return any(piece != piece.lower() for piece in vocabulary if not (piece.startswith("[") and piece.endswith("]")))


class Tokenizer(tf.Module):
    """Cuts texts into word-pieces, as the released BERT models expect them.

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
        pieces: All word-pieces, in the order of their ids.
        fingerprint: What tells its ids from those of another tokenizer: 64 hexadecimal digits.
        lower_case: Whether texts are lower-cased.
        truncation: What is kept of a text that is too long, see `packing.pack_texts`.
        files: What it was read from; empty where that is not known.
    """

    truncation = "head"
    files: tuple[pathlib.Path, ...] = ()

    def __init__(
        self,
        vocabulary: Sequence[str],
        lower_case: bool,
        truncation: str = "head",
        strip_accents: bool | None = None,
    ):
        """Builds the look-up of word-pieces.

        Args:
            vocabulary: Word-pieces in the order of their ids, as from `read_vocabulary`.
            lower_case: Whether to lower-case texts: true for an uncased vocabulary.
            truncation: See `packing.pack_texts`.
            strip_accents: Whether to strip accents; None for where texts are lower-cased, as BERT does.

        Raises:
            InputError: No word-piece can be looked up, or one of them cannot.
        """
        super().__init__()
        self.truncation = truncation
        self.pieces = vocabulary = list(vocabulary)
        self.pad_id = vocabulary.index("[PAD]")
        self._cls_id = vocabulary.index("[CLS]")
        self._sep_id = vocabulary.index("[SEP]")
        self.lower_case = lower_case
        self._strips_accents = lower_case if strip_accents is None else strip_accents
        described = [type(self).__name__, _VERSION, tf_text.__version__, lower_case, vocabulary]
        if self._strips_accents != lower_case:
            described.append({"strip_accents": self._strips_accents})
        self.fingerprint = hashlib.sha256(json.dumps(described).encode("utf-8", "surrogatepass")).hexdigest()
        # Its table takes no control characters. What plain texts cannot hold keeps its place, so that ids stay.
        within_reach = [
            piece if piece.isascii() and piece.isprintable() else f"\ue000{number}"
            for number, piece in enumerate(vocabulary)
        ]
        try:
            self._plain = tf_text.FastWordpieceTokenizer(
                within_reach, token_out_type=tf.int32, max_bytes_per_word=_MAX_CHARACTERS_PER_WORD
            )
            self._word_pieces = tf_text.FastWordpieceTokenizer(
                vocabulary,
                token_out_type=tf.int32,
                no_pretokenization=True,
                # A character takes four bytes at most, and `_split` has seen to the number of characters.
                max_bytes_per_word=4 * _MAX_CHARACTERS_PER_WORD,
            )
        except RuntimeError as error:  # of the operation, upon word-pieces that it cannot look up
            raise InputError(
                f"vocabulary: cannot be used ({error}); use the vocabulary that came with the checkpoint."
            ) from None

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Cuts texts into word-pieces, without special tokens.

        Args:
            texts: Strings [B], in UTF-8; what is not UTF-8 is dropped.

        Returns:
            Ids [B, (n)], int32.
        """
        is_plain = tf.strings.regex_full_match(texts, _PLAIN)
        plain, other = (tf.where(mask)[:, 0] for mask in (is_plain, ~is_plain))
        ids = tf.concat([self._tokenize_plain(tf.gather(texts, plain)), self._tokenize_any(tf.gather(texts, other))], 0)
        return tf.gather(ids, tf.math.invert_permutation(tf.concat([plain, other], 0)))

    def _tokenize_plain(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._plain.tokenize(tf.strings.lower(texts) if self.lower_case else texts)

    def _tokenize_any(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._word_pieces.tokenize(self._split(texts)).merge_dims(1, 2)

    def __call__(self, texts: Sequence[tf.Tensor], max_seq_length: int) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Makes the input of BERT, see `packing.pack_texts`.

        Args:
            texts: One or two tensors of strings [B].
            max_seq_length: Most word-pieces of an input, special tokens included.

        Returns:
            Ids [B, (n)] and segments [B, (n)], both int32.

        Raises:
            InputError: `max_seq_length` has no room for the special tokens.
        """
        ids = [self.tokenize(text) for text in texts]
        return pack_texts(ids, max_seq_length, self._cls_id, self._sep_id, self.truncation)

    def num_special_tokens(self, num_texts: int) -> int:
        """Special tokens of an input of one or two texts."""
        return num_texts + 1

    def generation(self) -> int:
        """Number of the operations that do the work; graphs traced with those of an earlier one do not hold."""
        return 0

    def spelled(self) -> list[tuple[str, bool]]:
        """By id: the text of a word-piece as a reader knows it, and whether a word begins with it."""
        return [(piece.removeprefix("##"), not piece.startswith("##")) for piece in self.pieces]

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalizes texts [B] and splits them into words [B, (n)]."""
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
        texts = replace(texts, _WORD_OF_ITS_OWN, r" \0 ")
        texts = replace(texts, _TOO_LONG, "[UNK]")
        return tf.strings.split(texts)
