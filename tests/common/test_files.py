import fcntl
from pathlib import Path

import pytest

from powerbert_tf.common.files import find_cache_folder, read_object, remove_unfinished, replacing, write_json


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before", encoding="utf-8")
    with replacing(path) as partial:
        partial.write_text("after", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "before"
    assert path.read_text(encoding="utf-8") == "after"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def write_half(path):
    with replacing(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise RuntimeError("stopped")


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError, match="stopped"):
        write_half(path)
    assert path.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed(tmp_path):
    folder = tmp_path / "finetune.partial"
    folder.mkdir()
    left = []
    for path in (tmp_path / "result.json", folder / "model.weights.h5"):
        with replacing(path, suffix=".h5") as partial:
            partial.write_text("whole", encoding="utf-8")
            left.append(partial)
    for path in left:  # as if the processes had been killed there
        path.write_text("half", encoding="utf-8")
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"finetune.partial", "model.weights.h5", "result.json"}
    remove_unfinished(tmp_path / "none")


def test_what_another_process_is_writing_is_not_removed(tmp_path):
    path = tmp_path / "shared.json"
    with replacing(path, shared=True) as partial:
        partial.write_text("whole", encoding="utf-8")
        remove_unfinished(tmp_path)
    assert path.read_text(encoding="utf-8") == "whole"


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    def lock(handle, operation):
        # Another process has the lock first, once.
        monkeypatch.setattr(fcntl, "flock", wait)
        remove_unfinished(tmp_path)
        wait(handle, operation)

    wait = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock)
    with replacing(tmp_path / "shared.json", shared=True) as partial:
        partial.write_text("whole", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["shared.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a JSON object: Expecting value"),
        (b"\xff", "expected a JSON object: 'utf-8' codec can't decode byte 0xff"),
        (b"[1]", "expected a JSON object, found list"),
        (b"NaN", "expected a JSON object, found float"),
        (b'{"a":' * 100_000, "expected a JSON object, found more than 100 lists or objects in each other"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "found more than 100 lists or objects in each other"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "expected a JSON object: Exceeds the limit"),
        (b'{"a": ["\\udc80"]}', "found half of a surrogate pair, '.udc80'"),
    ],
)
def test_what_is_no_json_object(content, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_object(path)


def test_a_json_object_is_read_as_it_is(tmp_path):
    value = {"a": [1, 2.5, None, "é\U0001f600\0"], "\\ud800": {}}  # a pair, and a backslash, are texts
    for _ in range(98):
        value = {"in": value}  # a hundred with the list
    write_json(tmp_path / "a.json", value)
    assert read_object(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"POWERBERT_TF_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/powerbert_tf"),
        ({"POWERBERT_TF_CACHE": "", "XDG_CACHE_HOME": ""}, ".cache/powerbert_tf"),
    ],
)
def test_the_default_cache_folder(tmp_path, monkeypatch, variables, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("POWERBERT_TF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    assert find_cache_folder() == tmp_path / folder


def test_a_given_cache_folder_and_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("POWERBERT_TF_CACHE", "own")
    assert find_cache_folder("~/some") == tmp_path / "some"
    assert find_cache_folder("some/where") == Path("some/where")
    assert find_cache_folder("") is None
