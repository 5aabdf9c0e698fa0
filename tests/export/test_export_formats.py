"""`--export_format`: folders beside the SavedModel, their tokenizers and `retention.json`, and what is in their way."""

import json
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint
from tiny_family import SIZE, write_albert, write_roberta
from tiny_pieces import sample_texts
from tiny_task import write_data

from powerbert_tf import load_classifier, read_retention, with_reduction
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import get_task
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import Retention
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.export.writers import WRITERS
from powerbert_tf.models.narrow import prefix
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.stages import export
from powerbert_tf.tokenizers.files import load_tokenizer

BOTH = "google,hugging_face"
KEPT = (0.61, 0.31, 0.13)


def settings_for(folder, task="SST-2", **changes):
    if not (folder / "data" / task).is_dir():
        write_data(folder / "data", task)
    return resolve_settings(
        task,
        **{
            "checkpoint": str(folder / "checkpoint"),
            "data_dir": str(folder / "data"),
            "output_dir": str(folder / "runs"),
            "max_seq_length": 23,
            "epochs": 1,
            "batch_size": 13,
            "cost_model": "multiply_adds",
            "latency_batch_size": 5,
            "export_format": BOTH,
            **changes,
        },
    )


@pytest.fixture(scope="module")
def albert(tmp_path_factory):
    """A run of a tiny ALBERT that was written in both formats, to copy."""
    folder = tmp_path_factory.mktemp("albert")
    write_albert(folder / "checkpoint")
    kept = ",".join(map(str, KEPT))
    pipeline.run(settings_for(folder, "QNLI", retention_configuration=kept, epochs_retrain=1), "export")
    return folder


BERT = {"retention_configuration": "11,5", "export_format": BOTH}


@pytest.fixture(scope="module")
def written(tiny_run, tmp_path_factory):
    """The folder of a run of a tiny BERT that was written in both formats, to read."""
    folder = tiny_run.copy(tmp_path_factory.mktemp("bert"))
    pipeline.run(tiny_run.settings("SST-2", folder.parent, **BERT), "export")
    return folder


@pytest.fixture
def bert(written, tiny_run, tmp_path):
    """Its copy, and its settings."""

    def settings(**changes):
        return tiny_run.settings("SST-2", tmp_path, **{**BERT, **changes})

    return shutil.copytree(written, tmp_path / "SST-2"), settings


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text(encoding="utf-8"))


