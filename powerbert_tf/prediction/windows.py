"""Windows of rows: few enough to be held in memory, enough to be grouped by length."""

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from powerbert_tf.batches.encoded_split import EncodedSplit, encode_split
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tables import Row
from powerbert_tf.prediction.input_rows import Place
from powerbert_tf.tokenizers.word_pieces import Tokenizer

WINDOW_ROWS = 8192
WINDOW_CHARACTERS = 1 << 25  # a window of longer texts has fewer rows

T = TypeVar("T")


@dataclasses.dataclass
class Window:
    """Some consecutive rows.

    Attributes:
        rows: Rows to answer.
        rejected: Rows among them that cannot be used.
        end: Where the input continues after the window.
        ends_shard: Whether the window completes a shard of answers.
        encoded: The tokens of `rows`.
    """

    rows: list[Row]
    rejected: list[Row]
    end: Place
    ends_shard: bool = False
    encoded: EncodedSplit | None = None


def cut_windows(rows: Iterable[tuple[Place, Row]], shard_rows: int, window_rows: int = WINDOW_ROWS) -> Iterator[Window]:
    """Cuts rows into windows, none of which crosses the end of a shard.

    The content of a window therefore depends only on where its shard begins. Its answers are the same to the last bit
    whether or not another run made the shards before it.

    Args:
        rows: From `InputRows.rows`.
        shard_rows: Usable rows in a shard.
        window_rows: Rows in a window, rejected ones included.
    """
    in_shard = 0
    window, characters = Window([], [], Place()), 0
    for place, row in rows:
        (window.rejected if row.problem else window.rows).append(row)
        window.end = place
        characters += sum(len(cell) for cell in row.cells.values() if cell) + len(row.raw)
        in_shard += not row.problem
        window.ends_shard = in_shard == shard_rows
        full = len(window.rows) + len(window.rejected) == window_rows or characters > WINDOW_CHARACTERS
        if full or window.ends_shard:
            yield window
            in_shard = 0 if window.ends_shard else in_shard
            window, characters = Window([], [], Place()), 0
    if window.rows or window.rejected:
        yield window


def encode_windows(
    windows: Iterable[Window], texts: Sequence[str], tokenizer: Tokenizer, max_seq_length: int
) -> Iterator[Window]:
    """Adds to each window the tokens of its texts, which are in the columns `texts`."""
    for window in windows:
        if window.rows:
            columns = tuple([row.cells[column] or "" for row in window.rows] for column in texts)
            window.encoded = encode_split(Split(columns, None, None), tokenizer, max_seq_length)
        yield window


def prefetch(items: Iterator[T], count: int = 1) -> Iterator[T]:
    """Yields the same items while another thread makes the next `count` of them; its errors are raised here."""
    made: queue.SimpleQueue = queue.SimpleQueue()
    room, stopped = threading.Semaphore(count), threading.Event()

    def make() -> None:
        try:
            for item in items:
                room.acquire()
                if stopped.is_set():
                    return
                made.put((item, None))
            made.put((None, StopIteration()))
        except BaseException as error:
            made.put((None, error))

    # A daemon, so that a process can end while it waits for standard input.
    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            item, error = made.get()
            room.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        room.release()
