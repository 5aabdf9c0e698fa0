"""A folder that is replaced is there, whole, at whatever moment the process is killed."""

import signal
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from powerbert_tf.run_folder import RunFolder

# Kills itself at the n-th step that changes a name or removes something.
KILLED = """
import os, pathlib, shutil, signal, sys
from powerbert_tf.run_folder import RunFolder
left = int(sys.argv[2])
def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
pathlib.Path.rename, shutil.rmtree = counted(pathlib.Path.rename), counted(shutil.rmtree)
pathlib.Path.write_text = counted(pathlib.Path.write_text)
with RunFolder(pathlib.Path(sys.argv[1])).replacing("onnx") as folder:
    for name in ("model", "card"):
        (folder / name).write_text("new")
"""


def write(root, content):
    with RunFolder(root).replacing("onnx") as folder:
        for name in ("model", "card"):
            (folder / name).write_text(content)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("step", range(7))
def test_a_killed_replacement_leaves_the_old_or_the_new_folder(step, tmp_path):
    write(tmp_path, "old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(step)], cwd=REPOSITORY, timeout=300)
    assert process.returncode == -signal.SIGKILL
    whole = [folder for folder in (tmp_path / "onnx", tmp_path / "onnx.before") if folder.exists()]
    assert whole, "neither is there"
    assert content(whole[0]) in ({"model": "old", "card": "old"}, {"model": "new", "card": "new"})
    write(tmp_path, "newer")
    assert content(tmp_path / "onnx") == {"model": "newer", "card": "newer"}
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def test_a_replacement_that_fails_after_a_kill_between_names_has_the_old_folder_back(tmp_path):
    write(tmp_path, "old")
    (tmp_path / "onnx").rename(tmp_path / "onnx.before")
    with pytest.raises(RuntimeError), RunFolder(tmp_path).replacing("onnx"):
        raise RuntimeError
    assert content(tmp_path / "onnx") == {"model": "old", "card": "old"}
