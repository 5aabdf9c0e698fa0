"""Reads the text of a file, compressed or not, in any encoding and in constant memory."""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import string
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Generic, TypeVar, cast

import pyarrow

from powerbert_tf.common.errors import InputError

STANDARD_INPUT = "-"  # in place of a path
ENCODING = "utf-8"
WESTERN = "cp1252"  # what Excel writes on Windows; Latin-1 with quotes, dashes and the euro sign
_MARKS = {
    codecs.BOM_UTF8: ENCODING,
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WITHOUT_MARK = {0: "utf-16-be", 1: "utf-16-le"}  # where every other byte is 0, by the place of the zeros
_ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that is no text, as `surrogateescape` spells it
_MOST_FOREIGN = 0.3  # of the letters of a Western language
_LONGEST_LINE = 1 << 28  # characters; a file without line ends is no table
_PIECE = 1 << 16
_MOST_SEARCHED = 1 << 26  # bytes, for the first that is not ASCII

T = TypeVar("T")


def _open_zst(file: BinaryIO) -> BinaryIO:
    return io.BufferedReader(cast(Any, pyarrow.input_stream(file, compression="zstd")))  # adds readline


def zipped_name(file: BinaryIO | str) -> str:
    """Returns the name of the only file in a `.zip`.

    Raises:
        ValueError: There is none, or there are several.
        zipfile.BadZipFile: It is no `.zip`.
        OSError: It cannot be read.
    """
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise ValueError(f"holds {', '.join(names[:5]) or 'nothing'}; expected one file, so unpack it")
    return names[0]


def _open_zip(file: BinaryIO) -> Any:
    return zipfile.ZipFile(file).open(zipped_name(file))


COMPRESSIONS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
    ".zip": _open_zip,
}
_DAMAGES = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


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


class Pushback(Iterator[T], Generic[T]):
    """An iterator whose items can be given back to be taken again."""

    def __init__(self, items: Iterable[T]):
        self._items = iter(items)
        self._given_back: deque[T] = deque()

    def __next__(self) -> T:
        return self._given_back.popleft() if self._given_back else next(self._items)

    def give_back(self, items: list[T]) -> None:
        """Puts items, in their order, in front of those to come."""
        self._given_back.extendleft(reversed(items))


def is_encoding(name: str) -> bool:
    """Whether Python knows an encoding of text of this name."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


class Text:
    """The text of a file.

    Attributes:
        path: The file, or `STANDARD_INPUT`.
        encoding: The encoding, given or found. It is UTF-8 or what a byte-order mark says, else Windows' code page of
            Western languages if the file looks like it.
        meter: Follows the file.

    Args:
        path: The file, or `STANDARD_INPUT`.
        compression: Suffix in `COMPRESSIONS`, or empty.
        encoding: Empty to find it.

    Raises:
        InputError: Standard input is closed, or the encoding of a file cannot be found.
    """

    def __init__(self, path: str, compression: str = "", encoding: str = ""):
        self.path = path
        self.meter = Meter()
        self._compression = compression
        self._file: Any = None
        if path == STANDARD_INPUT:
            # A copy of standard input, so that closing it leaves the process its own.
            try:
                self._file = open(os.dup(0), "rb", buffering=_PIECE)  # noqa: SIM115 - `pieces` closes it
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
        self.encoding = encoding or self._find_encoding()

    def _open(self, closing: contextlib.ExitStack) -> Any:
        file: Any = closing.enter_context(self._file or open(self.path, "rb"))  # noqa: SIM115
        self.meter.follow(file)
        return closing.enter_context(COMPRESSIONS[self._compression](file)) if self._compression else file

    def _find_encoding(self) -> str:
        if self._file is not None:
            return _encoding_of(self._file.peek(), self.path)
        sample = b""
        try:
            with contextlib.ExitStack() as closing:
                file, searched = self._open(closing), 0
                # All encodings in question agree on ASCII.
                while (sample := file.read(1 << 20)) and sample.isascii() and b"\0" not in sample:
                    searched += len(sample)
                    if searched > _MOST_SEARCHED:
                        break
        except _DAMAGES:
            pass  # reading will say so, with the line
        return _encoding_of(sample, self.path)

    def pieces(self) -> Iterator[str]:
        """Yields the text in pieces.

        Bytes that are not in the encoding are spelled as Python's `surrogateescape` does.

        Raises:
            InputError: The file is damaged.
        """
        number = 0
        try:
            with contextlib.ExitStack() as closing:
                text = io.TextIOWrapper(self._open(closing), self.encoding, "surrogateescape", newline="\n")
                closing.enter_context(text)
                piece = text.read(_PIECE).removeprefix("\ufeff")
                while piece:
                    number += piece.count("\n")
                    yield piece
                    piece = text.read(_PIECE)
        except UnicodeError as error:
            raise InputError(
                f"{self.path}:{number + 1}: cannot be read as {self.encoding} ({error}); pass another --encoding."
            ) from None
        except _DAMAGES as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            where = f"{self.path}:{number + 1}" if number or self._compression else self.path
            damaged = "; damaged, or not compressed as its name says?" if self._compression else ""
            raise InputError(f"{where}: cannot be read ({reason}){damaged}") from None

    def lines(self) -> Iterator[tuple[int, str]]:
        r"""Yields lines with their numbers, from 1, each with its `\n`.

        Raises:
            InputError: The file is damaged, or has a line of more than 256 Mi characters.
        """
        return number_lines(self.pieces(), self.path)


def number_lines(pieces: Iterable[str], path: str) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a text that comes in pieces, with their numbers, from 1, each with its `\n`.

    Raises:
        InputError: A line has more than 256 Mi characters.
    """
    parts: list[str] = []
    number, length = 1, 0
    for piece in pieces:
        for line in io.StringIO(piece, newline="\n"):
            if parts or not line.endswith("\n"):
                parts.append(line)
                length += len(line)
                if length >= _LONGEST_LINE:
                    most = f"{_LONGEST_LINE >> 20} Mi characters"
                    raise InputError(f"{path}:{number}: a line of more than {most}; no table.")
                if not line.endswith("\n"):
                    continue
                line, parts, length = "".join(parts), [], 0
            yield number, line
            number += 1
    if parts:
        yield number, "".join(parts)


def _encoding_of(sample: bytes, path: str) -> str:
    for mark, name in _MARKS.items():
        if sample.startswith(mark):
            return name
    pairs = len(sample) // 2
    for place, name in _WITHOUT_MARK.items():
        if sample[place::2].count(0) > 0.4 * pairs and sample[1 - place :: 2].count(0) <= 0.01 * pairs:
            return name
    if sample.isascii():
        return ENCODING
    decoder = codecs.getincrementaldecoder(ENCODING)("surrogateescape")
    invalid = len(_ESCAPED.findall(decoder.decode(sample)))  # without a character that the end of the sample cuts
    foreign = len(sample.translate(None, bytes(range(128))))
    if foreign > 2 * invalid:  # most are UTF-8; a row with another byte is named
        return ENCODING
    letters = len(sample) - len(sample.translate(None, string.ascii_letters.encode()))
    try:
        sample.decode(WESTERN)
    except UnicodeDecodeError:
        letters = 0
    if foreign > _MOST_FOREIGN * (letters + foreign):
        raise InputError(
            f"{path}: not UTF-8, and does not look like a Western language in {WESTERN}; pass its --encoding, such as "
            "cp1251, shift_jis or gb18030."
        )
    return WESTERN
