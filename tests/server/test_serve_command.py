"""`powerbert serve` from its flags to its end: help, mistakes in a line, and no request lost at SIGTERM."""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import add_fake, fake_share  # noqa: E402

from powerbert_tf import command_line  # noqa: E402
from powerbert_tf.server import command  # noqa: E402
from powerbert_tf.server.settings import ServerSettings  # noqa: E402

SERVE_FAKE = """
import sys
from pathlib import Path
from served import FakeModel
from powerbert_tf.server.process import listen, serve
from powerbert_tf.server.settings import ServerSettings
from powerbert_tf.server.versions import Versions
settings = ServerSettings(port=0, max_wait_ms=float(sys.argv[2]), stop_seconds=5)
serve(listen(settings), Versions(Path(sys.argv[1]), FakeModel), settings)
assert "tensorflow" not in sys.modules
"""
WAIT = 2.0  # seconds that the server waits for more requests; the tests' ones are in flight for so long


@pytest.fixture
def fails(capsys):
    """Runs the command; returns its one line of error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            command.start([*map(str, arguments)])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_is_that_of_serve_names_each_flag_and_fits_a_terminal(flag, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["powerbert", "serve", flag])
    with pytest.raises(SystemExit) as caught:
        command_line.start()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for field in dataclasses.fields(ServerSettings):
        assert f"  --{field.name}\n" in text
        assert f"Default: {field.default!r}." in " ".join(text.split())


def test_the_page_describes_each_flag():
    page = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(ServerSettings):
        assert f"`--{field.name}`" in page, field.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: the following arguments are required: folder; powerbert serve --help lists the flags."),
        (("x", "--ports=1"), "error: unrecognized arguments: --ports=1; powerbert serve --help lists the flags."),
        (("x", "--port=a"), "error: argument --port: invalid int value: 'a'; powerbert serve --help lists the flags."),
        (("x", "--port=65536"), "error: --port=65536: expected 0 for any free port, or 1 to 65535."),
        (("x", "--max_wait_ms=nan"), "error: --max_wait_ms=nan: expected 0 or a positive number."),
        (("x", "--queue=3"), "error: --max_texts=64: expected at most --queue, 3."),
        (
            ("no/such/folder", "--port=0"),
            "error: no/such/folder: no exported model; expected the folder of a run, or of exported versions.",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, fails):
    assert fails(*arguments) == message


def test_a_missing_package_is_named_with_what_to_install(fails, monkeypatch):
    found = command.importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda name: None if name.startswith("prom") else found(name)
    )
    assert fails("x") == "error: prometheus-client not installed; pip install prometheus-client."


def test_the_folder_of_a_run_of_versions_or_of_a_version_will_do(tmp_path):
    versions = tmp_path / "run" / "saved_model"
    version = add_fake(versions, 3)
    assert command.versions_folder(tmp_path / "run") == versions
    assert command.versions_folder(versions) == versions
    assert command.versions_folder(version) == version


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_run_without_an_export_is_exported_first(succeeds, tmp_path, fails, monkeypatch, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")

    def export(arguments, check):
        assert arguments[-2:] == [f"--task={run}", "--stage=export"]
        if succeeds:
            add_fake(run / "saved_model", 1)
        return subprocess.CompletedProcess(arguments, 0 if succeeds else 2)

    monkeypatch.setattr(command.subprocess, "run", export)
    if succeeds:
        assert command.versions_folder(run) == run / "saved_model"
        assert capsys.readouterr().out == f"{run} has no exported model: exporting it\n"
    else:
        assert fails(run, "--port=0") == f"error: {run}: cannot be exported; see above."


def start_server(arguments, environment=None):
    """Starts a server; returns its process, its address and its first line, once it listens."""
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", **(environment or {})}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    while line and not line.startswith("serving "):
        line = process.stdout.readline()
    assert line, process.communicate()
    return process, line.split("http://")[1].split(";")[0], line


def predict(address, text):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("POST", "/predict", json.dumps({"text": text}))
        response = connection.getresponse()
        return response.status, json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_flight_be_answered(number, tmp_path):
    add_fake(tmp_path, 1)
    process, address, _ = start_server(["-c", SERVE_FAKE, str(tmp_path), str(1000 * WAIT)])
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(predict, address, text) for text in "abcde"]
        waiting = "powerbert_queue_texts 5.0"
        while waiting not in text_of(address, "/metrics"):
            time.sleep(0.02)
        process.send_signal(number)
        for text, answer in zip("abcde", answers, strict=True):
            status, content = answer.result()
            assert status == 200
            assert content["answers"][0]["probabilities"]["yes"] == round(fake_share(1, (text.encode(),)), 6)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    with pytest.raises(ConnectionRefusedError):
        predict(address, "f")


def text_of(address, path):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.mark.slow
def test_a_run_is_served_from_its_folder(tiny_run, tmp_path):
    """Export, load, answer, stop: all of it, in processes of their own."""
    run = tiny_run.copy(tmp_path, stage="retrain")
    code = "from powerbert_tf.command_line import start; start()"
    process, address, line = start_server(["-c", code, "serve", str(run), "--port=0"])
    assert f"serving {run / 'saved_model' / '1'} on " in line
    status, content = predict(address, "a a b")
    assert (status, content["version"]) == (200, 1)
    assert content["answers"][0]["label"] in ("0", "1")
    assert sum(content["answers"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=120)[0].endswith("stopped\n")
    assert process.returncode == 0
    assert Path(run / "saved_model" / "1" / "saved_model.pb").is_file()
