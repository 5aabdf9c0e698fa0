"""The server answers as the model does, whoever asks what, and while a newer version takes over."""

import base64
import concurrent.futures
import contextlib
import http.client
import importlib.util
import json
import random
import socket
import struct
import threading
import time

import numpy as np
import pytest
from conftest import REPOSITORY
from tiny_export import THRESHOLDS, TinyExport

pytest.importorskip("starlette", reason="the server's packages are not installed")
pytest.importorskip("uvicorn", reason="the server's packages are not installed")
prometheus_parser = pytest.importorskip("prometheus_client.parser", reason="the server's packages are not installed")

from powerbert_tf.common.errors import InputError  # noqa: E402
from powerbert_tf.export.expected_answers import HOSTILE_TEXTS  # noqa: E402
from powerbert_tf.server.process import listen, make_server  # noqa: E402
from powerbert_tf.server.settings import ServerSettings  # noqa: E402
from powerbert_tf.server.versions import Versions  # noqa: E402

CLIENTS = 16
QUICK = 0.2  # seconds


class Served:
    """A server in a thread of this process.

    Attributes:
        address: `host:port`.
        versions: What it serves.
    """

    def __init__(self, folder, **flags):
        settings = ServerSettings(port=0, **{"poll_seconds": QUICK, **flags})
        self._listening = listen(settings)
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.versions = Versions(folder, settings.signature)
        self._server = make_server(self.versions, settings)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def send(self, path="/predict", content=None, method=None, body=None, headers=None):
        """Status, headers and the JSON or text that is answered."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        with contextlib.closing(connection):
            body = json.dumps(content).encode() if content is not None else body
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.headers["Content-Type"] == "application/json"
            return response.status, response.headers, json.loads(text) if is_json else text

    def answers(self, *texts):
        """What `/predict` answers to texts."""
        status, _, content = self.send(content={"texts": list(texts)})
        assert status == 200, content
        return content["answers"]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def metrics(self):
        """Numbers of `/metrics` by name and labels."""
        families = prometheus_parser.text_string_to_metric_families(self.send("/metrics")[2])
        return {(one.name, *sorted(one.labels.values())): one.value for each in families for one in each.samples}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a task's model once."""
    made = {}

    def make(task="SST-2"):
        if task not in made:
            made[task] = TinyExport(tmp_path_factory.mktemp("exported"), task)
            made[task].add_version()
        return made[task]

    return make


@pytest.fixture(scope="module")
def served(exported):
    """A server of one text with small limits."""
    with Served(exported().folder, max_texts=13, max_characters=101_000, max_body_kib=256, request_seconds=2) as server:
        yield server


def probabilities(answers):
    return [list(answer["probabilities"].values()) for answer in answers]


def made_up_texts(count, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices("abcdefg", k=draw.randrange(1, 31))) for _ in range(count)]


def test_one_text_and_many_are_answered_as_keras_answers(served, exported):
    texts = made_up_texts(11)
    right = exported().answers(1, [(text,) for text in texts])
    answers = served.answers(*texts)
    np.testing.assert_allclose(probabilities(answers), right, atol=1e-5)
    assert [answer["label"] for answer in answers] == [str(label) for label in right.argmax(axis=1)]
    status, _, alone = served.send(content={"text": texts[3]})
    assert (status, alone["version"]) == (200, 1)
    np.testing.assert_allclose(probabilities(alone["answers"]), right[3:4], atol=1e-5)
    assert [*answers[0]["probabilities"]] == ["0", "1"]


def test_hostile_texts_are_answered_as_keras_answers(served, exported):
    columns = [{"b64": base64.b64encode(text).decode()} for text in HOSTILE_TEXTS]
    right = exported().answers(1, [(text,) for text in HOSTILE_TEXTS])
    found = [served.send("/v1/models/SST-2:predict", {"inputs": {"text": [text]}})[2] for text in columns]
    np.testing.assert_allclose([one["outputs"]["probabilities"][0] for one in found], right, atol=1e-5)


@pytest.mark.parametrize("task", ["MRPC", "STS-B", "moods"])
def test_each_kind_of_answer(task, exported):
    export = exported(task)
    rows = [("a b c", "d e f g"), ("g f e " * 9, "a"), ("", "")]
    rows = rows if export.task.is_pair else [row[:1] for row in rows]
    right = export.answers(1, rows)
    with Served(export.folder) as server:
        answers = server.answers(*(list(row) if len(row) > 1 else row[0] for row in rows))
        if task == "STS-B":
            np.testing.assert_allclose([answer["score"] for answer in answers], right[:, 0], atol=1e-5)
        else:
            np.testing.assert_allclose(probabilities(answers), right, atol=1e-5)
        if task == "moods":
            names = [
                [name for name, there in zip(export.task.classes, row >= THRESHOLDS, strict=True) if there]
                for row in right
            ]
            assert [answer["labels"] for answer in answers] == names
        if task == "MRPC":
            status, _, content = server.send(content={"text": "a b c"})
            assert (status, content) == (400, {"error": "the body lacks text_pair; expected text and text_pair."})


