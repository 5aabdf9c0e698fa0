"""The server with an exported model answers as Keras does, text by text."""

import base64
import functools
import importlib.util

import numpy as np
import pytest
from conftest import REPOSITORY

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import Served, made_up_texts, probabilities  # noqa: E402
from tiny_export import THRESHOLDS, TinyExport  # noqa: E402

from powerbert_tf.common.errors import InputError  # noqa: E402
from powerbert_tf.export.expected_answers import HOSTILE_TEXTS  # noqa: E402
from powerbert_tf.server.saved_model import ServedModel  # noqa: E402

load = functools.partial(ServedModel.load, signature="serve_text")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a task's model once."""
    made = {}

    def make(task="SST-2"):
        if task not in made:
            made[task] = TinyExport(tmp_path_factory.mktemp("exported"), task)
            made[task].add_version()
        return made[task]

    return make


@pytest.fixture(scope="module")
def served(exported):
    with Served(exported().folder, load, max_characters=101_000) as server:
        yield server


def test_one_text_and_many_are_answered_as_keras_answers(served, exported):
    texts = made_up_texts(11)
    right = exported().answers(1, [(text,) for text in texts])
    answers = served.answers(*texts)
    np.testing.assert_allclose(probabilities(answers), right, atol=1e-5)
    assert [answer["label"] for answer in answers] == [str(label) for label in right.argmax(axis=1)]
    status, _, alone = served.send(content={"text": texts[3]})
    assert (status, alone["version"]) == (200, 1)
    np.testing.assert_allclose(probabilities(alone["answers"]), right[3:4], atol=1e-5)
    assert [*answers[0]["probabilities"]] == ["0", "1"]


def test_hostile_texts_are_answered_as_keras_answers(served, exported):
    columns = [{"b64": base64.b64encode(text).decode()} for text in HOSTILE_TEXTS]
    right = exported().answers(1, [(text,) for text in HOSTILE_TEXTS])
    found = [served.send("/v1/models/SST-2:predict", {"inputs": {"text": [text]}})[2] for text in columns]
    np.testing.assert_allclose([one["outputs"]["probabilities"][0] for one in found], right, atol=1e-5)


@pytest.mark.parametrize("task", ["MRPC", pytest.param("STS-B", marks=pytest.mark.slow), "moods"])
def test_each_kind_of_answer(task, exported):
    export = exported(task)
    rows = [("a b c", "d e f g"), ("g f e " * 9, "a"), ("", "")]
    rows = rows if export.task.is_pair else [row[:1] for row in rows]
    right = export.answers(1, rows)
    with Served(export.folder, load) as server:
        answers = server.answers(*(list(row) if len(row) > 1 else row[0] for row in rows))
        if task == "STS-B":
            np.testing.assert_allclose([answer["score"] for answer in answers], right[:, 0], atol=1e-5)
        else:
            np.testing.assert_allclose(probabilities(answers), right, atol=1e-5)
        if task == "moods":
            names = [
                [name for name, there in zip(export.task.classes, row >= THRESHOLDS, strict=True) if there]
                for row in right
            ]
            assert [answer["labels"] for answer in answers] == names
        if task == "MRPC":
            status, _, content = server.send(content={"text": "a b c"})
            assert (status, content) == (400, {"error": "the body lacks text_pair; expected text and text_pair."})


def test_the_client_of_tensorflow_serving_talks_to_it(served, exported):
    spec = importlib.util.spec_from_file_location("client", REPOSITORY / "examples" / "client.py")
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    texts = made_up_texts(5)
    answers = client.ask_rest(served.address, "SST-2", "serve_text", [text.encode() for text in texts])
    right = exported().answers(1, [(text,) for text in texts])
    np.testing.assert_allclose(answers["probabilities"], right, atol=1e-5)
    assert answers["label"] == [str(label) for label in right.argmax(axis=1)]
    assert answers["classes"] == [["0", "1"]] * 5
    with pytest.raises(RuntimeError, match="no such model; expected SST-2"):
        client.ask_rest(served.address, "MRPC", "serve_text", [b"a"])


@pytest.mark.slow
def test_an_exported_version_takes_over(tmp_path):
    export = TinyExport(tmp_path)
    export.add_version()
    with Served(export.folder, load) as server:
        before = probabilities(server.answers("a b c"))
        assert export.add_version(export_batch_size=2) == 2
        while server.send("/health")[2]["version"] != 2:
            pass
        texts = made_up_texts(7)  # more than the two that this version takes at once
        right = export.answers(2, [(text,) for text in texts])
        np.testing.assert_allclose(probabilities(server.answers(*texts)), right, atol=1e-5)
    np.testing.assert_allclose(before, export.answers(1, [("a b c",)]), atol=1e-5)


def test_what_cannot_be_loaded_is_told(exported, tmp_path):
    with pytest.raises(InputError, match=r"--signature=serve_text_2x: .* has no such one; expected serve_text\."):
        ServedModel.load(exported().folder / "1", "serve_text_2x")
    with pytest.raises(InputError, match=r"has no task\.json; expected a version's folder"):
        load(tmp_path)
    (tmp_path / "task.json").write_text("{}")
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"cannot be loaded \(.*\); export again\."):
        load(tmp_path)
