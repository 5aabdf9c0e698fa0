"""Rows in windows: few enough to be held in memory, enough for their lengths to be grouped."""

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from powerbert_tf.batches.batching import EncodedSplit
from powerbert_tf.data.tables import Row
from powerbert_tf.prediction.source import Place

WINDOW_ROWS = 8192
_WINDOW_CHARACTERS = 1 << 25  # a window of longer texts has fewer rows

T = TypeVar("T")


@dataclasses.dataclass
class Window:
    """Some rows that follow each other.

    Attributes:
        rows: To be answered.
        rejected: Rows among them that cannot be.
        end: Where the input goes on behind it.
        ends_shard: Whether the shard of answers is full with it.
        encoded: The word-pieces of `rows`.
    """

    rows: list[Row]
    rejected: list[Row]
    end: Place
    ends_shard: bool = False
    encoded: EncodedSplit | None = None


def cut_windows(rows: Iterable[tuple[Place, Row]], shard_rows: int, window_rows: int = WINDOW_ROWS) -> Iterator[Window]:
    """Cuts rows into windows, none of which reaches over the end of a shard.

    What is in a window thus depends on the place where its shard begins alone, and so do its answers, to the last bit,
    whether or not the shards before it were made by another run.

    Args:
        rows: From `Source.rows`.
        shard_rows: Rows of a shard, those that cannot be used not among them.
        window_rows: Rows of a window, those that cannot be used among them.
    """
    in_shard = 0
    window, characters = Window([], [], Place()), 0
    for place, row in rows:
        (window.rejected if row.problem else window.rows).append(row)
        window.end = place
        characters += sum(len(cell) for cell in row.cells.values() if cell) + len(row.raw)
        in_shard += not row.problem
        window.ends_shard = in_shard == shard_rows
        full = len(window.rows) + len(window.rejected) == window_rows or characters > _WINDOW_CHARACTERS
        if full or window.ends_shard:
            yield window
            in_shard = 0 if window.ends_shard else in_shard
            window, characters = Window([], [], Place()), 0
    if window.rows or window.rejected:
        yield window


def made_ahead(items: Iterator[T], count: int = 1) -> Iterator[T]:
    """The same items, made by another thread while the ones before are used.

    Args:
        items: What to make; an error of it is raised here.
        count: How many are made ahead.
    """
    made: queue.Queue = queue.Queue(count)
    stopped = threading.Event()

    def put(item) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
