"""Whoever asks what, and while a newer version takes over: each gets the answer that is meant for it; no TensorFlow."""

import concurrent.futures
import contextlib
import json
import random
import socket
import struct
import threading
import time

import pytest

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import POLL, FakeModel, Served, add_fake, fake_share, made_up_texts, probabilities  # noqa: E402

from powerbert_tf.common.errors import InputError  # noqa: E402
from powerbert_tf.server.process import listen  # noqa: E402
from powerbert_tf.server.settings import ServerSettings  # noqa: E402
from powerbert_tf.server.versions import Versions  # noqa: E402

CLIENTS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one version."""
    path = tmp_path_factory.mktemp("versions")
    add_fake(path, 1)
    return path


@pytest.fixture(scope="module")
def served(folder):
    """A server of one text with small limits."""
    with Served(folder, max_texts=13, max_characters=101_000, max_body_kib=256, request_seconds=2) as server:
        yield server


def right(version, text):
    """What the fake model answers, rounded as the server does."""
    share = fake_share(version, (text.encode(),))
    return [round(1 - share, 6), round(share, 6)]


def test_clients_at_a_time_share_batches_and_each_gets_its_own_answers(folder):
    texts = made_up_texts(CLIENTS * 7, seed=1)
    with Served(folder, max_wait_ms=20) as server:

        def ask(client):
            return [server.answers(text)[0] for text in texts[client::CLIENTS]]

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            answers = [*pool.map(ask, range(CLIENTS))]
        for client, given in enumerate(answers):
            assert probabilities(given) == [right(1, text) for text in texts[client::CLIENTS]]
        numbers = server.metrics()
    assert sum(server.versions.model.batches) == len(texts)
    assert max(server.versions.model.batches) > 1
    assert numbers["powerbert_batch_texts_sum",] == len(texts)
    assert numbers["powerbert_batch_texts_count",] == len(server.versions.model.batches)
    assert len(server.versions.model.batches) <= len(texts) / 2, "the model was called for almost each text"
    assert numbers["powerbert_requests_total", "/predict", "200"] == len(texts)
    assert numbers["powerbert_request_seconds_count", "/predict"] == len(texts)


def test_health_and_metrics(served):
    assert served.send("/health")[::2] == (
        200,
        {"status": "ok", "model": "fake", "version": 1, "inputs": ["text"]},
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
        ({"path": "/v1/models/x:predict", "content": {}}, 404, "no such model; expected fake."),
        ({"path": "/v1/models/fake:predict", "content": {}}, 400, "inputs is null; expected"),
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
    assert raw(served, b"GET / HTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    for endless in (b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000):
        received = raw(served, endless)
        assert not received or received.startswith(b"HTTP/1.1 400")  # a reset may overtake the answer
    assert raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n").startswith(b"HTTP/1.1 400")
    raw(served, HEAD + b"\r\n" + BODY, then=lambda connection: connection.shutdown(socket.SHUT_WR))
    raw(served, HEAD + b"\r\n" + BODY + b"}", then=lambda connection: connection.shutdown(socket.SHUT_RD), reads=False)

    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for _ in range(23):
        raw(served, HEAD + b"\r\n" + BODY[: draw.randrange(14)], then=reset, reads=False)
        raw(served, HEAD + b"\r\n" + BODY + b"}", then=reset, reads=False)
    assert served.answers("a b")


def test_a_connection_that_is_idle_between_two_requests_stays(folder):
    with Served(folder, request_seconds=0.1) as server, server.connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"\r\n" + BODY + b"}")
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(1 << 16) or pytest.fail("closed")
            assert received.startswith(b"HTTP/1.1 200")
            time.sleep(0.5)


@pytest.mark.slow
def test_slow_clients_are_cut_off(served):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        slow_body = pool.submit(raw, served, HEAD.replace(b"15", b"99999") + b"\r\n", drip)
        no_body = pool.submit(raw, served, HEAD + b"\r\n")
        slow_head = pool.submit(raw, served, b"POST /predict HTTP/1.1\r\nX: ", drip)
        nothing = pool.submit(raw, served, b"")
        refused = pool.submit(
            raw, served, HEAD.replace(b"predict", b"nowhere").replace(b"15", b"99999") + b"\r\n", drip
        )
        assert served.answers("a b")  # while they wait
        assert no_body.result().startswith(b"HTTP/1.1 408")
        assert b"the body did not arrive within 2 seconds; send it faster." in no_body.result()
        assert not slow_head.result()
        assert not nothing.result()
        slow_body.result()
        refused.result()
    assert time.monotonic() - began < 15


def test_a_full_queue_is_told_and_a_client_that_leaves_makes_room(folder):
    with Served(folder, queue=3, max_texts=3, max_wait_ms=60_000) as server:
        waiting = server.connect()
        body = json.dumps({"texts": ["a", "b", "c"]}).encode()
        waiting.sendall(HEAD.replace(b"15", str(len(body)).encode()) + b"\r\n" + body)
        wait_for(lambda: server.metrics()["powerbert_queue_texts",] == 3)
        status, headers, content = server.send(content={"text": "d"})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert content == {"error": "3 texts wait already; try again in a second."}
        waiting.close()
        wait_for(lambda: not server.metrics()["powerbert_queue_texts",])
        assert server.metrics()["powerbert_requests_total", "/predict", "499"] == 1


def test_too_many_connections_are_refused_and_others_are_answered_again(folder):
    with Served(folder, max_connections=7) as server:
        idle = [server.connect() for _ in range(7)]
        status, _, _ = server.send("/health")
        assert status == 503
        for connection in idle:
            connection.close()
        wait_for(lambda: server.send("/health")[0] == 200)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_version(server, number):
    wait_for(lambda: server.send("/health")[2]["version"] == number)


def test_a_newer_version_takes_over_and_no_request_is_lost(tmp_path, capfd):
    add_fake(tmp_path, 1)
    texts = made_up_texts(17)
    stop, found = threading.Event(), []

    def ask(client):
        draw, sent = random.Random(client), 0
        while not stop.is_set():
            text = draw.choice(texts)
            status, _, content = server.send(content={"text": text})
            found.append((status, content.get("version"), text, probabilities(content.get("answers", []))))
            sent += 1
        return sent

    with Served(tmp_path) as server, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask, client) for client in range(CLIENTS)]
        try:
            add_fake(tmp_path, 2)
            wait_for_version(server, 2)
            add_fake(tmp_path, 10, "damaged")  # and 10 is newer than 2
            wait_for(lambda: "damaged" in capfd.readouterr().err)
            (tmp_path / "10").rename(tmp_path / "bad-10")
            (tmp_path / "2").rename(tmp_path / "bad-2")
            wait_for_version(server, 1)
        finally:
            stop.set()
        assert sum(client.result() for client in clients) == len(found)
    assert {status for status, *_ in found} == {200}
    assert {version for _, version, *_ in found} == {1, 2}
    for _, version, text, answer in found:
        assert answer == [right(version, text)]


def test_a_version_that_takes_other_texts_is_not_served(tmp_path, capfd):
    add_fake(tmp_path, 1)
    with Served(tmp_path) as server:
        add_fake(tmp_path, 2, "text,text_pair")
        wait_for(lambda: "takes text and text_pair" in capfd.readouterr().err)
        assert server.send("/health")[2]["version"] == 1


def test_a_version_that_is_being_copied_waits_until_it_is_whole(tmp_path, capfd):
    add_fake(tmp_path, 1)
    with Served(tmp_path) as server:
        (tmp_path / "2").mkdir()
        for count in range(11):
            (tmp_path / "2" / "saved_model.pb").write_text("damaged" + "." * count)
            time.sleep(POLL / 3)
        (tmp_path / "2" / "saved_model.pb").write_text("text")
        wait_for_version(server, 2)
    assert "damaged" not in capfd.readouterr().err


def test_what_cannot_be_served_is_told(folder, tmp_path):
    with pytest.raises(InputError, match=r"has no version of an exported model; run --stage=export\."):
        Versions(tmp_path, FakeModel)
    with Served(folder / "1") as server:
        assert server.send("/health")[2]["version"] == 1
        with pytest.raises(InputError, match=r"cannot listen there \(.*in use\)"):
            listen(ServerSettings(port=server.port))
