"""Checks a SavedModel as a server would run it: without Keras, and without the model code of this package.

python -m powerbert_tf.serve_check runs/MRPC/saved_model/1
python -m powerbert_tf.serve_check runs/MRPC/saved_model/1 --seconds=60 --threads=16
"""

import argparse
import concurrent.futures
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # silences TensorFlow's start-up notes; must precede its import

import numpy as np
import tensorflow as tf

from powerbert_tf.export.expected_answers import IDS, ExpectedAnswers, check_answers, compare_answer
from powerbert_tf.export.loading import load_signatures

_BATCHES = (1, 8, 32)
_LENGTHS = (16, 64)  # and N
_REPEATS = 20
_WARM_UP = 3
_LONG_ENOUGH = 60  # seconds of load; memory has reached its maximum after a quarter of them

# How to make a wrong request from a right one: the input to change, the change, and words of the error.
_WRONG_VALUES: dict[str, tuple[str, Callable[[np.ndarray, ExpectedAnswers], np.ndarray], str]] = {
    "an id above the vocabulary": ("token_ids", lambda x, e: x + e.vocab_size, "expected 0 to"),
    "an id below 0": ("token_ids", lambda x, e: x - e.vocab_size, "expected 0 to"),
    "a segment above 1": ("segment_ids", lambda x, e: x + 1000, "expected 0 to"),
    "a mask of zeros": ("padding_mask", lambda x, e: x * 0, "row of zeros"),
    "a mask of twos": ("padding_mask", lambda x, e: x * 2, "other than 0"),
    "padding on the left": (
        "padding_mask",
        lambda x, e: np.eye(x.shape[1], dtype="int32")[[1] * len(x)],
        "on the right",
    ),
    "a mask of another length": ("padding_mask", lambda x, e: x[:, :-1], "expected that of token_ids"),
    "floats": ("token_ids", lambda x, e: x.astype("float32"), ""),
    "no batch axis": ("token_ids", lambda x, e: x[0], ""),
}


def check_refusals(signatures: Mapping[str, Callable], expected: ExpectedAnswers) -> tuple[int, list[str]]:
    """Sends wrong requests of ids, which must fail, and then a right one.

    Returns:
        The number of wrong requests, and a description of each problem.
    """
    wrong, calls = [], 0
    for signature in (name for name in signatures if name.startswith(IDS)):
        for refused in wrong_requests(expected):
            calls += 1
            wrong += _check_refusal(signatures, signature, *refused)
        answer = signatures[signature](**expected.request(signature, [0]))
        wrong += compare_answer(expected, signature, [0], answer)
    return calls, wrong


def _check_refusal(
    signatures: Mapping[str, Callable], signature: str, what: str, request: Mapping[str, tf.Tensor], reason: str
) -> list[str]:
    try:
        signatures[signature](**request)
    except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
        return [] if reason in str(error) else [f"{signature}: {what} fails without saying {reason!r}: {error}"]
    return [f"{signature}: {what} is answered; expected an error"]


def wrong_requests(expected: ExpectedAnswers) -> list[tuple[str, dict[str, tf.Tensor], str]]:
    """Requests of ids that must be rejected: what is wrong, the request, and words of the error."""
    right = expected.padded_ids([0])
    requests = []
    for what, (name, change, reason) in _WRONG_VALUES.items():
        requests.append((what, {**right, name: change(right[name], expected)}, reason))
    for length in (0, expected.max_seq_length + 1):
        ones = np.ones((expected.choices, length), "int32")
        requests.append((f"{length} columns", dict.fromkeys(right, ones), f"1 to {expected.max_seq_length}"))
    if expected.batch_size:
        many = np.ones((expected.choices * (expected.batch_size + 1), 1), "int32")
        requests.append(
            (f"{expected.batch_size + 1} examples", dict.fromkeys(right, many), f"at most {expected.batch_size}")
        )

    def shaped(values: np.ndarray) -> tf.Tensor:
        return tf.constant(expected.by_option(values) if values.ndim == 2 else values)

    return [(what, {name: shaped(x) for name, x in request.items()}, reason) for what, request, reason in requests]


def measure(
    function: Callable, expected: ExpectedAnswers, repeats: int = _REPEATS
) -> list[tuple[int, int, np.ndarray]]:
    """Times `serving_default`: batch, length, and the 50th, 90th and 99th percentile in milliseconds."""
    rows = []
    batches = [*filter(expected.fits, _BATCHES)] or [expected.batch_size]
    lengths = [length for length in _LENGTHS if length < expected.max_seq_length]
    for batch in batches:
        for length in (*lengths, expected.max_seq_length):
            inputs = expected.blank_request(batch, length)
            times = []
            for _ in range(_WARM_UP + repeats):
                start = time.perf_counter()
                for values in function(**inputs).values():
                    values.numpy()
                times.append(1000 * (time.perf_counter() - start))
            rows.append((batch, length, np.percentile(times[_WARM_UP:], (50, 90, 99))))
    return rows


