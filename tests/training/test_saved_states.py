"""Saved states are whole or not there, and damage is found."""

import errno
import os

import pytest

from powerbert_tf.training.state import SavedStates, link_or_copy


def writing(text):
    return lambda folder: (folder / "a.txt").write_text(text)


@pytest.fixture
def states(tmp_path):
    states = SavedStates(tmp_path / "states")
    for number in range(1, 4):
        states.save(writing(f"state {number}"))
    return states


def names(states):
    return sorted(path.name for path in states.folder.iterdir())


def test_the_last_two_stay(states):
    assert names(states) == ["2", "3"]
    assert (states.newest() / "a.txt").read_text() == "state 3"
    states.clear()
    assert states.newest() is None
    assert not states.folder.exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "a.txt").write_text("state X"), "a.txt has another SHA-256 than when it was written"),
        (lambda folder: (folder / "a.txt").unlink(), "a.txt: No such file or directory"),
        (lambda folder: (folder / "sha256.json").write_bytes(b"\xff{"), "sha256.json cannot be read"),
        (lambda folder: (folder / "sha256.json").write_text("[]"), "sha256.json cannot be read"),
        (lambda folder: (folder / "sha256.json").unlink(), "sha256.json: No such file or directory"),
    ],
)
def test_a_damaged_state_is_named_and_the_one_before_it_taken(states, capsys, damage, reason):
    damage(states.folder / "3")
    assert (states.newest() / "a.txt").read_text() == "state 2"
    assert f"{states.folder / '3'}: damaged ({reason}); using the checkpoint before it" in capsys.readouterr().out
    states.save(writing("state 3 again"))
    assert names(states) == ["2", "3"]


def test_there_are_never_more_than_two(states):
    states.save(lambda folder: (folder / "a.txt").write_text(" ".join(names(states))))
    assert (states.newest() / "a.txt").read_text() == ".new 3"


def test_a_state_that_cannot_be_written_leaves_the_one_before_it(states):
    def full(folder):
        (folder / "a.txt").write_text("half of")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        states.save(full)
    assert names(states) == ["3"]


def test_what_a_killed_process_left_is_no_state(states):
    (states.folder / ".new").mkdir()
    (states.folder / ".new" / "a.txt").write_text("half of")
    assert states.newest().name == "3"
    states.save(writing("state 4"))
    assert names(states) == ["3", "4"]


def test_a_link_outlives_a_file_that_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("before")
    link_or_copy(tmp_path / "file", tmp_path / "link")
    (tmp_path / "new").write_text("after")
    (tmp_path / "new").replace(tmp_path / "file")
    assert (tmp_path / "link").read_text() == "before"

    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "after"
