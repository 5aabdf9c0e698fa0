"""Dynamic batching: rows of many requests share a call of the model, each with rows of about its own length.

All of this runs in the event loop, but for the calls of the model, which run one by one in a thread of their own.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from powerbert_tf.common.errors import first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.server.request_bodies import Row

_SLACK = 16  # tokens; rows of up to so many cost about the same


class QueueFullError(Exception):
    """More rows wait for the model than may."""


class Watcher(Protocol):
    """Takes note of what a batcher does."""

    def batch(self, rows: int, seconds: float) -> None:
        """A batch was answered."""


@dataclasses.dataclass(eq=False)
class _Waiting:
    """A row in the queue.

    Attributes:
        row: Its texts.
        tokens: Guess of its length.
        arrived: Seconds of the monotonic clock.
        answer: Is done when it is answered, or nobody waits for it any more.
    """

    row: Row
    tokens: int
    arrived: float
    answer: asyncio.Future


class Batcher:
    """A queue of rows, and the batches that are made of it.

    The row that has waited longest is always in the next batch. Those that join it are the nearest to it in length, and
    no more than twice as long or half as short, so that little padding is computed and nobody waits for ever.

    Args:
        answer: Answers rows in their order; called in a thread, never twice at once. If it fails for a batch, each row
            is tried alone.
        batch_size: Most rows in a batch, at the time of the call.
        max_wait: Seconds that a row waits for others, while the model is free.
        most_waiting: Most rows in the queue.
        watcher: Takes note of batches.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Row]], Sequence[Any]],
        batch_size: Callable[[], int],
        max_wait: float,
        most_waiting: int,
        watcher: Watcher,
    ):
        self._answer = answer
        self._batch_size = batch_size
        self._max_wait = max_wait
        self._most_waiting = most_waiting
        self._watcher = watcher
        self._queue: list[_Waiting] = []
        self._arrival = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "model")

    def count_waiting(self) -> int:
        """Returns the number of rows that wait."""
        self._queue = [waiting for waiting in self._queue if not waiting.answer.done()]
        return len(self._queue)

    async def submit(self, rows: Sequence[tuple[Row, int]]) -> list[Any]:
        """Waits for the answers to rows, each with a guess of its tokens; if it is cancelled, they leave the queue.

        Raises:
            QueueFullError: There is no room for all of them.
            RuntimeError: The model cannot answer one of them.
        """
        if self.count_waiting() + len(rows) > self._most_waiting:
            raise QueueFullError
        loop, now = asyncio.get_running_loop(), time.monotonic()
        new = [_Waiting(row, tokens, now, loop.create_future()) for row, tokens in rows]
        self._queue += new
        self._arrival.set()
        try:
            return await asyncio.gather(*(waiting.answer for waiting in new))
        finally:
            for waiting in new:
                waiting.answer.cancel()

    async def run(self) -> None:
        """Answers for ever."""
        try:
            while True:
                await self._some_wait()
                if batch := self._take():
                    await self._run_batch(batch)
        finally:
            self._thread.shutdown(wait=False)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Calls a function between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _some_wait(self) -> None:
        """Returns when a batch is full, or its first row has waited long enough."""
        while not self._queue:
            await self._next_arrival(None)
        until = self._queue[0].arrived + self._max_wait
        while len(self._queue) < self._batch_size() and (left := until - time.monotonic()) > 0:
            await self._next_arrival(left)

    async def _next_arrival(self, seconds: float | None) -> None:
        self._arrival.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrival.wait(), seconds)

    def _take(self) -> list[_Waiting]:
        """Takes the next batch out of the queue."""
        if not self.count_waiting():
            return []
        first = self._queue[0].tokens + _SLACK
        fitting = [one for one in self._queue if first <= 2 * (one.tokens + _SLACK) <= 4 * first]
        fitting.sort(key=lambda one: abs(one.tokens + _SLACK - first))  # stable: the first stays the first
        batch = fitting[: self._batch_size()]
        taken = {*map(id, batch)}
        self._queue = [one for one in self._queue if id(one) not in taken]
        return batch

    async def _run_batch(self, batch: Sequence[_Waiting]) -> None:
        began = time.monotonic()
        try:
            answers = await self.in_thread(lambda: self._answer([one.row for one in batch]))
        except Exception as error:
            if len(batch) > 1:  # others must not suffer for the one that the model cannot answer
                for one in batch:
                    await self._run_batch([one])
                return
            say(f"a text cannot be answered: {first_line(error)}", is_warning=True)
            _finish(batch[0], error=RuntimeError("the model cannot answer this text."))
            return
        self._watcher.batch(len(batch), time.monotonic() - began)
        for one, answer in zip(batch, answers, strict=True):
            _finish(one, answer)


def _finish(waiting: _Waiting, answer: Any = None, error: Exception | None = None) -> None:
    if waiting.answer.done():  # nobody waits for it any more
        return
    if error is None:
        waiting.answer.set_result(answer)
    else:
        waiting.answer.set_exception(error)
