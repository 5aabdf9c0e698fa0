"""The deploy stage: what it measures, keeps, chooses and writes; and the export that follows."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from powerbert_tf.acceleration import FastClassifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import reporting
from powerbert_tf.export.deployment import exporting, measuring
from powerbert_tf.export.deployment.answering import load_deployed
from powerbert_tf.reports.deployment import format_deployment, serving_code
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.asked import remember
from powerbert_tf.runs.deployment import deploying
from powerbert_tf.runs.finished_run import load_finished_run
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.results import MemoryResults
from powerbert_tf.server.deployed import DeployedModel

for package in ("onnx", "onnxruntime", "openvino", "tokenizers"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow  # processes of their own; tests/export/test_deployment.py has the parts
REQUESTS = ["a b a", "b", "a a b a b", "b b a", "a b b", "a", "b a b"]
GIVEN = {
    **{"deploy_forms": "saved_model,onnx,openvino", "deploy_rounds": 1, "deploy_calls": 3, "deploy_cores": 1},
    **{"deploy_batch_size": 2, "latency_percentile": 50.0},
}


@pytest.fixture(scope="module")
def deployed(tiny_run, tmp_path_factory):
    """The folder of a run whose OpenVINO cannot be exported, its settings, and what was printed."""
    outside = tmp_path_factory.mktemp("deployed")
    folder = tiny_run.copy(outside / "runs", stage="retrain")
    requests = outside / "sample.jsonl"
    requests.write_text("".join(json.dumps({"text": text}) + "\n" for text in REQUESTS))
    settings = tiny_run.settings("SST-2", outside / "runs", requests=str(requests), **GIVEN)
    write, lines = exporting.write_runtime, []

    def fail(request, place, name):
        if name == "openvino":
            raise RuntimeError("no such operation\nin many lines")
        return write(request, place, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "write_runtime", fail)
        with reporting(take=lines.append):
            pipeline.run(settings, "deploy")
    return folder, settings, "\n".join(lines)


def result_of(folder):
    return json.loads((folder / "deploy" / "result.json").read_text())


def keras_answers(folder, texts):
    run = load_finished_run(folder, {})
    ids, segments = run.tokenizer([tf.constant(texts)], run.settings.inputs.max_seq_length)
    mask = tf.sequence_mask(ids.row_lengths(), dtype="int32")
    inputs = {"token_ids": ids.to_tensor(), "segment_ids": segments.to_tensor(), "padding_mask": mask}
    return ops.convert_to_numpy(ops.softmax(run.reduced_model()(inputs)))


def test_the_fastest_form_is_found_and_answers_texts(deployed):
    folder, _, _ = deployed
    result = result_of(folder)
    fastest = min(result["forms"], key=lambda form: result["forms"][form]["p50_ms"])
    assert result["chosen"]["form"] == fastest
    answer = load_deployed(folder / "deploy" / "serve.json")
    np.testing.assert_allclose(answer(REQUESTS), keras_answers(folder, REQUESTS), atol=1e-4)
    served = DeployedModel.load(folder / "deploy" / "serve.json").answer([(text.encode(),) for text in REQUESTS])
    found = [list(answer.describe()["probabilities"].values()) for answer in served]
    np.testing.assert_allclose(found, keras_answers(folder, REQUESTS), atol=1e-4)
    names = {}
    exec(serving_code(result, str(folder)), names)  # the lines that a user copies
    assert names["labels"] == [answer.classes[number] for number in keras_answers(folder, ["A first text."]).argmax(-1)]


def test_times_are_those_that_were_taken(deployed):
    folder, _, _ = deployed
    result = result_of(folder)
    assert result["requests"] | {"fingerprint": ""} == {
        **{"source": deployed[1].deploy.requests, "count": 7, "timed": 6, "fingerprint": ""},
    }
    for form, row in result["forms"].items():
        (turn,) = json.loads((folder / "deploy_forms" / "measured" / f"{form}.json").read_text())["turns"]
        times = np.sort(turn["ms"])
        assert (len(times), row["calls"], row["p50_ms"]) == (3, 3, times[1])
        assert row["p90_ms"] == pytest.approx(times[1] + 0.8 * (times[2] - times[1]))
        assert row["requests_per_second"] == pytest.approx(6000 / sum(times))
        assert row["start_seconds"] == turn["start_seconds"]


def test_answers_and_metric_are_those_of_keras(deployed):
    folder, _, _ = deployed
    result = result_of(folder)
    retrained = json.loads((folder / "retrain" / "result.json").read_text())
    assert result["keras"] == pytest.approx(retrained["metrics"])
    assert (result["examples"], result["compared"]) == (19, 25)
    for row in result["forms"].values():
        assert (row["metrics"], row["loss"], row["changed"]) == (result["keras"], 0, 0)
        assert row["largest_difference"] < 1e-4
    assert {form: row["tokenizer"] for form, row in result["forms"].items()} == {
        **{"saved_model": "its own", "onnx": "tokenizers"},
    }


def test_a_form_that_fails_is_listed_and_stops_no_other(deployed):
    folder, _, printed = deployed
    result = result_of(folder)
    assert result["failed"] == {"openvino": "no such operation"}
    assert "openvino: not measured; no such operation." in printed
    assert {*result["forms"]} == {"saved_model", "onnx"}


def test_what_is_printed_fits_a_console(deployed):
    folder, _, printed = deployed
    shown = format_deployment(result_of(folder), "runs/SST-2")
    assert shown.replace("runs/SST-2", str(folder)) in printed
    assert max(map(len, shown.splitlines())) <= 80
    rows = [line.split() for line in shown.splitlines() if line.lstrip().startswith(("saved_model", "onnx"))]
    assert [len(row) for row in rows if "*" not in row] == [8]  # form, four times, start, memory, what is lost


def test_the_page_shows_what_was_measured(deployed):
    folder, _, _ = deployed
    page = (folder / "deploy" / "index.html").read_text()
    text = (folder / "deploy" / "deploy.md").read_text()
    for heading in ("Recommendation", "Times", "Answers", "Shapes and padding", "Serve it"):
        assert f">{heading}</h2>" in page
        assert f"\n## {heading}\n" in text
    assert "any batch, padded to its longest text" in page
    assert "load_deployed(" in page
    for linked in re.findall(r"\]\((figures/\w+\.svg)\)", text):
        assert (folder / "deploy" / linked).is_file()
    assert text.count("figures/") == 1


def test_only_the_form_that_was_chosen_stays(deployed):
    folder, _, _ = deployed
    chosen = result_of(folder)["chosen"]
    there = {path.name for path in (folder / "deploy_forms").iterdir()}
    assert there == {"measured", "served", "texts", chosen["model"].split("/")[1]}


def test_what_was_measured_is_not_measured_again(deployed, tmp_path, monkeypatch, capsys):
    before, settings, _ = deployed
    folder = shutil.copytree(before, tmp_path / "runs" / "SST-2")
    shutil.rmtree(folder / "deploy_forms" / result_of(before)["chosen"]["form"])

    def refuse(*_):
        raise AssertionError("a form is measured")

    monkeypatch.setattr(measuring, "Worker", refuse)
    again = settings.replace(output_dir=str(tmp_path / "runs"), deploy_forms="saved_model,onnx", latency_limit_ms=1e-6)
    pipeline.run(again, "deploy")
    assert "deploy: running (asked for; other limits)" in capsys.readouterr().out
    result = result_of(folder)
    assert result["chosen"] is None
    assert "none answers within 1e-06 ms at the 50th percentile; the fastest, " in result["reason"]
    assert result["forms"] == result_of(before)["forms"]
    pipeline.run(again, "deploy")
    assert "deploy: already there, reused" in capsys.readouterr().out


def test_the_next_export_is_the_form_that_was_chosen(deployed, tmp_path, capsys):
    folder = tmp_path / "SST-2"
    (folder / "deploy").mkdir(parents=True)
    shutil.copy(deployed[0] / "config.json", folder)
    flags = {"export_format": "onnx", "export_int8": True}
    result = result_of(deployed[0])
    result["chosen"] |= {"form": "onnx-int8", "export": flags}
    (folder / "deploy" / "result.json").write_text(json.dumps(result))
    given = remember({"task": str(folder)}, "export").given
    assert {name: value for name, value in given.items() if name in {**flags, "export_precision": ""}} == {
        **flags,
        "export_precision": None,
    }
    line = "export: onnx-int8, which --stage=deploy chose (--export_format=onnx --export_int8); flags of the export"
    assert line in capsys.readouterr().out
    # Flags say otherwise, another stage does not ask, and a damaged result says nothing.
    assert remember({"task": str(folder), "export_format": "litert"}, "export").given["export_format"] == "litert"
    assert remember({"task": str(folder)}, "predict").given["export_format"] == "tf_saved_model"
    for wrong in ({"export_int8": "yes"}, {"batch_size": 7}):
        result["chosen"]["export"] = wrong
        (folder / "deploy" / "result.json").write_text(json.dumps(result))
        assert remember({"task": str(folder)}, "export").given["export_format"] == "tf_saved_model"
    assert "which --stage=deploy chose" not in capsys.readouterr().out


def test_requests_from_python(deployed, tmp_path):
    before, settings, _ = deployed
    shutil.copytree(before / "retrain", tmp_path / "SST-2" / "retrain")
    run = prepare(settings.replace(requests=""), tmp_path / "SST-2")
    asked = deploying(run, REQUESTS, deploy_batch_size=1, latency_limit_ms=5.0)
    lines = Path(asked.settings.deploy.requests).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": text} for text in REQUESTS]
    assert asked.settings.deploy.latency_limit_ms == 5
    for wrong in ([], [("a", "b")]):
        with pytest.raises(InputError, match="requests: expected at least one, each with text"):
            deploying(run, wrong)


def test_a_classifier_from_python_deploys(tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path, stage="retrain")
    run = prepare(tiny_run.settings("SST-2", tmp_path), folder)
    fast = FastClassifier(run.reduced_model(), None, run)
    found = fast.deploy(REQUESTS, **{**GIVEN, "deploy_forms": "saved_model"})
    assert found == result_of(folder)
    assert found["chosen"]["form"] == "saved_model"
    assert found["requests"]["count"] == len(REQUESTS)
    elsewhere = FastClassifier(fast.model, None, run.replaced(results=MemoryResults()))
    with pytest.raises(InputError, match="deploy: needs data, and a folder"):
        elsewhere.deploy(REQUESTS)


def test_what_cannot_be_deployed_is_refused_before_anything_runs(deployed, tmp_path):
    before, settings, _ = deployed
    run = prepare(settings.replace(export_model="elastic"), before)
    with pytest.raises(InputError, match="--export_model=elastic: --stage=deploy takes retrain or finetune"):
        deploying(run)
    with pytest.raises(InputError, match=r"--requests=nowhere\.csv: nowhere\.csv: no such file"):
        deploying(prepare(settings, before), requests="nowhere.csv")
