"""A few texts on which tokenizers differ, to compare one with the tool that it comes from."""

import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.tokenizers.word_pieces import Tokenizer

# Without what differs for good: see `word_pieces.Tokenizer` and `docs/method.md`.
TEXTS = (
    "",
    "The quick brown fox, jumps!!! over 2 lazy dogs...",
    " Two  blanks\tand\na line ",
    "``quoted'' don't we'll I'M state-of-the-art (e.g. a/b) #tag @name $5.00 50% a_b [x] <y> {z}",
    "naïve café Ångström É Übung ñ",
    "Россия Ёлка ΑΒΓ αβγ",
    "abc中文def 日本語 한국어",
    "UPPER lower Mixed CamelCase iPhone",
    "👍 a👍b — “quoted” ‘it’s’ –",
    "http://www.example.org/a?b=c&d=1",
    "supercalifragilisticexpialidocious 1234567890 3.14159",
    "`^~|=+*&\\;:?",
)


def compare(tokenizer: Tokenizer, ids_of: Callable[[Sequence[str]], Sequence[Sequence[int]]], where: str) -> None:
    """Compares ids of hard texts, without special tokens, with those of another tool.

    Args:
        tokenizer: Ours.
        ids_of: Gives the other tool's ids of texts.
        where: What the other tool read, for the message.

    Raises:
        InputError: The ids of a text differ.
    """
    expected = [list(map(int, ids)) for ids in ids_of(TEXTS)]
    found = tokenizer.tokenize(tf.constant(TEXTS)).to_list()
    for text, ours, theirs in zip(TEXTS, found, expected, strict=True):
        if ours != theirs:
            raise InputError(
                f"{where}: gives the ids {theirs} for {text!r}, which become {ours} here; it has a setting that is "
                "not supported. See docs/compatibility.md."
            )


def compare_with_tokenizers(tokenizer: Tokenizer, path: Path) -> None:
    """Compares a tokenizer with a `tokenizer.json`, where the package `tokenizers` is installed.

    Raises:
        InputError: The ids of a text differ.
    """
    try:
        package = importlib.import_module("tokenizers")
    except ImportError:
        return
    try:
        theirs = package.Tokenizer.from_file(str(path))
    except Exception as error:  # which is all that the package raises
        logging.warning("%s: cannot be read by tokenizers %s (%s).", path, package.__version__, error)
        return
    theirs.no_padding()
    theirs.no_truncation()
    compare(
        tokenizer,
        lambda texts: [one.ids for one in theirs.encode_batch(list(texts), add_special_tokens=False)],
        str(path),
    )
