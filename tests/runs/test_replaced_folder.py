"""A folder that is replaced is there, whole, at whatever moment the process is killed."""

import contextlib

import pytest

from powerbert_tf.common.files import write_json
from powerbert_tf.runs.folder import RunFolder

STEPS = 7
# Copies of the process kill themselves, each at another step that changes a name, writes or removes something.
KILLED = """
import os, pathlib, shutil, signal, sys
from powerbert_tf.runs.folder import RunFolder
for left, root in enumerate(sys.argv[1:]):
    child = os.fork()
    if not child:
        break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
else:
    sys.exit(0)
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
with RunFolder(pathlib.Path(root)).replacing("onnx") as folder:
    for name in ("model", "card"):
        (folder / name).write_text("new")
"""


def write(root, content):
    with RunFolder(root).replacing("onnx") as folder:
        for name in ("model", "card"):
            (folder / name).write_text(content)


def make(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_killed_replacement_leaves_the_old_or_the_new_folder(tmp_path, run_python):
    roots = [tmp_path / str(step) for step in range(STEPS)]
    for root in roots:
        write(root, "old")
    run_python(KILLED, *roots)
    for root in roots:
        whole = [folder for folder in (root / "onnx", root / "onnx.before") if folder.exists()]
        assert whole, f"step {root.name}: neither is there"
        assert content(whole[0]) in ({"model": "old", "card": "old"}, {"model": "new", "card": "new"})
        write(root, "newer")
        assert content(root / "onnx") == {"model": "newer", "card": "newer"}
        assert [path.name for path in root.iterdir()] == ["onnx"]


def test_a_replacement_that_fails_after_a_kill_between_names_has_the_old_folder_back(tmp_path):
    write(tmp_path, "old")
    (tmp_path / "onnx").rename(tmp_path / "onnx.before")
    with pytest.raises(RuntimeError), RunFolder(tmp_path).replacing("onnx"):
        raise RuntimeError
    assert content(tmp_path / "onnx") == {"model": "old", "card": "old"}


def test_what_is_exported_gets_its_name_when_the_result_is_written(tmp_path):
    folder, result = RunFolder(tmp_path), {"path": "saved_model/1", "settings": {}}

    @contextlib.contextmanager
    def version(written):
        yield
        assert written.exists()
        (tmp_path / "saved_model" / "1").mkdir(parents=True)

    with folder.writing("export", {}) as partial:
        folder.names.enter_context(version(partial / "result.json"))
        assert not (tmp_path / "saved_model").exists()
        write_json(partial / "result.json", result)
    assert folder.result("export") == result

    # As processes leave it that were killed before the result, between it and the name, and behind the name.
    partial = tmp_path / "export.partial"
    partial.mkdir()
    assert not folder.is_complete("export")
    write_json(partial / "result.json", {**result, "path": "saved_model/2"})
    assert not folder.is_complete("export")
    (tmp_path / "saved_model" / "2").mkdir()
    assert folder.is_complete("export")
    (partial / "result.json").write_text("{")
    assert not folder.is_complete("export")


@pytest.mark.parametrize("done", [(), ("onnx",), ("onnx", "saved_model/2")])
def test_an_export_killed_while_its_parts_got_their_names_is_finished(tmp_path, done):
    paths = ("onnx", "saved_model/2")
    partial = tmp_path / "export.partial"
    partial.mkdir()
    result = {"path": "onnx", "formats": {name: {"path": name} for name in paths}, "settings": {}}
    write_json(partial / "result.json", result)
    make(tmp_path / "onnx", model="old")
    for name in paths:
        make(tmp_path / (name if name in done else f"{name}.partial"), model="new")
    folder = RunFolder(tmp_path)
    assert folder.is_complete("export")
    folder.publish("export")
    assert folder.result("export") == result
    assert [content(tmp_path / name) for name in paths] == [{"model": "new"}] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "onnx", "saved_model"]


@pytest.mark.parametrize("place", ["/elsewhere", "../elsewhere", ""])
def test_nothing_outside_the_folder_is_given_a_name(tmp_path, place):
    partial = tmp_path / "runs" / "export.partial"
    partial.mkdir(parents=True)
    make(tmp_path / "elsewhere.partial", model="new")
    write_json(partial / "result.json", {"path": place, "settings": {}})
    assert not RunFolder(tmp_path / "runs").is_complete("export")


def stop_while_writing(folder, named):
    with folder.writing("export", {}):
        folder.names.push(lambda kind, *_: named.append(kind))
        raise RuntimeError("stopped")


def test_an_error_gives_no_name(tmp_path):
    named = []
    with pytest.raises(RuntimeError, match="stopped"):
        stop_while_writing(RunFolder(tmp_path), named)
    assert named == [RuntimeError]  # told of the error, and not asked for a name
    assert not (tmp_path / "export").exists()
