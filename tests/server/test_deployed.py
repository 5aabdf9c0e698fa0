"""What the server answers with a form that `--stage=deploy` chose."""

import json

import numpy as np
import pytest

for package in ("starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the server's packages are not installed")

from served import add_fake  # noqa: E402

from powerbert_tf.common.errors import InputError  # noqa: E402
from powerbert_tf.export.deployment.answering import Answerer, Served  # noqa: E402
from powerbert_tf.server import command  # noqa: E402
from powerbert_tf.server.deployed import DeployedModel  # noqa: E402


def model(values, texts=("text",), **served):
    """A form that answers these values, and the columns of texts that it was asked."""
    asked = []
    described = {
        **{"form": "onnx", "format": "onnx", "precision": "float32", "model": "m", "lengths": (), "texts": texts},
        **{"output": "probabilities", "classes": ("no", "yes"), "thresholds": (), "max_seq_length": 23, "cores": 1},
        **{"tokenizer": "tokenizers", "tokenizer_path": "t", "pair_truncation": "", "pad_id": 0, **served},
    }

    def answer(columns):
        asked.append([list(column) for column in columns])
        return np.array(values, "float32")

    return DeployedModel("fake", Answerer(Served(**described), answer)), asked


def test_one_class_of_several():
    found, asked = model([[0.75, 0.25], [0.25, 0.75]], texts=("text", "text_pair"))
    answers = found.answer([(b"a\xff", b"b"), ("é".encode(), b"")])
    assert asked == [[["a", "é"], ["b", ""]]]
    assert [answer.describe() for answer in answers] == [
        {"label": "no", "probabilities": {"no": 0.75, "yes": 0.25}},
        {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}},
    ]
    assert (found.inputs, found.max_tokens, answers[0].version) == (("text", "text_pair"), 23, 0)


def test_several_labels_and_numbers():
    found, _ = model([[0.5, 0.25]], thresholds=(0.625, 0.125))
    assert found.answer([(b"a",)])[0].describe() == {"labels": ["yes"], "probabilities": {"no": 0.5, "yes": 0.25}}
    found, _ = model([2.5], classes=())
    assert found.answer([(b"a",)])[0].describe() == {"score": 2.5}


@pytest.fixture
def run(tmp_path):
    """The folder of a run with an export, of which `--stage=deploy` chose another form, and its result."""
    add_fake(tmp_path / "saved_model", 1)
    chosen = {"form": "onnx", "title": "ONNX Runtime", "format": "onnx", "model": "deploy_forms/onnx"}
    result = {
        **{"metric": "accuracy", "keras": {"accuracy": 0.5}, "failed": {}, "requests": {"fingerprint": "x"}},
        "limits": {"percentile": 90.0, "latency_ms": 0.0, "max_loss": 0.01},
        "forms": {"onnx": {"at_ms": 1.5, "loss": 0.0, "metrics": {"accuracy": 0.5}}},
        "chosen": {**chosen, "serve": "deploy/serve.json", "export": {}},
    }
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "serve.json").write_text("{}", encoding="utf-8")
    return tmp_path, result


def write(run, result):
    (run / "deploy" / "result.json").write_text(json.dumps(result), encoding="utf-8")


def test_the_form_that_was_chosen_is_served_while_the_run_is_the_same(run, capsys):
    folder, result = run
    write(folder, result)
    assert command.versions_folder(folder) == folder / "deploy" / "serve.json"
    assert "serving the form that --stage=deploy chose, ONNX Runtime" in capsys.readouterr().out
    write(folder, {**result, "chosen": {**result["chosen"], "format": "tf_saved_model", "model": "deploy_forms/x/1"}})
    assert command.versions_folder(folder) == folder / "deploy_forms" / "x" / "1"
    for change in ({"chosen": None}, {"out_of_date": "retrain ran again"}):
        write(folder, {**result, **change})
        assert command.versions_folder(folder) == folder / "saved_model"
        assert "chose no form of this model; serving its export" in capsys.readouterr().out
    write(folder, {**result, "limits": 5})
    with pytest.raises(InputError, match=r"deploy/result.json: limits.*; run --stage=deploy --overwrite"):
        command.versions_folder(folder)


def test_a_form_that_cannot_be_loaded_is_named(run, capsys):
    folder, result = run
    write(folder, result)
    for flags, message in ([], "serve.json: cannot be loaded"), (["--signature=serve_text_2x"], "has no signatures"):
        with pytest.raises(SystemExit):
            command.start([str(folder), "--port=0", *flags])
        assert message in capsys.readouterr().err
