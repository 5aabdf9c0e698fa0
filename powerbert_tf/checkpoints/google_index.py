"""Checks the index of a TF1 checkpoint before TensorFlow reads it.

TensorFlow trusts an index whose checksums are right: an invalid entry aborts the process, or asks for more memory than
any machine has. The file is a LevelDB table. Its keys are names and its values `BundleEntryProto`s, except for the
first, a `BundleHeaderProto` under the empty name.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_FOOTER = 48  # bytes: the handles of two blocks, padding, and the magic number
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # bytes after a block: its compression, and a checksum, which TensorFlow verifies
_LARGEST = 2**26  # bytes of an index; that of BERT-large with its optimizer's state has 80,000
STRING = 7  # TensorFlow's number of the type, whose elements have no fixed size
_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 9: 8, 10: 1, 14: 2, 17: 2, 19: 2, 22: 4, 23: 8}  # per element, by type


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor: TensorFlow's number of its type, and its shape."""

    dtype: int
    shape: tuple[int, ...]


def read_index(path: Path, shards: Sequence[Path]) -> dict[str, Entry]:
    """Reads `<prefix>.index`, and checks each entry against the data files `<prefix>.data-?????-of-?????`, in order.

    Returns:
        Name -> entry.

    Raises:
        OSError: It cannot be read.
        ValueError: The index is damaged or the data incomplete; the message says where.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    if path.stat().st_size > _LARGEST:
        raise ValueError(f"an index of {path.stat().st_size} bytes")
    sizes = [shard.stat().st_size for shard in shards]
    rows = _table(path.read_bytes())
    try:
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(rows.pop(b"", b""))
        if header.num_shards != len(shards) or header.endianness != header.LITTLE:
            raise ValueError(f"a header of {header.num_shards} files of data, endianness {header.endianness}")
        found = {}
        for key, value in rows.items():
            name = key.decode("utf-8")
            entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
            found[name] = _checked(name, entry, sizes)
    except DecodeError as error:
        raise ValueError(f"an entry that cannot be read ({error})") from None
    return found


def _checked(name: str, entry, sizes: Sequence[int]) -> Entry:
    if entry.slices:
        raise ValueError(f"{name} is stored in slices; expected whole tensors")
    shape = tuple(dimension.size for dimension in entry.shape.dim)
    if entry.shape.unknown_rank or any(dimension < 0 for dimension in shape):
        raise ValueError(f"{name} has the shape {shape}")
    if not 0 <= entry.shard_id < len(sizes) or entry.offset < 0 or entry.size < 0:
        raise ValueError(f"{name} is {entry.size} bytes from {entry.offset} on in file {entry.shard_id}")
    if entry.offset + entry.size > sizes[entry.shard_id]:
        raise ValueError(f"{name} ends behind the end of the data")
    if entry.dtype != STRING:
        if entry.dtype not in _BYTES:
            raise ValueError(f"{name} has the type {entry.dtype}")
        if math.prod(shape) * _BYTES[entry.dtype] != entry.size:
            raise ValueError(f"{name} has the shape {shape} and {entry.size} bytes")
    return Entry(entry.dtype, shape)


def _table(content: bytes) -> dict[bytes, bytes]:
    """Keys and values of a LevelDB table."""
    if len(content) < _FOOTER or not content.endswith(_MAGIC):
        raise ValueError("no end of a table")
    place = len(content) - _FOOTER
    handles = []
    for _ in range(2):
        first, place = _varint(content, place)
        size, place = _varint(content, place)
        handles.append((first, size))
    of_metadata, of_data = handles
    list(_block(content, *of_metadata))
    rows: dict[bytes, bytes] = {}
    last = None
    for _, handle in _block(content, *of_data):
        first, place = _varint(handle, 0)
        size, _ = _varint(handle, place)
        for key, value in _block(content, first, size):
            if last is not None and key <= last:
                raise ValueError("names that are not in order")
            rows[key] = value
            last = key
    return rows


def _block(content: bytes, first: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    if first + size + _TRAILER > len(content) - _FOOTER:
        raise ValueError("a block behind the end")
    if content[first + size] != 0:
        raise ValueError("a block that is compressed")
    block = content[first : first + size]
    end = size - 4
    if end < 0:
        raise ValueError("an empty block")
    (count,) = struct.unpack_from("<I", block, end)
    end -= 4 * count
    if end < 0 or not count:
        raise ValueError("a block without its beginnings")
    # A key shares its beginning with the key before. These are the keys that are whole, at which a search begins.
    beginnings = struct.unpack_from(f"<{count}I", block, end)
    whole = set()
    key, place = b"", 0
    while place < end:
        began = place
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or place + own + length > end:
            raise ValueError("an entry behind the end of its block")
        if not shared:
            whole.add(began)
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length
    if not (set(beginnings) <= whole or (end == 0 and beginnings == (0,))):
        raise ValueError("a block with wrong beginnings")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number, and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number without an end")
