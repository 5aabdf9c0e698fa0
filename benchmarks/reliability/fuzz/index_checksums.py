"""Makes the checksums of a changed checkpoint index right again, so that TensorFlow believes the changes."""

import itertools
import struct
from collections.abc import Iterator

_FOOTER = 48
_TRAILER = 5  # of a block: its type and its checksum


def _table() -> list[int]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
        values.append(value)
    return values


_TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """CRC-32C, rotated and offset as in tables of LevelDB."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def blocks_of(index: bytes) -> list[tuple[int, int]]:
    """Returns the first byte and the byte after the last of each block of a sound table."""
    footer = index[-_FOOTER:]
    numbers = _varints(footer)
    handles = [(next(numbers), next(numbers)) for _ in range(2)]  # of the index of metadata, and of the index of data
    first, size = handles[1]
    content, place = index[first : first + size], 0
    (restarts,) = struct.unpack("<I", content[-4:])
    while place < len(content) - 4 * (restarts + 1):
        # Bytes of the key that are those of the key before, its other bytes, and bytes of the value.
        _, own, length = entry = list(itertools.islice(_varints(content[place:]), 3))
        place += own + sum(max(1, -(-number.bit_length() // 7)) for number in entry)
        of_data = _varints(content[place : place + length])
        handles.append((next(of_data), next(of_data)))
        place += length
    return [(first, first + size) for first, size in handles]


def with_checksums(index: bytes, blocks: list[tuple[int, int]]) -> bytes:
    """Returns the same bytes; each block has the checksum of its present content."""
    changed = bytearray(index)
    for first, last in blocks:
        checksum = masked_crc32c(bytes(changed[first : last + 1]))
        changed[last + 1 : last + _TRAILER] = struct.pack("<I", checksum)
    return bytes(changed)


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
