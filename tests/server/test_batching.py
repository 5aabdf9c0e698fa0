"""Which rows share a batch, and that each answer comes back to the row it is for; without a model."""

import asyncio
import threading
import time

import pytest

from powerbert_tf.server.batching import Batcher, QueueFullError

WAIT = 0.05


class Recorded:
    """A model that repeats rows, and notes its batches; `closed` holds its answers back."""

    def __init__(self):
        self.batches = []
        self.calls = 0
        self.noted = []
        self.open = threading.Event()
        self.open.set()

    def answer(self, rows):
        self.calls += 1
        self.open.wait(30)
        self.batches.append([row[0] for row in rows])
        if b"poison" in self.batches[-1]:
            raise ValueError("cannot")
        return [f"answer to {row[0].decode()}" for row in rows]

    def batch(self, rows, seconds):
        self.noted.append(rows)


def with_batcher(steps, batch_size=5, most_waiting=17, wait=WAIT):
    """Runs `steps(batcher, model)` beside a batcher; returns what it returned, and the model."""
    model = Recorded()

    async def run():
        batcher = Batcher(model.answer, lambda: batch_size, wait, most_waiting, model)
        task = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(steps(batcher, model), 60)
        finally:
            model.open.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(run()), model


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def rows(*names, tokens=7):
    return [(((name if isinstance(name, bytes) else name.encode()),), tokens) for name in names]


def test_requests_at_a_time_share_a_batch_and_each_gets_its_own_answers():
    async def steps(batcher, model):
        return await asyncio.gather(
            *(batcher.submit(rows(f"{n}a", f"{n}b")) for n in range(2)), batcher.submit(rows("c"))
        )

    answers, model = with_batcher(steps)
    assert answers == [["answer to 0a", "answer to 0b"], ["answer to 1a", "answer to 1b"], ["answer to c"]]
    assert model.batches == [[b"0a", b"0b", b"1a", b"1b", b"c"]]
    assert model.noted == [5]


def test_a_batch_is_not_larger_than_it_may_be():
    answers, model = with_batcher(lambda batcher, _: batcher.submit(rows(*map(str, range(13)))))
    assert answers == [f"answer to {n}" for n in range(13)]
    assert [len(batch) for batch in model.batches] == [5, 5, 3]


def test_a_full_batch_does_not_wait():
    answers, _ = with_batcher(lambda batcher, _: batcher.submit(rows(*"abcde")), wait=1000)
    assert len(answers) == 5


def test_a_lone_row_waits_for_others():
    async def steps(batcher, model):
        began = time.monotonic()
        await batcher.submit(rows("a"))
        return time.monotonic() - began

    assert with_batcher(steps)[0] >= WAIT


def test_rows_of_one_length_share_a_batch():
    """Of 16 tokens more than they have, lengths 4, 20 and 5 are within a factor of 2; 100 and 110 are not."""

    async def steps(batcher, model):
        model.open.clear()
        first = asyncio.ensure_future(batcher.submit(rows("first")))
        await until(lambda: model.calls)
        lengths = {"long": 100, "short": 4, "longer": 110, "middle": 20, "tiny": 5}
        others = [asyncio.ensure_future(batcher.submit(rows(name, tokens=n))) for name, n in lengths.items()]
        await until(lambda: batcher.count_waiting() == len(lengths))
        await asyncio.sleep(2 * WAIT)  # they have waited long enough
        model.open.set()
        return await asyncio.gather(first, *others)

    _, model = with_batcher(steps)
    assert model.batches == [[b"first"], [b"long", b"longer"], [b"short", b"tiny", b"middle"]]


def test_the_nearest_in_length_join_the_one_that_has_waited_longest():
    lengths = {"first": 50, "far": 90, "near": 51, "nearer": 50, "last": 30}
    requests = [((name.encode(),), tokens) for name, tokens in lengths.items()]
    _, model = with_batcher(lambda batcher, _: batcher.submit(requests), batch_size=3)
    assert model.batches == [[b"first", b"nearer", b"near"], [b"far"], [b"last"]]  # 106 > 2 * 46


def test_a_full_queue_refuses_and_takes_rows_again_when_there_is_room():
    async def steps(batcher, model):
        model.open.clear()
        at_the_model = asyncio.ensure_future(batcher.submit(rows("a")))
        await until(lambda: model.calls)
        waiting = asyncio.ensure_future(batcher.submit(rows(*"bcd")))
        await until(batcher.count_waiting)
        with pytest.raises(QueueFullError):
            await batcher.submit(rows("e", "f"))
        last = asyncio.ensure_future(batcher.submit(rows("g")))
        await until(lambda: batcher.count_waiting() == 4)
        model.open.set()
        await asyncio.gather(at_the_model, waiting, last)
        assert batcher.count_waiting() == 0
        return await batcher.submit(rows("h", "i"))

    answers, model = with_batcher(steps, most_waiting=4)
    assert answers == ["answer to h", "answer to i"]
    assert sorted(name for batch in model.batches for name in batch) == [b"a", b"b", b"c", b"d", b"g", b"h", b"i"]


def test_rows_nobody_waits_for_are_not_answered():
    async def steps(batcher, model):
        gone, stays = (asyncio.ensure_future(batcher.submit(rows(name))) for name in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    _, model = with_batcher(steps)
    assert model.batches == [[b"stays"]]


def test_others_do_not_suffer_for_a_row_that_cannot_be_answered(capsys):
    async def steps(batcher, model):
        requests = (batcher.submit(rows(name)) for name in ("a", "poison", "b"))
        return await asyncio.gather(*requests, return_exceptions=True)

    (first, second, third), model = with_batcher(steps)
    assert (first, third) == (["answer to a"], ["answer to b"])
    assert isinstance(second, RuntimeError)
    assert model.batches == [[b"a", b"poison", b"b"], [b"a"], [b"poison"], [b"b"]]
    assert capsys.readouterr().err == "a text cannot be answered: cannot\n"


def test_a_function_runs_between_batches():
    async def steps(batcher, model):
        model.open.clear()
        answer = asyncio.ensure_future(batcher.submit(rows("a")))
        await until(lambda: model.calls)
        seen = asyncio.ensure_future(batcher.in_thread(lambda: list(model.batches)))
        model.open.set()
        await answer
        return await seen

    assert with_batcher(steps)[0] == [[b"a"]]
