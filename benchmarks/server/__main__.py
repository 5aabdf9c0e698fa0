"""The server under load: `python -m benchmarks.server --folder=runs/MRPC --clients=16 --seconds=600`.

Three loads of single texts over kept connections: one client, which sends a request when it has the answer to the one
before; all clients at a server that answers one text at a time (`--batch_size=1`); all clients at the server as it is,
for most of the time. In the last one, further clients send what is no request, and half-way a newer version, a copy of
the newest, appears. Each answer is compared with that to the first client. Clients share the machine with the server.
"""

import contextlib
import http.client
import json
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.common.command import FLAGS, REPOSITORY, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.turns import percentiles
from powerbert_tf.server.command import versions_folder
from powerbert_tf.server.version_folders import newest_version

_WORDS = ("a", "film", "that", "is", "as", "good", "bad", "long", "short", "loud", "quiet", "old", "never", "new")
COMMAND = (sys.executable, "-m", "powerbert_tf.server")
_TEXTS = 200
_TOLERANCE = 1e-4  # of a probability, as of exports
_GROWTH = 1.1  # of memory, since a quarter of the load
_SECONDS_OF_OTHERS = 0.1  # of --seconds, for each of the two other loads


class Server:
    """The server in a process of its own, on a free port.

    Args:
        folder: Folder of versions.
        log: File for what it prints.
        more: Further flags.
    """

    def __init__(self, folder: Path, log: Any, *more: str):
        command = [*COMMAND, str(folder), "--port=0", *more]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True)
        first = self.process.stdout.readline()  # type: ignore[union-attr]
        found = re.search(r"http://([\w.]+):(\d+)", first)
        if found is None:
            raise RuntimeError(f"the server did not start; see {log.name}.")
        self.host, self.port = found[1], int(found[2])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        self.process.communicate()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def mebibytes(self) -> float:
        """Resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmRSS:"))

    def health(self) -> dict[str, Any]:
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", "/health")
            return json.load(connection.getresponse())

    def batches(self) -> tuple[float, float]:
        """Texts and calls of the model so far."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        numbers = (re.search(rf"^powerbert_batch_texts_{name} (\S+)", text, re.MULTILINE) for name in ("sum", "count"))
        rows, calls = (float(found[1]) for found in numbers if found)
        return rows, calls


class Load:
    """What clients have got, all together.

    Attributes:
        milliseconds: From request to answer, of each that was answered.
        statuses: How many requests got each status; "lost" for those without an answer.
        versions: How many answers each version gave.
        wrong: Answers that differ from those to the first client.
    """

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.versions: Counter[int] = Counter()
        self.wrong = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def note(self, milliseconds: float, status: str, content: dict[str, Any], right: dict[str, Any] | None) -> None:
        with self._lock:
            self.statuses[status] += 1
            if status == "200":
                self.milliseconds.append(milliseconds)
                self.versions[content["version"]] += 1
                self.wrong += right is not None and _differ(content["answers"][0], right)

    def summary(self, name: str) -> dict[str, Any]:
        """A row of the table."""
        return {
            "load": name,
            "seconds": self.seconds,
            "answered": len(self.milliseconds),
            "per_second": len(self.milliseconds) / self.seconds,
            **percentiles(self.milliseconds, (50, 90, 99)),
            "statuses": dict(self.statuses),
            "wrong": self.wrong,
            "versions": {str(version): count for version, count in sorted(self.versions.items())},
        }


def _differ(answer: dict[str, Any], right: dict[str, Any]) -> bool:
    given, expected = (one.get("probabilities") or {"score": one.get("score")} for one in (answer, right))
    return any(abs(given[name] - expected[name]) > _TOLERANCE for name in expected)


