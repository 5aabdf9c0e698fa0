"""The load on the server: what it counts, and a short run against a server in a process of its own."""

import json

import pytest
from absl.testing import flagsaver

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import add_fake  # noqa: E402

from benchmarks.server.__main__ import Load, add_version, bodies_for  # noqa: E402

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
def test_no_request_is_lost_under_load(tmp_path):
    from tiny_export import TinyExport

    from benchmarks.server import __main__ as benchmark

    export = TinyExport(tmp_path)
    export.add_version()
    benchmark.define_flags()
    flags = {"folder": str(export.folder), "clients": 7, "seconds": 8.0, "output": str(tmp_path / "server")}
    with flagsaver.flagsaver():
        benchmark.FLAGS.mark_as_parsed()
        for name, value in flags.items():
            benchmark.FLAGS[name].value = value
        benchmark.main(["benchmarks.server"])
    report = json.loads((tmp_path / "server.json").read_text())
    *_, load = report["loads"]
    assert load["statuses"] == {"200": load["answered"]}
    assert {*load["versions"]} == {"1", "2"}
    assert report["hostile_connections"] > 0
    assert "half-way a newer version took over" in (tmp_path / "server.md").read_text()
