"""Texts to the inputs of a model that takes ids, without Keras: by Hugging Face `tokenizers`, or by our own tokenizer.

Our own is a small SavedModel. `tokenizer_files` writes both, and says which of them is right.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.export.loading import ID_INPUTS, load_signatures

TOKENIZERS, OURS = "tokenizers", "tensorflow-text"  # the package that tokenizes
TOKENIZE = "tokenize"  # signature of ours
LONGEST_FIRST, ROUND_ROBIN = "longest_first", "round_robin"  # as in `Checkpoint.pair_truncation`

Columns = Sequence[Sequence[str]]  # as many texts in each: one or two columns, or those of multiple choice
Encode = Callable[[Columns], dict[str, np.ndarray]]  # -> the three inputs, int32 `[B, T]`, T of the longest


def load_encoder(kind: str, path: Path, max_seq_length: int, pair_truncation: str, pad_id: int) -> Encode:
    """Loads a tokenizer from its file, or from the folder of ours.

    Args:
        kind: `TOKENIZERS` or `OURS`.
        path: The file, or the folder.
        max_seq_length: N.
        pair_truncation: Which of two texts that are too long is cut.
        pad_id: Id of padding.
    """
    if kind == TOKENIZERS:
        from tokenizers import Tokenizer

        return encoder_of(Tokenizer.from_file(str(path)), max_seq_length, pair_truncation, pad_id)
    import tensorflow as tf

    tokenize = load_signatures(path)[TOKENIZE]

    def encode(columns: Columns) -> dict[str, np.ndarray]:
        texts = {f"text_{number}": tf.constant(list(column)) for number, column in enumerate(columns)}
        return {name: values.numpy() for name, values in tokenize(**texts).items()}

    return encode


def encoder_of(tokenizer: Any, max_seq_length: int, pair_truncation: str, pad_id: int) -> Encode:
    """The same of a `tokenizers.Tokenizer`, which it changes."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # [SEP] that is spelled out in a text is text
    by_halves = pair_truncation == ROUND_ROBIN  # which `tokenizers` lacks

    def encode_pair(first: str, second: str) -> Any:
        one, other = (tokenizer.encode(text, add_special_tokens=False) for text in (first, second))
        room = max_seq_length - tokenizer.num_special_tokens_to_add(is_pair=True)
        other.truncate(min(len(other), max(room - len(one), room // 2)))
        one.truncate(min(len(one), room - len(other)))
        return tokenizer.post_process(one, other)

    def encode(columns: Columns) -> dict[str, np.ndarray]:
        if len(columns) == 2 and by_halves:
            rows = [encode_pair(*texts) for texts in zip(*columns, strict=True)]
        else:
            tokenizer.enable_truncation(max_seq_length, strategy=LONGEST_FIRST)
            rows = tokenizer.encode_batch_fast(list(zip(*columns, strict=True) if len(columns) == 2 else columns[0]))
        return pad([row.ids for row in rows], [row.type_ids for row in rows], pad_id)

    return encode


def pad(ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]], pad_id: int) -> dict[str, np.ndarray]:
    """Inputs of a model, padded to the longest row."""
    lengths = np.array([len(row) for row in ids])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    token_ids, segment_ids = np.full(is_token.shape, pad_id, "int32"), np.zeros(is_token.shape, "int32")
    token_ids[is_token] = np.concatenate(ids)
    segment_ids[is_token] = np.concatenate(segments)
    return dict(zip(ID_INPUTS, (token_ids, segment_ids, is_token.astype("int32")), strict=True))
