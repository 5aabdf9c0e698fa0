"""Reads the lines of a file, compressed or not, as bytes and in constant memory."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow

from powerbert_tf.common.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STANDARD_INPUT = "-"  # in place of a path
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_LONGEST_LINE = 1 << 28  # bytes; a file without line ends is no table


def _open_zst(file: BinaryIO) -> BinaryIO:
    return io.BufferedReader(cast(Any, pyarrow.input_stream(file, compression="zstd")))  # adds readline


COMPRESSIONS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}


class Meter:
    """Measures how much of a file has been read, in bytes on the disk, compressed or not; 0 for standard input."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._at = 0

    def follow(self, file: BinaryIO) -> None:
        """Reads the position of `file` from now on, as long as it is open."""
        self._file = file if file.seekable() else None

    def move_to(self, position: int) -> None:
        """Sets the position in a file that is not read from one end to the other."""
        self._at = position

    @property
    def read_bytes(self) -> int:
        if self._file is not None and not self._file.closed:
            self._at = self._file.tell()
        return self._at


def read_lines(path: str, compression: str = "", meter: Meter | None = None) -> Iterator[tuple[int, bytes]]:
    r"""Yields lines with their numbers, from 1, each with its `\n`; the first one without its byte-order mark.

    Args:
        path: The file, or `STANDARD_INPUT`.
        compression: Suffix in `COMPRESSIONS`, or empty.
        meter: Follows the file.

    Raises:
        InputError: The file cannot be opened, is damaged, is UTF-16, or has a line of more than 256 MiB.
    """
    number = 0
    try:
        with contextlib.ExitStack() as closing:
            # A copy of standard input, so that closing it leaves the process its own.
            file: Any = closing.enter_context(open(os.dup(0) if path == STANDARD_INPUT else path, "rb"))
            if meter:
                meter.follow(file)
            if compression:
                file = closing.enter_context(COMPRESSIONS[compression](file))
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if number == 1:
                    for mark, name in _WIDE.items():
                        if line.startswith(mark):
                            raise InputError(
                                f"{path}:1: begins with the byte-order mark of {name}; convert the file to UTF-8."
                            )
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if len(line) >= _LONGEST_LINE:
                    raise InputError(f"{path}:{number}: a line of more than {_LONGEST_LINE >> 20} MiB; no table.")
                if line:
                    yield number, line
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        where = f"{path}:{number + 1}" if number or compression else path
        damaged = "; damaged, or not compressed as its name says?" if compression else ""
        raise InputError(f"{where}: cannot be read ({reason}){damaged}") from None
