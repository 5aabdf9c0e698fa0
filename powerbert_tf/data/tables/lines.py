"""Lines of a file, compressed or not, as bytes; in constant memory."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from powerbert_tf.common.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STANDARD_INPUT = "-"  # in place of a path
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_LONGEST_LINE = 1 << 28  # bytes; a file without line ends is no table


def _open_zst(file: BinaryIO) -> BinaryIO:
    import pyarrow

    # Its own files have no lines.
    return io.BufferedReader(cast(Any, pyarrow.input_stream(file, compression="zstd")))


COMPRESSIONS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}


class Meter:
    """How much of a file has been read, in bytes as they are on the disk, compressed or not; 0 of what is no file."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._at = 0

    def follow(self, file: BinaryIO) -> None:
        """Reads the position of `file` from now on, as long as it is open."""
        self._file = file if file.seekable() else None

    def move_to(self, position: int) -> None:
        """Tells the position of a file that is not read from one end to the other."""
        self._at = position

    @property
    def read_bytes(self) -> int:
        if self._file is not None and not self._file.closed:
            self._at = self._file.tell()
        return self._at


def read_lines(path: str, compression: str = "", meter: Meter | None = None) -> Iterator[tuple[int, bytes]]:
    r"""Lines with their numbers, from 1, each with its `\n`; the byte-order mark is taken off the first one.

    Args:
        path: The file, or `STANDARD_INPUT`.
        compression: Suffix in `COMPRESSIONS`, or empty.
        meter: Is told what is read.

    Raises:
        InputError: The file cannot be opened, is damaged, is UTF-16, or has a line of more than 256 MB.
    """
    number = 0
    meter = meter or Meter()
    try:
        with contextlib.ExitStack() as closing:
            file: Any = closing.enter_context(_open(path))
            meter.follow(file)
            if compression:
                file = closing.enter_context(COMPRESSIONS[compression](file))
            while line := _next_line(file):
                number += 1
                if number == 1:
                    _require_utf_8(path, line)
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


def _open(path: str) -> BinaryIO:
    if path == STANDARD_INPUT:
        return open(os.dup(0), "rb")  # a copy, so that closing it leaves the process its own
    return open(path, "rb")


def _next_line(file: Any) -> bytes:
    return file.readline(_LONGEST_LINE)


def _require_utf_8(path: str, first: bytes) -> None:
    for mark, name in _WIDE.items():
        if first.startswith(mark):
            raise InputError(f"{path}:1: begins with the byte-order mark of {name}; convert the file to UTF-8.")
