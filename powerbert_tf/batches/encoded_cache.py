"""Encoded splits on disk, under a hash of everything that token ids depend on.

A split of many millions of tokens stays there: token ids are written chunk after chunk, and each batch is read from
the file, which is a safetensors file: spans `[n * K, 3]` int64, then token ids `[m]`.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from safetensors import SafetensorError, safe_open

from powerbert_tf.batches.encoded_split import EncodedSplit, encode_chunks, join_chunks
from powerbert_tf.common import large_arrays
from powerbert_tf.common.files import remove_unfinished, replacing
from powerbert_tf.data.splits import Split
from powerbert_tf.data.text_columns import in_blocks
from powerbert_tf.tokenizers.word_pieces import Tokenizer

FORMAT = 3  # of the file
_PATTERN = "encoded-{}.safetensors"
MOST_BYTES = 2 * 2**30  # of all files together: GLUE's take 0.2 GiB
_DATA_AT = 1024  # byte where the arrays begin; the header before them is filled up with spaces
_DTYPES = {"U16": "uint16", "I32": "int32", "I64": "int64"}

Arrays = tuple[np.ndarray, np.ndarray]  # token ids and spans


def load_encoded(split: Split, tokenizer: Tokenizer, max_seq_length: int, folder: Path | None) -> EncodedSplit:
    """`encode_split`, once for the same texts, tokenizer and length: later calls read a file.

    A damaged file is made again; a split whose file cannot be written is tokenized each time; both are logged. If the
    files together pass 2 GiB, those that were not used for longest are removed.

    Arrays of more than 64 MiB stay in the file, a temporary one if none is kept, and are read for each batch.

    Args:
        split: Texts; labels are not kept, they come with the split.
        tokenizer: Tokenizer of the texts.
        max_seq_length: N.
        folder: Folder of the files; None to keep nothing.

    Raises:
        OSError: The split is too large for memory, and a temporary file cannot be written.
    """
    key = _key(split, tokenizer, max_seq_length) if folder else ""
    path = folder / _PATTERN.format(key[:16]) if folder else None
    arrays = _read(path, key) if path else None
    if arrays is None:
        num_inputs = len(split) * split.choices
        dtype = "uint16" if len(tokenizer.vocabulary) <= 2**16 else "int32"
        is_small = num_inputs * max_seq_length * np.dtype("int32").itemsize <= large_arrays.MOST_HELD
        chunks: Iterable[Arrays] = encode_chunks(split, tokenizer, max_seq_length)
        if is_small:
            chunks = list(chunks)
        arrays = _keep(path, key, chunks, num_inputs, dtype) if path else None
        if arrays is None and is_small:
            arrays = join_chunks(chunks)
        elif arrays is None:
            with tempfile.TemporaryFile() as file:
                _write(file, key, encode_chunks(split, tokenizer, max_seq_length), num_inputs, dtype)
                arrays = _map(file)
    return EncodedSplit(*arrays, split.labels, tokenizer.pad_id, max_seq_length, split.choices)


def _key(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> str:
    """A hash of everything that the token ids depend on, hexadecimal."""
    rules = [tokenizer.fingerprint, tokenizer.truncation, tokenizer.pair_truncation, tokenizer.tells_segments]
    settings = [FORMAT, *rules, max_seq_length, len(split), split.choices]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for column in split.texts:
        for block in in_blocks(column):
            # Where one text ends and the next begins counts, too.
            digest.update(np.fromiter(map(len, block), "int64", len(block)).data)
            digest.update("".join(block).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(path: Path, key: str) -> Arrays | None:
    """The arrays of a file, or None if they have to be made."""
    try:
        with safe_open(path, framework="numpy") as opened:  # checks that the file is whole
            metadata = opened.metadata() or {}
        if metadata.get("key") != key:
            raise ValueError("it was made from other texts or settings")
        with path.open("rb") as file:
            if metadata.get("sha256") != _checksum(file):
                raise ValueError("its content has changed")
            arrays = _map(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, SafetensorError) as error:
        logging.warning("%s: not usable (%s: %s); tokenizing again.", path, type(error).__name__, error)
        return None
    with contextlib.suppress(OSError):  # the folder may be read-only
        os.utime(path)  # the file was used last now
    return arrays


def _keep(path: Path, key: str, chunks: Iterable[Arrays], num_inputs: int, dtype: str) -> Arrays | None:
    """Writes a file and reads it; None if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as partial, partial.open("w+b") as file:
            _write(file, key, chunks, num_inputs, dtype)
            arrays = _map(file)
        _remove_oldest(path.parent)
        remove_unfinished(path.parent)
    except OSError as error:
        logging.warning("%s: cannot be written (%s); the next run tokenizes again.", path, error)
        return None
    return arrays


def _write(file: Any, key: str, chunks: Iterable[Arrays], num_inputs: int, dtype: str) -> None:
    """Writes a safetensors file of chunks that are made one by one."""
    tokens_at = _DATA_AT + num_inputs * 3 * np.dtype("int64").itemsize
    num_written, end = 0, tokens_at  # inputs, and the byte after the last token
    for token_ids, spans in chunks:
        file.seek(_DATA_AT + num_written * 3 * np.dtype("int64").itemsize)
        file.write((spans + (end - tokens_at) // np.dtype(dtype).itemsize).data)
        file.seek(end)
        file.write(token_ids.astype(dtype).data)
        num_written, end = num_written + len(spans), file.tell()
    names = {dtype: name for name, dtype in _DTYPES.items()}
    borders = [0, tokens_at - _DATA_AT, end - _DATA_AT]
    count = (end - tokens_at) // np.dtype(dtype).itemsize
    header = {
        "spans": {"dtype": "I64", "shape": [num_inputs, 3], "data_offsets": borders[:2]},
        "token_ids": {"dtype": names[dtype], "shape": [count], "data_offsets": borders[1:]},
        "__metadata__": {"key": key, "sha256": _checksum(file)},
    }
    file.seek(0)
    file.write((_DATA_AT - 8).to_bytes(8, "little") + json.dumps(header).encode().ljust(_DATA_AT - 8))
    file.flush()


def _map(file: Any) -> Arrays:
    """Token ids and spans of a file: in memory if they are few, else mapped."""
    file.seek(8)
    header = json.loads(file.read(_DATA_AT - 8))

    def array(name: str) -> np.memmap:
        stored = header[name]
        start = _DATA_AT + stored["data_offsets"][0]
        return np.memmap(file, _DTYPES[stored["dtype"]], "r", start, tuple(stored["shape"]))

    token_ids, spans = array("token_ids"), array("spans")
    if token_ids.nbytes + spans.nbytes > large_arrays.MOST_HELD:
        return token_ids, spans
    return np.array(token_ids), np.array(spans)


def _checksum(file: Any) -> str:
    """SHA-256 of the arrays."""
    file.seek(_DATA_AT)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_oldest(folder: Path) -> None:
    """Removes the files that were not used for longest, until the rest is small enough; the newest one stays."""
    files = [(path, path.stat()) for path in folder.glob(_PATTERN.format("*"))]
    total = 0
    for number, (path, status) in enumerate(sorted(files, key=lambda file: file[1].st_mtime_ns, reverse=True)):
        total += status.st_size
        if number and total > MOST_BYTES:
            path.unlink(missing_ok=True)
