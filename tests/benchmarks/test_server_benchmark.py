"""The load on the server: what it counts, and a short run against a server in a process of its own."""

import json
import sys
import types

import pytest
from conftest import REPOSITORY

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import add_fake  # noqa: E402

from benchmarks.server import __main__ as benchmark  # noqa: E402
from benchmarks.server.__main__ import Load, add_version, bodies_for  # noqa: E402

# A model whose answers do not depend on its version.
SERVE_FAKE = """
import sys
from served import FakeModel
from powerbert_tf.server.answers import Answer
from powerbert_tf.server.command import parse
from powerbert_tf.server.process import listen, serve
from powerbert_tf.server.versions import Versions
def answer(self, rows):
    outputs = [{"scores": sum(map(len, row)) / 7} for row in rows]
    return [Answer(self.version, each) for each in outputs]
FakeModel.answer = answer
folder, settings = parse(sys.argv[1:])
serve(listen(settings), Versions(folder, FakeModel), settings)
"""
YES = {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}


def test_answers_lost_requests_and_wrong_answers_are_counted():
    load = Load()
    load.seconds = 2.0
    load.note(10.0, "200", {"answers": [YES], "version": 1}, YES)
    load.note(20.0, "200", {"answers": [{"probabilities": {"no": 0.2502, "yes": 0.7498}}], "version": 2}, YES)
    load.note(30.0, "200", {"answers": [{"score": 3.5}], "version": 2}, {"score": 3.5})
    load.note(990.0, "503", {"error": "..."}, YES)
    load.note(990.0, "lost", {}, YES)
    row = load.summary("two clients")
    assert (row["answered"], row["per_second"], row["p50_ms"], row["wrong"]) == (3, 1.5, 20.0, 1)
    assert row["statuses"] == {"200": 3, "503": 1, "lost": 1}
    assert row["versions"] == {"1": 1, "2": 2}


def test_a_newer_version_is_a_copy_under_the_next_number(tmp_path):
    add_fake(tmp_path, 9, "text")
    add_version(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "9"]
    assert (tmp_path / "10" / "saved_model.pb").read_text() == "text"


def test_requests_have_the_inputs_of_the_model():
    bodies = [json.loads(body) for body in bodies_for(["text", "text_pair"])]
    assert all(body.keys() == {"text", "text_pair"} for body in bodies)
    assert {len(body["text"].split()) for body in bodies} <= {*range(3, 61)}


@pytest.mark.slow
def test_no_request_is_lost_under_load(tmp_path, monkeypatch):
    """Against a server in a process of its own, with a model that needs no TensorFlow."""
    add_fake(tmp_path / "versions", 1)
    monkeypatch.setattr(benchmark, "COMMAND", (sys.executable, "-c", SERVE_FAKE))
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
    given = types.SimpleNamespace(clients=7, seconds=11.0, hostile=2)
    monkeypatch.setattr(benchmark, "FLAGS", given)
    with (tmp_path / "log").open("w") as log:
        report = benchmark.measure(tmp_path / "versions", log)
    assert (tmp_path / "log").read_text() == ""
    alone, unbatched, batched = report["loads"]
    for load in (alone, unbatched, batched):
        assert load["statuses"] == {"200": load["answered"]}
        assert load["wrong"] == 0
    assert {*batched["versions"]} == {"1", "2"}
    assert report["version_at_the_end"] == 2
    assert report["texts_per_batch"] > 1
    assert report["hostile_connections"] > 0
    assert len(report["memory_mib"]) > 3
    text = benchmark.render({**report, "model": "A fake", "command": "x", "date": "x", "python": "x", "packages": {}})
    assert "half-way a newer version took over" in text