def test_the_files_of_each_format(albert, written):
    described = {"retention.json", "task.json"}
    names = {path.name for path in (albert / "runs" / "QNLI" / "google").iterdir()}
    shard = "model.ckpt-best.data-00000-of-00001"
    assert names == {"albert_config.json", "30k-clean.model", "model.ckpt-best.index", shard, *described}
    names = {path.name for path in (written / "google").iterdir()}
    shard = "bert_model.ckpt.data-00000-of-00001"
    assert names == {"bert_config.json", "vocab.txt", "bert_model.ckpt.index", shard, *described}
    for folder, vocabulary in ((albert / "runs" / "QNLI", "spiece.model"), (written, "vocab.txt")):
        names = {path.name for path in (folder / "hugging_face").iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer_config.json", vocabulary, *described}
        assert not (folder / "saved_model").exists()


def test_the_result_tells_where_each_is(albert):
    found = result(albert / "runs" / "QNLI", "export")
    assert {name: form["path"] for name, form in found["formats"].items()} == {name: name for name in BOTH.split(",")}
    assert found["formats"]["google"]["retention_configuration"] == list(KEPT)


@pytest.mark.parametrize("name", ["hugging_face", "google"])
def test_a_written_folder_is_a_checkpoint(name, albert):
    folder = albert / "runs" / "QNLI"
    run = prepare(
        settings_for(albert, "QNLI", retention_configuration=",".join(map(str, KEPT)), epochs_retrain=1),
        albert / "runs" / "QNLI",
    )
    inputs = random_inputs({"vocab_size": SIZE, "max_position_embeddings": 31}, batch=5, length=19)
    retention = read_retention(folder / name)
    again = load_classifier(folder / name, 2, retention.max_seq_length, retention.values, selection=retention.selection)
    expected = ops.convert_to_numpy(run.reduced_model()(inputs))
    np.testing.assert_allclose(ops.convert_to_numpy(again(inputs)), expected, atol=1e-6)
    tokenizer = load_tokenizer(find_checkpoint(folder / name))
    assert tokenizer.fingerprint == run.tokenizer.fingerprint


def test_transformers_takes_classes_and_tokenizer(albert, written):
    transformers = pytest.importorskip("transformers")
    for folder, classes in (
        (albert / "runs" / "QNLI", ["entailment", "not_entailment"]),
        (written, ["0", "1"]),
    ):
        config = transformers.AutoConfig.from_pretrained(folder / "hugging_face")
        assert [config.id2label[number] for number in range(2)] == classes
        theirs = transformers.AutoTokenizer.from_pretrained(folder / "hugging_face")
        ours = load_tokenizer(find_checkpoint(folder / "hugging_face"))
        for text in sample_texts()[:53]:
            expected = ours([[text]], 31)[0].to_list()[0]
            assert theirs(text, truncation=True, max_length=31)["input_ids"] == expected, text


def test_what_is_kept_is_described(albert, written):
    described = json.loads((written / "google" / "retention.json").read_text())
    assert described == {"max_seq_length": 23, "selection": "weighted", "kind": "counts", "values": [11, 5]}
    described = json.loads((albert / "runs" / "QNLI" / "google" / "retention.json").read_text())
    assert (described["kind"], described["values"]) == ("fractions", list(KEPT))
    task = json.loads((albert / "runs" / "QNLI" / "hugging_face" / "task.json").read_text())
    assert (task["classes"], task["case"]) == (["entailment", "not_entailment"], "uncased")


@pytest.mark.slow
def test_elastic_weights_tell_their_budgets(tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path, stage="elastic", target_speedups="1.3,1.8")
    changes = {"target_speedups": "1.3,1.8", "export_model": "elastic", "export_format": "hugging_face"}
    pipeline.run(tiny_run.settings("SST-2", tmp_path, **changes), "export")
    retention = read_retention(folder / "hugging_face")
    assert retention.values == (1.0, 1.0)
    budgets = {b["target_speedup"]: tuple(b["retention_configuration"]) for b in result(folder, "elastic")["budgets"]}
    assert retention.budgets == budgets


NARROW = {"neurons": (17, 23, 7), "heads": (5, 2, 3)}


def narrow_request(folder, elastic=None, **flags):
    """A request to export a model of three encoders that are narrowed, or whose budgets are."""
    write_google_checkpoint(folder / "source", tiny_config(), random_weights(tiny_config(), 2))
    checkpoint = find_checkpoint(folder / "source")
    full = load_classifier(checkpoint, 2, 23, KEPT, selection="weighted")
    return ExportRequest(
        models={"": full.with_slots() if elastic else prefix(full, **NARROW)},
        task=get_task("SST-2"),
        tokenizer=load_tokenizer(checkpoint, "uncased"),
        checkpoint=checkpoint,
        settings=ExportSettings(**flags),
        truncation="head",
        samples=[("a b c",)],
        description={"name": "SST-2"},
        origin={"data": "sample", "fingerprint": "0a1b"},
        elastic=elastic,
    )


@pytest.mark.parametrize("name", ["hugging_face", "google"])
def test_a_narrowed_model_is_described_and_comes_back(name, tmp_path, capsys):
    request, folder = narrow_request(tmp_path), tmp_path / name
    folder.mkdir()
    result = WRITERS[name](request, folder)
    assert result == {"retention_configuration": list(KEPT), **{name: list(own) for name, own in NARROW.items()}}
    assert read_retention(folder) == Retention(KEPT, 23, "weighted", **NARROW)
    said = f"{name}: stored with one width for all encoders, filled up with zeros; retention.json has the width of each"
    assert said in capsys.readouterr().out
    card = (folder / "README.md").read_text()
    assert "Each encoder keeps 0.61,0.31,0.13; neurons 17,23,7; heads 5,2,3." in card
    model = request.models[""]
    assert f"{model.count_params():,} weights, of " in card
    found = {"folder": folder}
    exec(card.split("```python\n")[1].split("```")[0], found)
    inputs = random_inputs(tiny_config(), batch=5, length=19)
    expected = ops.convert_to_numpy(model(inputs))
    np.testing.assert_array_equal(ops.convert_to_numpy(found["model"](inputs)), expected)
    np.testing.assert_allclose(ops.convert_to_numpy(found["wide"](inputs)), expected, atol=1e-5)


def test_budgets_may_be_narrowed_each_in_its_own_way(tmp_path):
    wide = {"target_speedup": 1.5, "retention_configuration": list(KEPT), "metrics": {"accuracy": 0.9}}
    narrow = {**wide, "target_speedup": 2.0, **{name: list(own) for name, own in NARROW.items()}}
    elastic = {"metrics": {"accuracy": 0.9}, "budgets": [wide, narrow]}
    request = narrow_request(tmp_path, elastic, export_model="elastic")
    (tmp_path / "hugging_face").mkdir()
    WRITERS["hugging_face"](request, tmp_path / "hugging_face")
    retention = read_retention(tmp_path / "hugging_face")
    assert retention.budgets == {1.5: KEPT, 2.0: KEPT}
    assert retention.budget_widths == {2.0: NARROW}
    assert not (tmp_path / "hugging_face" / "README.md").exists()
    full = request.models[""]
    run = SimpleNamespace(
        load_model=lambda _: full,
        reduction_of=lambda budget: Reduction.from_json(budget, len(full.encoders), full.max_seq_length),
        reduce=with_reduction,
    )
    models = export.models_to_export(run, elastic)
    assert list(models) == ["", "_1.5x", "_2x"]
    assert models["_1.5x"].weights[0] is full.weights[0]
    assert models["_2x"].reduction == Reduction(KEPT, **NARROW)
    assert models["_1.5x"].reduction == Reduction(KEPT)


def test_what_tensorflow_traces_is_not_exported_from_another_backend(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    message = "--export_format=tf_saved_model: KERAS_BACKEND is jax; expected tensorflow.*run --stage=evaluate so"
    settings = tiny_run.settings("SST-2", tmp_path / "runs", export_format="tf_saved_model")
    with pytest.raises(InputError, match=message):
        pipeline.run(settings, "export")
    assert not (tmp_path / "runs").exists()


def test_another_format_joins_those_that_are_there(bert, capsys):
    folder, settings_of = bert
    earlier = result(folder, "export")
    earlier["settings"]["export_format"] = BOTH  # as an earlier version wrote
    (folder / "export" / "result.json").write_text(json.dumps(earlier))
    before = earlier["formats"]
    weights = (folder / "hugging_face" / "model.safetensors").stat().st_mtime_ns
    settings = settings_of(export_format="tf_saved_model,hugging_face")
    capsys.readouterr()
    pipeline.run(settings, "export")
    told = capsys.readouterr().out
    assert "export: running (asked for; tf_saved_model not there yet)" in told
    assert (folder / "hugging_face" / "model.safetensors").stat().st_mtime_ns == weights
    after = result(folder, "export")["formats"]
    assert list(after) == ["tf_saved_model", "hugging_face", "google"]
    assert {name: after[name] for name in before} == before
    pipeline.run(settings, "export")
    assert "export: already there, reused" in capsys.readouterr().out
    assert [path.name for path in (folder / "saved_model").glob("[0-9]*")] == ["1"]


def test_a_folder_that_is_there_is_replaced_with_overwrite_alone(bert, capsys):
    folder, settings_of = bert
    settings = settings_of()
    (folder / "hugging_face" / "notes").write_text("mine")
    shutil.rmtree(folder / "export")
    with pytest.raises(InputError, match=r"hugging_face is there already; pass --overwrite to replace it, or move it"):
        pipeline.run(settings, "export")
    assert (folder / "hugging_face" / "notes").is_file()
    pipeline.run(settings, "export", overwrite=True)
    assert not (folder / "hugging_face" / "notes").exists()
    shutil.rmtree(folder / "google")
    with pytest.raises(InputError, match=r"google: no such folder; pass --stage=export --overwrite"):
        pipeline.run(settings, "export")
    capsys.readouterr()
    pipeline.run(settings, "retrain", overwrite=True)
    assert "export: removed, as it was made from the previous retrain; what it wrote to hugging_face, google stays" in (
        capsys.readouterr().out
    )


def test_a_format_that_fails_leaves_what_was_there(bert, monkeypatch):
    folder, settings_of = bert
    before = (folder / "google" / "bert_config.json").read_bytes()

    def fails(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr("powerbert_tf.export.writers.write_vocabulary", fails)
    with pytest.raises(OSError, match="the disk is full"):
        pipeline.run(settings_of(export_format="google"), "export", overwrite=True)
    assert (folder / "google" / "bert_config.json").read_bytes() == before


def test_what_google_has_no_format_for_is_refused_before_training(tmp_path):
    write_roberta(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"--export_format=google: RoBERTa has no format of Google's"):
        pipeline.run(settings_for(tmp_path), "export")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["onyx", "", "google,", "google;hugging_face"])
def test_a_format_that_is_none_is_named(text, tmp_path):
    with pytest.raises(InputError, match=r"--export_format=.*: expected of tf_saved_model, hugging_face, google"):
        settings_for(tmp_path, export_format=text)


def test_formats_come_in_the_order_of_the_table():
    assert ExportSettings(export_format=" google,tf_saved_model, google").formats == ("tf_saved_model", "google")


def test_each_format_has_a_writer():
    assert WRITERS.keys() == {name for name, row in EXPORT_FORMATS.items() if not row.versioned}
