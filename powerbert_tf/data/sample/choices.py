"""Draws that give the same result on every platform and Python version."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A stream of draws named by strings.

    It is built on `random.Random.random` alone: the standard library keeps that one sequence across versions, whereas
    `choice`, `sample` and `shuffle` have changed theirs.
    """

    def __init__(self, *names: str):
        self._random = random.Random(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))

    def below(self, stop: int) -> int:
        """Returns an integer in 0 .. stop - 1."""
        return int(self._random.random() * stop)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def several(self, options: Sequence[T], count: int) -> list[T]:
        """Returns `count` options at different places, in a drawn order."""
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]

    def weighted(self, options: dict[T, float]) -> T:
        """Returns a key, drawn in proportion to its value."""
        level = self._random.random() * sum(options.values())
        for option, weight in options.items():
            level -= weight
            if level < 0:
                return option
        return next(reversed(options))
