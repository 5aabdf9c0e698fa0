from pathlib import Path

import pytest

from powerbert_tf.common.files import find_cache_folder


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"POWERBERT_TF_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/powerbert_tf"),
        ({"POWERBERT_TF_CACHE": "", "XDG_CACHE_HOME": ""}, ".cache/powerbert_tf"),
    ],
)
def test_the_default_folder(tmp_path, monkeypatch, variables, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("POWERBERT_TF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    assert find_cache_folder() == tmp_path / folder


def test_a_given_folder_and_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("POWERBERT_TF_CACHE", "own")
    assert find_cache_folder("~/some") == tmp_path / "some"
    assert find_cache_folder("some/where") == Path("some/where")
    assert find_cache_folder("") is None