def send_all(server: Server, bodies: list[str], clients: int, seconds: float, right: list[dict] | None) -> Load:
    """Sends requests from so many clients for so long."""
    load, began = Load(), time.perf_counter()
    until = began + seconds

    def client(seed: int) -> None:
        draw, connection = random.Random(seed), server.connect()
        while time.perf_counter() < until:
            number = draw.randrange(len(bodies))
            sent = time.perf_counter()
            try:
                connection.request("POST", "/predict", bodies[number])
                response = connection.getresponse()
                status, content = str(response.status), json.load(response)
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                status, content = "lost", {}
            load.note(1000 * (time.perf_counter() - sent), status, content, right[number] if right else None)
        connection.close()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - began
    return load


def _hostile_bytes(draw: random.Random) -> bytes:
    """What is no request: binary, an endless head, bad or deep JSON, too much, or half of a request."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    deep, large = b'{"text": ' * 50_000, b"x" * 2**21
    return draw.choice(
        [
            draw.randbytes(1000),
            b"GET /" + b"a" * 100_000,
            head % 9 + b'{"text": ',
            head % len(deep) + deep,
            head % len(large) + large,
            head % 1000 + b'{"text": "half',
            head % 11 + b'{"text": 1}',
        ]
    )


@contextlib.contextmanager
def hostile_clients(server: Server, count: int) -> Iterator[Counter]:
    """A block beside which so many clients break the protocol; yields how often they did."""
    stop, sent = threading.Event(), Counter[str]()

    def client(seed: int) -> None:
        draw = random.Random(seed)
        while not stop.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection((server.host, server.port), 2) as connection:
                sent["connections"] += 1
                if draw.random() < 0.3:  # leaves with a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(_hostile_bytes(draw))
                if draw.random() < 0.3:
                    connection.shutdown(socket.SHUT_WR)
                if draw.random() < 0.5:
                    connection.settimeout(1)
                    connection.recv(1000)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def memory_watch(server: Server, seconds: float) -> Iterator[list[float]]:
    """A block beside which memory is read, in MiB, twenty times."""
    stop, readings = threading.Event(), [server.mebibytes()]

    def read() -> None:
        while not stop.wait(seconds / 20):
            readings.append(server.mebibytes())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join()


def add_version(folder: Path) -> None:
    """Copies the newest version to the number after it; it appears whole."""
    newest = newest_version(folder)
    if newest is None:
        raise RuntimeError(f"{folder}: its versions are gone.")
    partial = folder / "copy.partial"
    shutil.copytree(newest, partial)
    partial.rename(folder / str(int(newest.name) + 1))


def bodies_for(inputs: list[str]) -> list[str]:
    """Requests of one row each, of 3 to 60 words."""
    draw = random.Random(0)
    rows = [[" ".join(draw.choices(_WORDS, k=draw.randrange(3, 61))) for _ in inputs] for _ in range(_TEXTS)]
    return [json.dumps(dict(zip(inputs, row, strict=True))) for row in rows]


def first_answers(server: Server, bodies: list[str]) -> list[dict[str, Any]]:
    """The answers to a client that is alone."""
    found = []
    with contextlib.closing(server.connect()) as connection:
        for body in bodies:
            connection.request("POST", "/predict", body)
            found.append(json.load(connection.getresponse())["answers"][0])
    return found


def measure(folder: Path, log: Any) -> dict[str, Any]:
    """Measures the three loads."""
    seconds, few = FLAGS.seconds, max(2.0, FLAGS.seconds * _SECONDS_OF_OTHERS)
    with Server(folder, log, "--batch_size=1") as server:
        bodies = bodies_for(server.health()["inputs"])
        right = first_answers(server, bodies)
        unbatched = send_all(server, bodies, FLAGS.clients, few, right)
    with Server(folder, log) as server:
        first_answers(server, bodies)
        alone = send_all(server, bodies, 1, few, right)
        before = server.batches()
        newer = threading.Timer(seconds / 2, add_version, [folder])
        newer.start()
        with hostile_clients(server, FLAGS.hostile) as hostile, memory_watch(server, seconds) as readings:
            batched = send_all(server, bodies, FLAGS.clients, seconds, right)
        newer.join()
        rows, calls = (now - then for now, then in zip(server.batches(), before, strict=True))
        version = server.health()["version"]
    return {
        "loads": [
            alone.summary("one client"),
            unbatched.summary(f"{FLAGS.clients} clients, one text at a time"),
            batched.summary(f"{FLAGS.clients} clients"),
        ],
        "texts_per_batch": rows / calls,
        "hostile_connections": hostile["connections"],
        "version_at_the_end": version,
        "memory_mib": readings,
        "memory_grown": readings[-1] / readings[len(readings) // 4],
    }


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        {
            "load": load["load"],
            "seconds": load["seconds"],
            "answers": load["answered"],
            "answers per second": load["per_second"],
            **{f"{name} (ms)": load[f"{name}_ms"] for name in ("p50", "p90", "p99")},
            "wrong": load["wrong"],
            "not answered": sum(count for status, count in load["statuses"].items() if status != "200"),
            "by version": ", ".join(f"{version}: {count}" for version, count in load["versions"].items()),
        }
        for load in report["loads"]
    ]
    memory = report["memory_mib"]
    return page(
        "# The server under load",
        measured_on(report),
        f"{report['model']}. Requests of one row with 3 to 60 words each; clients are threads on the same machine.",
        table(rows),
        f"{report['texts_per_batch']:.1f} texts in a batch of the last load. Beside it, "
        f"{report['hostile_connections']} connections broke the protocol, and half-way a newer version took over.",
        f"Memory of the server in that load: {memory[0]:.0f} MiB at its start, {memory[len(memory) // 4]:.0f} after a "
        f"quarter, {max(memory):.0f} at most, {memory[-1]:.0f} at its end. Two versions are loaded for a moment.",
    )


def main(argv: list[str]) -> None:
    """Measures, publishes, and fails if a request was lost or answered wrongly."""
    if len(argv) > 1 or not FLAGS.folder:
        raise app.UsageError("expected --folder, and flags only.")
    output = output_path("server")
    with tempfile.TemporaryDirectory() as scratch, output.with_suffix(".log").open("w") as log:
        folder = Path(scratch) / "versions"  # the user's own gets no copies
        source = newest_version(versions_folder(Path(FLAGS.folder)))
        if source is None:
            raise app.UsageError(f"--folder={FLAGS.folder}: expected a run, or a folder of versions.")
        shutil.copytree(source, folder / "1")
        measured = measure(folder, log)
    from powerbert_tf.latency.timing import device_name  # late: TensorFlow takes memory and cores

    model = f"The exported model of {Path(FLAGS.folder).name}"
    report = {**surroundings("benchmarks.server"), "device": device_name(), "model": model, **measured}
    publish(report, output, render(report))
    problems = [f"{load['load']}: {load['wrong']} wrong answers" for load in report["loads"] if load["wrong"]]
    problems += [f"{load['load']}: {load['statuses']}" for load in report["loads"] if {*load["statuses"]} != {"200"}]
    if report["version_at_the_end"] != 2:
        problems.append("the newer version did not take over")
    if report["memory_grown"] > _GROWTH and FLAGS.seconds >= 60:
        problems.append(f"memory has grown {report['memory_grown']:.2f} times since a quarter of the load")
    if problems:
        sys.exit("; ".join(problems))


def define_flags() -> None:
    """Defines the flags; called by the command, not on import."""
    flags.DEFINE_string("folder", "", "A run, or a folder of versions, such as runs/MRPC.")
    flags.DEFINE_integer("clients", 16, "Clients at a time.", lower_bound=1)
    flags.DEFINE_float("seconds", 600, "Of the main load.", lower_bound=1)
    flags.DEFINE_integer("hostile", 2, "Clients that break the protocol, beside them.", lower_bound=0)
    define_output_flag()


if __name__ == "__main__":
    define_flags()
    app.run(main)
