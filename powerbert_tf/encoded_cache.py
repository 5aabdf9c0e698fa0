"""Word-pieces of splits, kept on disk under a hash of everything that they depend on."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from powerbert_tf.batching import EncodedSplit, encode_split
from powerbert_tf.files import remove_unfinished, replacing
from powerbert_tf.tokenization import Tokenizer
from powerbert_tf.tsv import Split

_FORMAT = 1  # of the file
_PATTERN = "encoded-{}.safetensors"
_MOST_BYTES = 2 * 2**30  # of all files together: GLUE's take 0.2 GiB
_ABANDONED = 24 * 3600.0  # seconds without a change, of a file that other processes may be writing
_ARRAYS = ("token_ids", "segment_ids", "lengths")


def load_encoded(split: Split, tokenizer: Tokenizer, max_seq_length: int, folder: Path | None) -> EncodedSplit:
    """`encode_split`, once for the same texts, tokenizer and length: later from a file.

    A file that is damaged is made again, one that cannot be written is done without; both are logged. When the files
    together pass 2 GiB, those that were not used for longest are removed.

    Args:
        split: Texts; labels are not kept, they come with the split.
        tokenizer: Of the texts.
        max_seq_length: N.
        folder: Of the files; None to keep nothing.
    """
    if folder is None:
        return encode_split(split, tokenizer, max_seq_length)
    key = _key(split, tokenizer, max_seq_length)
    path = folder / _PATTERN.format(key[:16])
    arrays = _read(path, key)
    if arrays is None:
        encoded = encode_split(split, tokenizer, max_seq_length)
        _write(path, key, encoded)
        return encoded
    token_ids = tf.RaggedTensor.from_row_lengths(arrays["token_ids"].astype("int32"), arrays["lengths"], validate=False)
    segment_ids = token_ids.with_flat_values(tf.constant(arrays["segment_ids"], tf.int32))
    return EncodedSplit(token_ids, segment_ids, split.labels, tokenizer.pad_id, max_seq_length)


def _key(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> str:
    digest = hashlib.sha256(
        json.dumps([_FORMAT, tokenizer.fingerprint, tokenizer.truncation, max_seq_length, len(split)]).encode()
    )
    for column in split.texts:
        # Where one text ends and the next begins counts, too.
        digest.update(np.fromiter(map(len, column), "int64", len(column)).data)
        digest.update("".join(column).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file, or None where they are to be made."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        if metadata.get("key") != key:
            raise ValueError("it holds for something else")
        if metadata.get("sha256") != _checksum(arrays):
            raise ValueError("its content has changed")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, SafetensorError) as error:
        logging.warning("%s: not usable (%s: %s); tokenizing anew.", path, type(error).__name__, error)
        return None
    with contextlib.suppress(OSError):  # of a folder that can only be read
        os.utime(path)  # used last now
    return arrays


def _write(path: Path, key: str, encoded: EncodedSplit) -> None:
    token_ids = encoded.token_ids.flat_values.numpy()
    # Half the size, for any vocabulary of BERT but the multilingual ones.
    narrow = token_ids.astype("uint16") if token_ids.max(initial=0) < 2**16 else token_ids
    arrays = {
        "token_ids": narrow,
        "segment_ids": encoded.segment_ids.flat_values.numpy().astype("uint8"),
        "lengths": encoded.lengths.astype("int64"),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            save_file(arrays, partial, metadata={"key": key, "sha256": _checksum(arrays)})
        _remove_oldest(path.parent)
        remove_unfinished(path.parent, _ABANDONED)
    except (OSError, SafetensorError) as error:
        logging.warning("%s: cannot be written (%s); the next run tokenizes again.", path, error)


def _remove_oldest(folder: Path) -> None:
    """Removes the files that were not used for longest, until all together are small enough; the newest one stays."""
    files = [(path, path.stat()) for path in folder.glob(_PATTERN.format("*"))]
    total = 0
    for number, (path, status) in enumerate(sorted(files, key=lambda file: file[1].st_mtime_ns, reverse=True)):
        total += status.st_size
        if number and total > _MOST_BYTES:
            path.unlink(missing_ok=True)
