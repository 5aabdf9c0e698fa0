"""Changes that make inputs wrong as real files are: cut, flipped, doubled, swapped, with unlikely numbers."""

import copy
import json
import random
import re
import struct
from collections.abc import Sequence
from typing import Any

# Numbers as they are written: the edges of what computers count with, and what is none.
_NUMBERS = (
    "0", "-0.0", "-1", "1", "2", "0.5", "1e-320", "255", "256", "65536", "2147483647", "2147483648", "-2147483649",
    "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e12", "1e308", "-1e308",
    "1e999", "NaN", "Infinity", "-Infinity", "1" + 400 * "0", "9" * 5000, "0x10", "1_000", "٣", "1,5", "1e", "--1",
)  # fmt: skip
_NEW_VALUES = ("null", "true", "false", '""', "[]", "{}", '"a"', "[[]]", '{"a": 1}', '"\\u0000"', '"\\ud800"', '"1"')
_BYTES = (b"", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\t", b"\xe2\x80\xa8", b'"')
_DEPTHS = (10, 90, 600, 1000, 100_000)
_SPAN = 64  # bytes, mostly
_LONG = 2**16
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def mutate_bytes(data: bytes, draw: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """Makes one to four changes of a file; `words` are what its format knows, to be put anywhere."""
    for _ in range(draw.randint(1, 4)):
        data = _change(draw.choice(_CHANGES), data, draw, words)
    return data


def overwrite_bytes(data: bytes, draw: random.Random, first: int, last: int) -> bytes:
    """Makes one to four changes of bytes `first` to `last` that keep the length."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(first, last)
        kind = draw.randrange(4)
        if kind == 0:
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:  # a long varint, or a large number of a fixed size
            length = min(draw.choice((2, 4, 8, 9)), last - place)
            changed[place : place + length] = (length - 1) * b"\xff" + draw.choice((b"\x00", b"\x01", b"\x7f"))
        else:
            length = min(draw.randint(1, 16), last - place)
            source = draw.randrange(first, last - length + 1)
            changed[place : place + length] = changed[source : source + length]
    return bytes(changed)


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    first = draw.randint(0, len(data))
    longest = _SPAN if draw.random() < 0.8 else len(data)
    return first, min(len(data), first + draw.randint(0, longest))


_CHANGES = (
    *("flip", "flip", "truncate", "behead", "delete", "double", "swap"),
    *("put", "put", "number", "number", "nest", "empty"),
)


def _change(kind: str, data: bytes, draw: random.Random, words: Sequence[bytes]) -> bytes:
    """One of `_CHANGES`."""
    if kind == "flip" and data:
        place = draw.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
    if kind == "truncate":
        return data[: draw.randint(0, len(data))]
    if kind == "behead":
        return data[draw.randint(0, min(len(data), _SPAN)) :]
    if kind == "delete":
        first, last = _span(data, draw)
        return data[:first] + data[last:]
    if kind == "double":
        first, last = _span(data, draw)
        times = draw.choice((2, 2, 2, 3, 100))
        return data[:first] + data[first:last] * min(times, max(2, _LONG // max(1, last - first))) + data[last:]
    if kind == "swap":
        (a, b), (c, d) = sorted((_span(data, draw), _span(data, draw)))
        return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data
    if kind == "put":
        first, last = _span(data, draw)
        new = draw.choice(words) if words and draw.random() < 0.5 else draw.choice(_BYTES)
        return data[:first] + new + data[last if draw.random() < 0.5 else first :]
    if kind == "number" and (found := list(_NUMBER.finditer(data[: 2**20]))):
        one = draw.choice(found)
        return data[: one.start()] + draw.choice(_NUMBERS).encode() + data[one.end() :]
    if kind == "nest":
        place, depth = draw.randint(0, len(data)), draw.choice(_DEPTHS)
        return data[:place] + draw.choice((b"[", b'{"a":', b"(")) * depth + data[place:]
    if kind == "empty" and draw.random() < 0.2:
        return draw.choice((b"", b"\n", b" ", b"null", b"{}", b"[]", b"\xff\xfe"))
    return data


class _Raw:
    """A value in a spelling that no Python value has."""

    def __init__(self, text: str):
        self.text = text


def mutate_json(value: Any, draw: random.Random, words: Sequence[str] = ()) -> bytes:
    """Makes one to three changes of a JSON value that mostly leave it JSON; then perhaps some of its bytes."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            value = _Raw(_new_value(draw, words))
            break
        holder, key = draw.choice(places)
        kind = draw.randrange(10)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            name = draw.choice([*words, "", "a", "\0", "é" * 300]) if words else "a"
            holder[name] = holder.pop(key)
        elif kind == 2:
            other, name = draw.choice(places)
            holder[key] = copy.deepcopy(other[name])
        elif kind == 3 and isinstance(holder[key], list):
            holder[key] = holder[key] * draw.choice((2, 100))
        else:
            holder[key] = _Raw(_new_value(draw, words))
    text = _spelled(value)
    if draw.random() < 0.15:  # keys twice: the last one counts
        text = text.replace("{", "{" + draw.choice(re.findall(r'"\w+": ', text) or ['"a": ']) + "7, ", 1)
    data = text.encode("utf-8", "surrogatepass")
    return mutate_bytes(data, draw, [word.encode() for word in words]) if draw.random() < 0.2 else data


def _new_value(draw: random.Random, words: Sequence[str]) -> str:
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(_NUMBERS)
    if kind < 0.8:
        return draw.choice(_NEW_VALUES)
    if kind < 0.9 and words:
        return json.dumps(draw.choice(words))
    if kind < 0.95:
        depth = draw.choice(_DEPTHS)
        opened, closed = draw.choice((("[", "]"), ('{"a":', "}")))
        return opened * depth + "1" + closed * depth
    return json.dumps(draw.choice(("x", "\u2028", "../", "\0")) * draw.choice((1, 300, _LONG)))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each (list or object, place in it) of a JSON value, all the way down."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return []
    return [found for key in keys for found in ((value, key), *_places(value[key]))]


def _spelled(value: Any) -> str:
    raw: list[str] = []

    def mark(one: Any) -> str:
        raw.append(one.text)
        return f"@raw{len(raw) - 1}@"

    text = json.dumps(value, default=mark)
    return re.sub(r'"@raw(\d+)@"', lambda match: raw[int(match[1])], text)


def mutate_arguments(arguments: Sequence[str], draw: random.Random, words: Sequence[str]) -> list[str]:
    """Makes one to four changes of flags, `--name=value` each; `words` are further flags."""
    changed = list(arguments)
    for _ in range(draw.randint(1, 4)):
        if not changed:
            break
        place = draw.randrange(len(changed))
        name, _, value = changed[place].partition("=")
        kind = draw.randrange(8)
        if kind == 0:
            del changed[place]
        elif kind == 1:
            changed.append(changed[place])
        elif kind in (2, 3, 4):
            changed[place] = f"{name}={draw.choice((*_NUMBERS, '', ' ', 'a', 'true', ',', '1,2', value + value))}"
        elif kind == 5:
            # As a process gets them: bytes that are no UTF-8 come as surrogates, and none is NUL.
            mutated = mutate_bytes(value.encode("utf-8", "surrogateescape"), draw).replace(b"\0", b"")[:_LONG]
            changed[place] = f"{name}={mutated.decode('utf-8', 'surrogateescape')}"
        elif kind == 6:
            changed.insert(place, draw.choice(words))
        else:
            changed[place] = changed[place][: draw.randint(0, len(changed[place]))]
    return changed


def with_length(header: bytes) -> bytes:
    """Returns a header of safetensors, preceded by its length."""
    return struct.pack("<Q", len(header)) + header
