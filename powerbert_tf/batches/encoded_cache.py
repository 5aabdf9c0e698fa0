"""Word-pieces of splits, kept on disk under a hash of everything that they depend on.

A split of many millions of word-pieces stays there: what is tokenized is written, window after window, and each batch
is read from the file.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from absl import logging
from safetensors import SafetensorError, safe_open

from powerbert_tf.batches.batching import EncodedSplit, encode_split
from powerbert_tf.batches.encoded_rows import FileValues, HeldValues, Pieces, Values
from powerbert_tf.common.files import remove_unfinished, replacing
from powerbert_tf.common.scratch import FileReader
from powerbert_tf.data.splits import Split
from powerbert_tf.data.text_columns import in_blocks
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_FORMAT = 2  # of the file
_PATTERN = "encoded-{}.safetensors"
_MOST_BYTES = 2 * 2**30  # of all files together: GLUE's take 0.2 GiB
_MOST_HELD = 1 << 26  # bytes of a split in memory
_WINDOW_ROWS, _WINDOW_CHARACTERS = 1 << 16, 1 << 25  # tokenized at once
_HEADER = 1024  # bytes, filled up with spaces: what it says is known at the end
_COPIED = 1 << 20  # bytes at once
_TYPES = {"token_ids": ("U16", "I32"), "segment_ids": ("U8",), "lengths": ("I32",)}  # in their order in the file
_NUMPY_TYPES = {"U8": "uint8", "U16": "uint16", "I32": "int32"}


def load_encoded(split: Split, tokenizer: Tokenizer, max_seq_length: int, folder: Path | None) -> EncodedSplit:
    """`encode_split`, once for the same texts, tokenizer and length: later from a file.

    A file that is damaged is made again, one that cannot be written is done without; both are logged. When the files
    together pass 2 GiB, those that were not used for longest are removed.

    What has more than 64 MiB of word-pieces is read from the file for each batch; a temporary one, where none is kept.

    Args:
        split: Texts; labels are not kept, they come with the split.
        tokenizer: Of the texts.
        max_seq_length: N.
        folder: Of the files; None to keep nothing.

    Raises:
        OSError: There is more than memory should hold, and no room for a temporary file.
    """
    is_small = len(next(_windows(split), split)) == len(split)
    if folder is not None:
        key = _key(split, tokenizer, max_seq_length)
        path = folder / _PATTERN.format(key[:16])
        pieces = _read(path, key)
        if pieces is None and not is_small:
            pieces = _write(path, key, _encoded_windows(split, tokenizer, max_seq_length), tokenizer)
        if pieces is not None:
            return EncodedSplit(pieces, split.labels, tokenizer.pad_id, max_seq_length, split.choices)
    if is_small:
        encoded = encode_split(split, tokenizer, max_seq_length)
        if folder is not None:
            _write(path, key, iter([encoded]), tokenizer)
        return encoded
    with tempfile.TemporaryFile() as file:
        _write_file(file, "", _encoded_windows(split, tokenizer, max_seq_length), tokenizer)
        pieces = _pieces(FileReader(file.fileno(), "temporary file of word-pieces"), _header(file))
    return EncodedSplit(pieces, split.labels, tokenizer.pad_id, max_seq_length, split.choices)


def _windows(split: Split) -> Iterator[Split]:
    """The texts of a split, some at a time."""
    columns: list[list[str]] = [[] for _ in split.texts]
    characters = 0
    for texts in zip(*split.texts, strict=True):
        for column, text in zip(columns, texts, strict=True):
            column.append(text)
            characters += len(text)
        if len(columns[0]) == _WINDOW_ROWS or characters > _WINDOW_CHARACTERS:
            yield Split(tuple(columns), None, None, choices=split.choices)
            columns, characters = [[] for _ in split.texts], 0
    if columns[0]:
        yield Split(tuple(columns), None, None, choices=split.choices)


def _encoded_windows(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> Iterator[EncodedSplit]:
    return (encode_split(window, tokenizer, max_seq_length) for window in _windows(split))


def _key(split: Split, tokenizer: Tokenizer, max_seq_length: int) -> str:
    digest = hashlib.sha256(
        json.dumps(
            [_FORMAT, tokenizer.fingerprint, tokenizer.truncation, max_seq_length, len(split), split.choices]
        ).encode()
    )
    for column in split.texts:
        for block in in_blocks(column):
            # Where one text ends and the next begins counts, too.
            digest.update(np.fromiter(map(len, block), "int64", len(block)).data)
            digest.update("".join(block).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(path: Path, key: str) -> Pieces | None:
    """The word-pieces of a file, or None where they are to be made."""
    try:
        with safe_open(path, framework="numpy") as file:  # checks that the file is whole
            metadata = file.metadata() or {}
            missing = set(_TYPES) - set(file.keys())
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        if metadata.get("key") != key:
            raise ValueError("it holds for something else")
        with path.open("rb") as file:
            header = _header(file)
            if metadata.get("sha256") != _checksum(file):
                raise ValueError("its content has changed")
            pieces = _pieces(FileReader(file.fileno(), str(path)), header)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, SafetensorError) as error:
        logging.warning("%s: not usable (%s: %s); tokenizing anew.", path, type(error).__name__, error)
        return None
    with contextlib.suppress(OSError):  # of a folder that can only be read
        os.utime(path)  # used last now
    return pieces


def _pieces(file: FileReader, header: dict[str, Any]) -> Pieces:
    """Word-pieces of a file: in memory where they are few."""

    def place(name: str) -> tuple[str, int, int]:
        start, end = header[name]["data_offsets"]
        dtype = _NUMPY_TYPES[header[name]["dtype"]]
        return dtype, (end - start) // np.dtype(dtype).itemsize, header["begins"] + start

    def values(name: str) -> Values:
        dtype, count, offset = place(name)
        if header["ends"] > _MOST_HELD:
            return FileValues(file, dtype, offset)
        return HeldValues(file.read_array(dtype, count, offset))

    return Pieces(values("token_ids"), values("segment_ids"), file.read_array(*place("lengths")))


def _header(file: BinaryIO) -> dict[str, Any]:
    """The header of a safetensors file; and where what follows it `begins` and `ends`."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    return {**header, "begins": 8 + size, "ends": file.seek(0, os.SEEK_END)}