def test_the_client_of_tensorflow_serving_talks_to_it(served, exported):
    spec = importlib.util.spec_from_file_location("client", REPOSITORY / "examples" / "client.py")
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    texts = made_up_texts(5)
    answers = client.ask_rest(served.address, "SST-2", "serve_text", [text.encode() for text in texts])
    right = exported().answers(1, [(text,) for text in texts])
    np.testing.assert_allclose(answers["probabilities"], right, atol=1e-5)
    assert answers["label"] == [str(label) for label in right.argmax(axis=1)]
    assert answers["classes"] == [["0", "1"]] * 5
    with pytest.raises(RuntimeError, match="no such model; expected SST-2"):
        client.ask_rest(served.address, "MRPC", "serve_text", [b"a"])


def test_clients_at_a_time_share_batches_and_each_gets_its_own_answers(exported):
    texts = made_up_texts(CLIENTS * 7, seed=1)
    right = exported().answers(1, [(text,) for text in texts])
    with Served(exported().folder, max_wait_ms=30) as server:

        def ask(client):
            return [server.answers(text)[0] for text in texts[client::CLIENTS]]

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            answers = [*pool.map(ask, range(CLIENTS))]
        for client, given in enumerate(answers):
            np.testing.assert_allclose(probabilities(given), right[client::CLIENTS], atol=1e-5)
        numbers = server.metrics()
    batches = numbers["powerbert_batch_texts_count",]
    assert numbers["powerbert_batch_texts_sum",] == len(texts)
    assert batches <= len(texts) / 2, "the model was called for almost each text"
    assert numbers["powerbert_requests_total", "/predict", "200"] == len(texts)
    assert numbers["powerbert_request_seconds_count", "/predict"] == len(texts)


