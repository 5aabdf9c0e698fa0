"""The text of a file, compressed or not, in any encoding and in constant memory."""

import bz2
import codecs
import contextlib
import functools
import gzip
import io
import itertools
import lzma
import os
import re
import string
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.data.tables.rows import ENCODING, Meter

STANDARD_INPUT = "-"  # in place of a path
WESTERN = "cp1252"  # what Excel writes on Windows; Latin-1 with quotes, dashes and the euro sign
_MARKS = {
    codecs.BOM_UTF8: ENCODING,
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that is no text, as `surrogateescape` spells it
_MOST_FOREIGN = 0.3  # of the letters of a Western language
_LONGEST_LINE = 1 << 28  # characters; a file without line ends is no table
_PIECE = 1 << 16
_SAMPLE, _MOST_SAMPLES = 1 << 20, 64  # bytes that are read to find the encoding, and how often


def _open_zst(file: BinaryIO) -> Any:
    return io.BufferedReader(pyarrow.input_stream(file, compression="zstd"))  # adds `read1`


def _open_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise ValueError(f"holds {', '.join(names[:5]) or 'nothing'}; expected one file, so unpack it")
    return archive.open(names[0])


COMPRESSIONS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
    ".zip": _open_zip,
}
_DAMAGES = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def zipped_name(path: str) -> str:
    """Returns the name of the only file in a `.zip`; it is an InputError if there is none, or several."""
    try:
        with open(path, "rb") as file, _open_zip(file) as inner:
            return inner.name
    except _DAMAGES as error:
        raise _unreadable(path, error, ".") from None


def _unreadable(place: str, error: Exception, hint: str) -> InputError:
    return InputError(f"{place}: cannot be read ({getattr(error, 'strerror', None) or first_line(error)}){hint}")


class Text(Meter):
    """The text of a file; bytes that are not in its encoding are spelled as Python's `surrogateescape` does.

    Args:
        path: The file, or `STANDARD_INPUT`.
        compression: Suffix in `COMPRESSIONS`, or empty.
        encoding: Empty to find it: UTF-8 or what a byte-order mark says, else Windows' code page of Western languages
            if the file looks like it. The attribute `encoding` says what was found.

    Raises:
        InputError: The file cannot be read or is damaged, or its encoding cannot be found; so do the methods.
    """

    def __init__(self, path: str, compression: str = "", encoding: str = ""):
        super().__init__()
        self.path, self._start, self._line = path, "", 0
        self._hint = "; damaged, or not compressed as its name says?" if compression else ""
        decompress = COMPRESSIONS.get(compression, contextlib.nullcontext)
        closing, is_piped = contextlib.ExitStack(), path == STANDARD_INPUT
        weakref.finalize(self, closing.close)
        with self._naming_errors():
            # A copy of standard input, so that closing it leaves the process its own.
            file: Any = open(os.dup(0) if is_piped else path, "rb", _PIECE)  # noqa: SIM115
            self._file = closing.enter_context(file)
            self.encoding = encoding or _encoding_of(file.peek() if is_piped else _sample(path, decompress), path)
            content = closing.enter_context(decompress(file))
            self._stream = io.TextIOWrapper(content, self.encoding, "surrogateescape", newline="\n")
            self._start = closing.enter_context(self._stream).read(1).removeprefix("\ufeff")

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except UnicodeError as error:
            reason = f"cannot be read as {self.encoding} ({error}); pass another --encoding"
            raise InputError(f"{self.path}:{self._line + 1}: {reason}.") from None
        except _DAMAGES as error:
            place = f"{self.path}:{self._line + 1}" if self._line or self._hint else self.path
            raise _unreadable(place, error, self._hint) from None

    @property
    def read_bytes(self) -> int:
        return self._file.tell() if self._file.seekable() else 0

    def read(self, size: int = -1) -> str:
        """Reads on: so many characters, or one more; by default all of them."""
        with self._naming_errors():
            piece, self._start = self._start + self._stream.read(size), ""
            self._line += piece.count("\n")
            return piece

    def peek(self) -> str:
        """Returns the next 64 Ki characters, which will be read once more."""
        self._start = self.read(_PIECE)
        return self._start

    def lines(self) -> Iterator[tuple[int, str]]:
        r"""Yields lines with their numbers, from 1, each with its `\n`; none may have more than 256 Mi characters."""
        readline = functools.partial(self._stream.readline, _LONGEST_LINE)
        with self._naming_errors():
            first = io.StringIO(self._start + readline(), newline="\n")
            for self._line, line in enumerate(itertools.chain(first, iter(readline, "")), start=1):
                if len(line) >= _LONGEST_LINE:
                    most = f"{_LONGEST_LINE >> 20} Mi characters"
                    raise InputError(f"{self.path}:{self._line}: a line of more than {most}; no table.")
                yield self._line, line


def _sample(path: str, decompress: Callable[[BinaryIO], Any]) -> bytes:
    """Returns the first block with more than ASCII, on which all encodings in question agree; empty without one."""
    with contextlib.suppress(*_DAMAGES), open(path, "rb") as file, decompress(file) as content:  # named later
        blocks = itertools.islice(iter(functools.partial(content.read, _SAMPLE), b""), _MOST_SAMPLES)
        return next((block for block in blocks if not block.isascii() or b"\0" in block), b"")
    return b""


def _encoding_of(sample: bytes, path: str) -> str:
    marked = [name for mark, name in _MARKS.items() if sample.startswith(mark)]
    if marked:
        return marked[0]
    first, second = (part.count(0) / (len(part) or 1) for part in (sample[::2], sample[1::2]))
    if max(first, second) > 0.4 and min(first, second) <= 0.01:  # letters of two bytes, without a mark
        return "utf-16-be" if first > second else "utf-16-le"
    foreign = len(sample.translate(None, bytes(range(128))))
    decoder = codecs.getincrementaldecoder(ENCODING)("surrogateescape")  # leaves a character that the end cuts
    if foreign > 2 * len(_ESCAPED.findall(decoder.decode(sample))) or not foreign:
        return ENCODING  # most are UTF-8; a row with another byte is named
    letters = len(sample) - len(sample.translate(None, string.ascii_letters.encode()))
    is_western = len(sample.decode(WESTERN, "ignore")) == len(sample)
    if not is_western or foreign > _MOST_FOREIGN * (letters + foreign):
        raise InputError(
            f"{path}: not UTF-8, and does not look like a Western language in {WESTERN}; pass its --encoding, such as "
            "cp1251, shift_jis or gb18030."
        )
    return WESTERN
