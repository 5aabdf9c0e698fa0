"""Writes the tokenizer of forms that take ids: for `tokenizers` where it gives our ids, else our own graph."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from powerbert_tf.data.tasks import Task
from powerbert_tf.export.deployment.texts import (
    LONGEST_FIRST,
    OURS,
    ROUND_ROBIN,
    TOKENIZE,
    TOKENIZERS,
    Columns,
    Encode,
    encoder_of,
)
from powerbert_tf.export.loading import ID_INPUTS
from powerbert_tf.export.signatures import tokenize_function
from powerbert_tf.models.architectures import WORD_PIECES
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_WHOLE_FILE, _FOLDER = "tokenizer.json", "tokenizer"
_COMPARED_AT_ONCE = 64  # rows


def write_tokenizer(
    tokenizer: Tokenizer, task: Task, max_seq_length: int, columns: Columns, folder: Path
) -> tuple[str, str]:
    """Writes a tokenizer.

    Args:
        tokenizer: Ours.
        task: Task on single texts or pairs.
        max_seq_length: N.
        columns: Texts for which `tokenizers` must give the same ids and segments.
        folder: Where to write.

    Returns:
        The package that tokenizes, `TOKENIZERS` or `OURS`; and the name of the file or folder.
    """
    ours = _graph(tokenizer, task, max_seq_length)
    theirs = _hugging_face(tokenizer) if importlib.util.find_spec("tokenizers") else None
    cuts_alike = tokenizer.truncation == "head" and tokenizer.pair_truncation in (ROUND_ROBIN, LONGEST_FIRST)
    if theirs is not None and cuts_alike:
        encode = encoder_of(theirs, max_seq_length, tokenizer.pair_truncation, tokenizer.pad_id)
        if _are_alike(encode, ours, columns):
            theirs.no_truncation()
            theirs.save(str(folder / _WHOLE_FILE))
            return TOKENIZERS, _WHOLE_FILE
    module = tf.Module(name="tokenizer")
    module.vocabulary = [tf.saved_model.Asset(str(path)) for path in tokenizer.files]
    module.tokenizer = tokenizer  # keeps its look-up tables
    tf.saved_model.save(module, str(folder / _FOLDER), signatures={TOKENIZE: ours})
    return OURS, _FOLDER


def _graph(tokenizer: Tokenizer, task: Task, max_seq_length: int) -> Any:
    tokenize = tokenize_function(tokenizer, task, max_seq_length)
    specs = [tf.TensorSpec([None], tf.string, name=f"text_{number}") for number in range(1 + task.is_pair)]

    @tf.function(input_signature=specs, autograph=False)
    def named(*texts):
        return dict(zip(ID_INPUTS, tokenize(*texts), strict=True))

    return named


def _hugging_face(tokenizer: Tokenizer) -> Any:
    """The tokenizer of `tokenizers` that the checkpoint came with, or else the one of its vocabulary; None if none."""
    import tokenizers

    whole = tokenizer.files[0].parent / _WHOLE_FILE if tokenizer.files else None
    try:
        if whole is not None and whole.is_file():
            return tokenizers.Tokenizer.from_file(str(whole))
        if tokenizer.kind == WORD_PIECES:
            ids = {token: number for number, token in enumerate(tokenizer.vocabulary)}
            own = tokenizers.BertWordPieceTokenizer(ids, lowercase=tokenizer.lower_case)
            return tokenizers.Tokenizer.from_str(own.to_str())
    except Exception:  # which is all that the package raises; ours is left
        pass
    return None


def _are_alike(encode: Encode, ours: Any, columns: Columns) -> bool:
    for start in range(0, len(columns[0]), _COMPARED_AT_ONCE):
        some = [list(column[start : start + _COMPARED_AT_ONCE]) for column in columns]
        expected = ours(*map(tf.constant, some))
        try:
            found = encode(some)
        except Exception:  # of half of a surrogate pair, for example
            return False
        if not all(np.array_equal(found[name], expected[name]) for name in ID_INPUTS):
            return False
    return True
