"""A server in a thread of the test's process, and a model that needs no TensorFlow."""

import contextlib
import http.client
import json
import random
import socket
import threading
import time
import zlib

from prometheus_client import parser

from powerbert_tf.common.errors import InputError
from powerbert_tf.server.answers import Answer
from powerbert_tf.server.process import listen, make_server
from powerbert_tf.server.settings import ServerSettings
from powerbert_tf.server.versions import Versions

POLL = 0.1  # seconds
CLASSES = ("no", "yes")


class FakeModel:
    """Answers texts with numbers that depend on them and on the version; `saved_model.pb` holds the names of inputs."""

    def __init__(self, path):
        content = (path / "saved_model.pb").read_text()
        if "damaged" in content:
            raise InputError(f"{path}: cannot be loaded (it is damaged); export again.")
        self.name, self.version, self.inputs = "fake", int(path.name), tuple(content.split(","))
        self.max_tokens, self.most_rows = 128, 0
        self.batches = []

    def answer(self, rows):
        self.batches.append(len(rows))
        time.sleep(0.003)
        found = []
        for row in rows:
            share = fake_share(self.version, row)
            outputs = {"label": b"yes", "probabilities": [1 - share, share], "classes": [b"no", b"yes"]}
            found.append(Answer(self.version, outputs))
        return found


def fake_share(version, row):
    """The probability of `yes` that a version of the fake model gives."""
    return zlib.crc32(repr((version, row)).encode()) / 2**32


def add_fake(folder, version, content="text"):
    """Adds a version, whole, as an export does."""
    partial = folder / f"{version}.partial"
    partial.mkdir(parents=True)
    (partial / "saved_model.pb").write_text(content)
    return partial.rename(folder / str(version))


class Served:
    """A server in a thread of this process.

    Attributes:
        address: `host:port`.
        versions: What it serves.

    Args:
        folder: Folder of versions.
        load: Loads one; that of `Versions`.
        flags: Other than usual.
    """

    def __init__(self, folder, load=FakeModel, **flags):
        settings = ServerSettings(port=0, **{"poll_seconds": POLL, **flags})
        self.versions = Versions(folder, load)
        self._listening = listen(settings)
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
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
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
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
        """A connection on which anything may be sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def metrics(self):
        """Numbers of `/metrics` by name and values of labels."""
        families = parser.text_string_to_metric_families(self.send("/metrics")[2])
        return {(one.name, *one.labels.values()): one.value for each in families for one in each.samples}


def probabilities(answers):
    """Probabilities `[n][C]` of answers."""
    return [list(answer["probabilities"].values()) for answer in answers]


def made_up_texts(count, seed=0):
    """Texts of 1 to 30 letters."""
    draw = random.Random(seed)
    return [" ".join(draw.choices("abcdefg", k=draw.randrange(1, 31))) for _ in range(count)]