def _checksum(file: BinaryIO) -> str:
    """SHA-256 of what follows the header."""
    file.seek(0)
    file.seek(int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
    digest = hashlib.sha256()
    while block := file.read(_COPIED):
        digest.update(block)
    return digest.hexdigest()


def _write(path: Path, key: str, windows: Iterator[EncodedSplit], tokenizer: Tokenizer) -> Pieces | None:
    """Writes a file, and reads it; None where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as partial, partial.open("w+b") as file:
            _write_file(file, key, windows, tokenizer)
            pieces = _pieces(FileReader(file.fileno(), str(path)), _header(file))
        _remove_oldest(path.parent)
        remove_unfinished(path.parent)
    except OSError as error:
        logging.warning("%s: cannot be written (%s); the next run tokenizes again.", path, error)
        return None
    return pieces


def _write_file(file: Any, key: str, windows: Iterator[EncodedSplit], tokenizer: Tokenizer) -> None:
    """Writes a safetensors file of what is held one window at a time."""
    # Half the size, for any vocabulary of BERT but the multilingual ones.
    types = {name: kinds[0] for name, kinds in _TYPES.items()}
    if len(tokenizer.pieces) > 2**16:
        types["token_ids"] = "I32"
    folder = os.path.dirname(file.name) if isinstance(file.name, str | os.PathLike) else None  # where there is room
    file.seek(8 + _HEADER)
    lengths = []
    with tempfile.TemporaryFile(dir=folder) as segments:
        for window in windows:
            lengths.append(window.pieces.lengths.astype(_NUMPY_TYPES[types["lengths"]]))
            for name, target in (("token_ids", file), ("segment_ids", segments)):
                flat = window.pieces.flat(name, np.arange(len(window.pieces)))
                target.write(flat.astype(_NUMPY_TYPES[types[name]]).data)
        sizes = {"token_ids": file.tell() - 8 - _HEADER, "segment_ids": segments.tell()}
        segments.seek(0)
        shutil.copyfileobj(segments, file, _COPIED)
    num_rows = sum(map(len, lengths))
    for part in lengths:
        file.write(part.data)
    sizes["lengths"] = num_rows * np.dtype(_NUMPY_TYPES[types["lengths"]]).itemsize
    header: dict[str, Any] = {}
    end = 0
    for name, size in sizes.items():
        count = size // np.dtype(_NUMPY_TYPES[types[name]]).itemsize
        header[name] = {"dtype": types[name], "shape": [count], "data_offsets": [end, end + size]}
        end += size
    file.seek(0)
    file.write(_HEADER.to_bytes(8, "little") + b" " * _HEADER)
    file.flush()
    header["__metadata__"] = {"key": key, "sha256": _checksum(file)}
    file.seek(8)
    file.write(json.dumps(header).encode())
    file.flush()


def _remove_oldest(folder: Path) -> None:
    """Removes the files that were not used for longest, until all together are small enough; the newest one stays."""
    files = [(path, path.stat()) for path in folder.glob(_PATTERN.format("*"))]
    total = 0
    for number, (path, status) in enumerate(sorted(files, key=lambda file: file[1].st_mtime_ns, reverse=True)):
        total += status.st_size
        if number and total > _MOST_BYTES:
            path.unlink(missing_ok=True)