def test_health_and_metrics(served):
    assert served.send("/health")[::2] == (
        200,
        {"status": "ok", "model": "SST-2", "version": 1, "inputs": ["text"]},
    )
    numbers = served.metrics()
    assert numbers["powerbert_model_version",] == 1
    assert numbers["powerbert_queue_texts",] == 0
    assert numbers["process_resident_memory_bytes",] > 0


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"body": b""}, 400, "the body is no JSON"),
        ({"body": b"\x00\xff\xfe"}, 400, "the body is no"),
        ({"body": b'{"text": ' * 20_000}, 400, "nested too deeply"),
        ({"content": [1]}, 400, "the body is a list; expected an object"),
        ({"content": {"text": 1}}, 400, "text is a number; expected a text."),
        ({"content": {"texts": ["a"] * 14}}, 413, "the request has 14 texts; expected 1 to 13."),
        ({"content": {"text": "a" * 101_001}}, 413, "text has 101001 characters; expected at most 101000."),
        ({"body": b"[" * 2**21}, 413, "the body has more than 262144 bytes"),
        ({"body": b"{}", "headers": {"Content-Encoding": "gzip"}}, 415, "the body is compressed"),
        ({"method": "DELETE"}, 405, "DELETE is not supported here; expected POST /predict, GET /health"),
        ({"path": "/"}, 404, "no such path; expected POST /predict, GET /health or GET /metrics."),
        ({"path": "/v1/models/x:predict", "content": {}}, 404, "no such model; expected SST-2."),
        ({"path": "/v1/models/SST-2:predict", "content": {}}, 400, "inputs is null; expected"),
        ({"path": "/predict/../../etc/passwd"}, 404, "no such path"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(served, request_, status, words):
    found, _, content = served.send(**request_)
    assert found == status
    assert [*content] == ["error"]
    assert words in content["error"]
    assert "\n" not in content["error"]
    assert "Traceback" not in content["error"]
    assert served.answers("a b")


def raw(server, data, then=None, reads=True):
    """Sends bytes on a connection of its own; returns what comes back until it is closed."""
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        if then:
            then(connection)
        received = b""
        while reads and (part := connection.recv(1 << 16)):
            received += part
        return received
    return b""


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n"
BODY = b'{"text": "a b"'  # and one byte more


def drip(connection):
    """A byte each tenth of a second, for ever."""
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def test_clients_that_break_the_protocol_do_no_harm(served):
    draw = random.Random(3)
    assert raw(served, b"\x16\x03\x01" + draw.randbytes(999)).startswith(b"HTTP/1.1 400")  # as of TLS
    assert raw(served, b"GET / HTTP/9.9\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(served, b"GET /" + b"a" * 200_000).startswith(b"HTTP/1.1 400")
    assert raw(served, b"X: y\r\n" * 20_000).startswith(b"HTTP/1.1 400")
    assert raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n").startswith(b"HTTP/1.1 400")
    raw(served, HEAD + b"\r\n" + BODY, then=lambda connection: connection.shutdown(socket.SHUT_WR))
    raw(served, HEAD + b"\r\n" + BODY + b"}", then=lambda connection: connection.shutdown(socket.SHUT_RD), reads=False)

    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for _ in range(23):
        raw(served, HEAD + b"\r\n" + BODY[: draw.randrange(14)], then=reset, reads=False)
        raw(served, HEAD + b"\r\n" + BODY + b"}", then=reset, reads=False)
    assert served.answers("a b")


@pytest.mark.slow
def test_slow_clients_are_cut_off(served):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        slow_body = pool.submit(raw, served, HEAD.replace(b"15", b"99999") + b"\r\n", drip)
        no_body = pool.submit(raw, served, HEAD + b"\r\n")
        slow_head = pool.submit(raw, served, b"POST /predict HTTP/1.1\r\nX: ", drip)
        nothing = pool.submit(raw, served, b"")
        assert served.answers("a b")  # while they wait
        assert no_body.result().startswith(b"HTTP/1.1 408")
        assert b"the body did not arrive within 2 seconds; send it faster." in no_body.result()
        assert not slow_head.result()
        assert not nothing.result()
        slow_body.result()
    assert time.monotonic() - began < 15


def test_a_full_queue_is_told_and_a_client_that_leaves_makes_room(exported):
    with Served(exported().folder, queue=3, max_texts=3, max_wait_ms=60_000) as server:
        waiting = server.connect()
        body = json.dumps({"texts": ["a", "b", "c"]}).encode()
        waiting.sendall(HEAD.replace(b"15", str(len(body)).encode()) + b"\r\n" + body)
        while server.metrics()["powerbert_queue_texts",] < 3:
            time.sleep(0.01)
        status, headers, content = server.send(content={"text": "d"})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert content == {"error": "3 texts wait already; try again in a second."}
        waiting.close()
        while server.metrics()["powerbert_queue_texts",]:
            time.sleep(0.01)
        assert server.metrics()["powerbert_requests_total", "/predict", "499"] == 1


def test_too_many_connections_are_refused_and_others_are_answered_again(exported):
    with Served(exported().folder, max_connections=7) as server:
        idle = [server.connect() for _ in range(7)]
        status, _, _ = server.send("/health")
        assert status == 503
        for connection in idle:
            connection.close()
        while server.send("/health")[0] != 200:
            time.sleep(0.01)


def wait_for_version(server, number, seconds=60):
    until = time.monotonic() + seconds
    while server.send("/health")[2]["version"] != number:
        assert time.monotonic() < until, f"version {number} is not served"
        time.sleep(0.05)


def test_a_newer_version_takes_over_and_no_request_is_lost(tmp_path, capfd):
    export = TinyExport(tmp_path)
    export.add_version()
    texts = made_up_texts(17)
    stop, found = threading.Event(), []

    def ask(client):
        draw, sent = random.Random(client), 0
        while not stop.is_set():
            row = draw.randrange(len(texts))
            status, _, content = server.send(content={"text": texts[row]})
            found.append((status, content.get("version"), row, content["answers"][0]["probabilities"]))
            sent += 1
        return sent

    with Served(export.folder) as server, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask, client) for client in range(CLIENTS)]
        try:
            assert export.add_version() == 2
            wait_for_version(server, 2)
            # One that is damaged is not served; one that is removed takes its successor's place.
            (export.folder / "3").mkdir()
            (export.folder / "3" / "saved_model.pb").write_bytes(b"damaged")
            time.sleep(5 * QUICK)
            (export.folder / "3").rename(export.folder / "bad-3")
            (export.folder / "2").rename(export.folder / "bad-2")
            wait_for_version(server, 1)
        finally:
            stop.set()
        assert sum(client.result() for client in clients) == len(found)
    right = {version: export.answers(version, [(text,) for text in texts]) for version in (1, 2)}
    assert {status for status, *_ in found} == {200}
    assert {version for _, version, *_ in found} == {1, 2}
    for _, version, row, answer in found:
        np.testing.assert_allclose([*answer.values()], right[version][row], atol=1e-5)
    assert not np.allclose(right[1], right[2], atol=1e-3)
    assert f"{export.folder / '3'}: has no task.json; expected a version's folder" in capfd.readouterr().err


def test_what_cannot_be_served_is_told(exported, tmp_path):
    with pytest.raises(InputError, match=r"has no version of an exported model; run --stage=export\."):
        Versions(tmp_path, "serve_text")
    with pytest.raises(InputError, match=r"--signature=serve_text_2x: .* has no such one; expected serve_text"):
        Versions(exported().folder, "serve_text_2x")
    with Served(exported().folder / "1") as server:
        assert server.send("/health")[2]["version"] == 1
        with pytest.raises(InputError, match=r"cannot listen there \(Address already in use\)"):
            listen(ServerSettings(port=server.port))