def load_test(
    signatures: Mapping[str, Callable], expected: ExpectedAnswers, seconds: float, threads: int
) -> tuple[int, list[str]]:
    """Sends a mix of usual, hostile and wrong requests from many threads.

    Returns:
        The number of requests, and a description of each problem.
    """
    deadline = time.perf_counter() + seconds
    refused = wrong_requests(expected)

    def work(seed: int) -> tuple[int, list[str]]:
        draw, calls, wrong = random.Random(seed), 0, []
        while time.perf_counter() < deadline:
            signature = draw.choice(sorted(signatures))
            if signature.startswith(IDS) and draw.random() < 0.2:
                found = _check_refusal(signatures, signature, *draw.choice(refused))
            else:
                most = min(expected.batch_size or 8, len(expected))
                rows = draw.sample(range(len(expected)), draw.randint(1, most))
                try:
                    answers = signatures[signature](**expected.request(signature, rows))
                    found = compare_answer(expected, signature, rows, answers)
                except Exception as error:  # any error is a finding
                    found = [f"{signature}, requests {rows}: {error}"]
            calls += 1
            wrong += found
        return calls, wrong

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        results = [*pool.map(work, range(threads))]
    return sum(calls for calls, _ in results), [reason for _, wrong in results for reason in wrong]


class MemoryWatch:
    """Compares the memory of the process at the end of a block of `seconds` with a quarter of it, when all is warm."""

    def __init__(self, seconds: float):
        self._timer = threading.Timer(seconds / 4, self._note)
        self._mebibytes: list[float] = []

    def __enter__(self) -> "MemoryWatch":
        self._timer.start()
        return self

    def __exit__(self, *_) -> None:
        self._timer.cancel()
        self._note()

    def _note(self) -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        self._mebibytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def __str__(self) -> str:
        return f"memory: {self._mebibytes[0]:.0f} MiB at a quarter of the time, {self._mebibytes[-1]:.0f} at its end"

    @property
    def has_grown(self) -> bool:
        """Whether memory has grown by more than a tenth since all was warm."""
        return self._mebibytes[-1] > 1.1 * self._mebibytes[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what was checked; returns 0 if all is right, else prints the reason and returns 1."""
    parser = argparse.ArgumentParser(prog="python -m powerbert_tf.serve_check", description=__doc__.splitlines()[0])
    parser.add_argument("version", type=Path, help="folder of a version, such as runs/MRPC/saved_model/1")
    parser.add_argument("--seconds", type=float, default=0, help="duration of mixed requests; default: none")
    parser.add_argument("--threads", type=int, default=16, help="threads that send mixed requests")
    parser.add_argument("--repeats", type=int, default=_REPEATS, help="timed calls for each batch and length")
    arguments = parser.parse_args(argv)
    try:
        expected = ExpectedAnswers.read(arguments.version)
        signatures = load_signatures(arguments.version)
    except (OSError, ValueError, ImportError, tf.errors.OpError) as error:
        return _fail([f"{arguments.version}: cannot be loaded ({error})"])
    print(f"{arguments.version}: {expected.task}, signatures {', '.join(sorted(signatures))}")
    try:
        checks = [
            ("answers as at export", *check_answers(signatures, expected)),
            ("wrong requests rejected", *check_refusals(signatures, expected)),
        ]
        if arguments.seconds:
            title = f"mixed requests, {arguments.threads} threads, {arguments.seconds:g} s"
            with MemoryWatch(arguments.seconds) as memory:
                checks.append((title, *load_test(signatures, expected, arguments.seconds, arguments.threads)))
            print(memory)
            if memory.has_grown and arguments.seconds >= _LONG_ENOUGH:
                checks[-1][2].append(f"{memory}; expected at most a tenth more")
    except tf.errors.OpError as error:
        return _fail([f"a right request fails: {error}"])
    wrong = [reason for _, _, reasons in checks for reason in reasons]
    for title, calls, reasons in checks:
        print(f"{title}: {calls} calls, {len(reasons)} wrong")
    if wrong:
        return _fail(wrong)
    if arguments.repeats:
        print(f"{IDS}, milliseconds, {arguments.repeats} calls after {_WARM_UP}:")
        print(f"{'batch':>6} {'length':>6} {'p50':>8} {'p90':>8} {'p99':>8}")
        for batch, length, (p50, p90, p99) in measure(signatures[IDS], expected, arguments.repeats):
            print(f"{batch:>6} {length:>6} {p50:>8.1f} {p90:>8.1f} {p99:>8.1f}")
    print("all right")
    return 0


def _fail(reasons: Sequence[str]) -> int:
    for reason in reasons[:10]:
        print("error:", *reason.split(), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
