"""Does what docs/extending.md shows, as a user outside the package would, with the code of the page itself."""

import importlib
import json
import os
import re
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from conftest import REPOSITORY
from documented_commands import SMALL
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint

import powerbert_tf
from powerbert_tf.checkpoints import Checkpoint, hugging_face, load_classifier, named_weights, names
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.metrics import METRICS, compute_metrics, with_metrics
from powerbert_tf.data.tasks import get_task
from powerbert_tf.elimination import significance
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.export.signatures import in_precision
from powerbert_tf.export.writers import WRITERS, check_format
from powerbert_tf.latency.costs import Costs, count_costs
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.elimination_trace import trace_elimination
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.search.calibrate import Calibration

CONFIG = tiny_config()  # 3 encoders
N = 23
TABLES = (
    significance._scores, ARCHITECTURES, names.HUGGING_FACE, names.HUGGING_FACE_EXTRA, METRICS, EXPORT_FORMATS, WRITERS
)  # fmt: skip


def blocks(section):
    """The blocks of Python in a section of the page."""
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def restored_tables():
    before = [dict(table) for table in TABLES]
    yield
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes a module of a user, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return BertClassifier(BertConfig(**CONFIG), 7, N)


@pytest.fixture(scope="module")
def inputs():
    return random_inputs(CONFIG, batch=5, length=19)


@pytest.fixture
def costs():
    return Costs(count_costs(BertConfig(**CONFIG).encoder_size, N, batch_size=5), np.array([7, 13, 19]), 3)


@pytest.fixture
def reduced(write_module, model):
    """The reduced model of the page, with the score of the page."""
    register, use, *_ = blocks("A score")
    write_module("my_score", register)
    found = {"powerbert_tf": powerbert_tf, "model": model}
    exec(use, found)
    return found["reduced"]


def test_a_score_decides_what_stays(reduced, inputs):
    mask = inputs["padding_mask"]
    embedded = reduced.get_layer("embeddings")(inputs["token_ids"], inputs["segment_ids"])
    probs, _ = reduced.encoders[0].attention.attend(embedded, ops.convert_to_tensor(mask))
    paid = ops.convert_to_numpy(probs)[..., 0].sum(axis=1)
    traced = trace_elimination(reduced, inputs)
    for row, length in enumerate(mask.sum(axis=1)):
        # What the trace shows is what decides: the score of the page, and not attention received.
        np.testing.assert_allclose(traced.scores[row, 0, :length], paid[row, :length], rtol=1e-5)
        best = np.argsort(-paid[row, 1:length])[: int(np.ceil(0.8 * length)) - 1]
        np.testing.assert_array_equal(np.flatnonzero(traced.outlives[row] > 0), np.sort([0, *(1 + best)]))


def test_a_score_is_known_wherever_one_is_named(reduced, model, inputs, costs, tmp_path):
    assert resolve_settings("MRPC", selection="to_cls").search.selection == "to_cls"
    found = Calibration(model, [inputs], CLASSES, selection="to_cls").search(costs, 1.3, refinements=3)
    assert costs.speedup(found) >= 1.3
    for slots in ({"gate_width": 0.2}, {"soft_extract": True}):
        assert np.isfinite(ops.convert_to_numpy(model.with_slots(selection="to_cls", **slots)(inputs))).all()
    reduced.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), reduced(inputs))
    significance._scores.pop("to_cls")
    with pytest.raises(InputError, match="selection='to_cls'; expected one of attention, weighted, head, random"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_an_unknown_score_is_refused_with_those_that_are_known(reduced, model):
    known = "attention, weighted, head, random, to_cls"
    for refused in (
        lambda: with_retention(model, None, selection="tail"),
        lambda: BertClassifier(BertConfig(**CONFIG), 7, N, selection="tail"),
        lambda: resolve_settings("MRPC", selection="tail"),
        lambda: check_format("onnx", ExportSettings(), model.config, "tail"),
    ):
        with pytest.raises(InputError, match=f"expected one of {known}"):
            refused()


def test_a_score_for_onnx(reduced, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx_graph = pytest.importorskip("powerbert_tf.export.onnx_graph")
    for name in ("onnx", "openvino"):
        for selection in ("attention", "weighted", "head"):
            check_format(name, ExportSettings(), reduced.config, selection)
        with pytest.raises(InputError, match=f"--export_format={name}: selection='to_cls' has no ONNX writer"):
            check_format(name, ExportSettings(), reduced.config, "to_cls")
    with pytest.raises(InputError, match="selection='to_cls' has no ONNX writer"):
        onnx_graph.build_onnx(reduced)
    before = dict(onnx_graph.SCORE_WRITERS)
    try:
        exec(blocks("A score")[3], {})
        check_format("onnx", ExportSettings(), reduced.config, "to_cls")
        session = onnxruntime.InferenceSession(onnx_graph.build_onnx(reduced).SerializeToString())
    finally:
        onnx_graph.SCORE_WRITERS.clear()
        onnx_graph.SCORE_WRITERS.update(before)
    (found,) = session.run(None, inputs)
    np.testing.assert_allclose(found, ops.softmax(reduced(inputs)), atol=1e-5)


def test_a_static_score_needs_no_onnx_writer(model, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx_graph = pytest.importorskip("powerbert_tf.export.onnx_graph")
    powerbert_tf.register_score("last", lambda length, seed: np.arange(length), needs="nothing")
    last = with_retention(model, (0.8, 0.5, 0.2), selection="last")
    session = onnxruntime.InferenceSession(onnx_graph.build_onnx(last).SerializeToString())
    np.testing.assert_allclose(session.run(None, inputs)[0], ops.softmax(last(inputs)), atol=1e-5)


@pytest.fixture
def run(tmp_path):
    """Runs a script of the user's own, as the page has it, on a tiny checkpoint."""

    def run(module, *flags):
        (tmp_path / "my_score.py").write_text(module, encoding="utf-8")
        (tmp_path / "my_run.py").write_text(blocks("A score")[2], encoding="utf-8")
        write_google_checkpoint(tmp_path / "checkpoint", CONFIG, random_weights(CONFIG, None))
        words = [
            sys.executable, "my_run.py", "--task=MRPC", f"--data_dir={REPOSITORY / 'glue_data' / 'sample'}",
            *SMALL.split(), "--max_seq_length=29", "--target_speedup=1.3", *flags,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    return run


@pytest.mark.slow
def test_a_score_on_the_command_line(run, tmp_path):
    """It is refused before anything is trained, or goes through all stages."""
    register = blocks("A score")[0]
    refused = run(register, "--selection=to_cls", "--export_format=onnx")
    assert refused.returncode == 2
    assert "selection='to_cls' has no ONNX writer" in refused.stderr
    assert not (tmp_path / "runs" / "MRPC" / "finetune").exists()
    done = run(register, "--selection=to_cls")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs" / "MRPC" / "saved_model" / "1" / "saved_model.pb").is_file()
    unknown = run(register, "--selection=to_sep", "--stage=search")
    assert unknown.returncode == 2
    assert "--selection=to_sep: expected one of attention, weighted, head, random, to_cls" in unknown.stderr


@pytest.mark.slow
def test_a_search_on_the_command_line(run, tmp_path):
    done = run(blocks("A search method")[0], "--search_method=geometric", "--stage=report")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "runs" / "MRPC"
    found = json.loads((folder / "search" / "result.json").read_text(encoding="utf-8"))
    assert found["search_method"] == "geometric"
    assert found["predicted_speedup"] == pytest.approx(1.3, rel=0.1)
    *falls, _ = found["retention_configuration"]
    assert falls[0] == pytest.approx(falls[1] / falls[0], abs=0.05)  # the same ratio
    assert not (folder / "search" / "model.weights.h5").exists()
    assert "Each encoder eliminated the same share." in (folder / "report" / "report.md").read_text(encoding="utf-8")
    unknown = run(blocks("A search method")[0], "--search_method=steep", "--stage=search")
    assert "--search_method=steep: expected one of calibrate, soft, paper, geometric" in unknown.stderr


@pytest.fixture
def slotted(write_module, model):
    """The model of the page with slots."""
    layer, use, _ = blocks("A slot")
    found = {"model": model, "KeepFirst": write_module("my_slot", layer).KeepFirst}
    exec(use, found)
    return found["slotted"]


def test_a_slot_sees_what_leaves_self_attention(slotted, model, inputs):
    """With a scale of 1 the slot keeps the first rows, as the static score `head` does, but after attention."""
    for slot in slotted.custom_slots[:2]:
        slot.scale.assign(1.0)
    first = model.encoders[0]
    embedded = model.get_layer("embeddings")(inputs["token_ids"], inputs["segment_ids"])
    mask = ops.convert_to_tensor(inputs["padding_mask"])
    whole, _ = first(embedded, mask, mask)
    kept, kept_mask = slotted.encoders[0](embedded, mask, mask)
    np.testing.assert_allclose(kept, np.asarray(whole)[:, :11], atol=1e-6)
    np.testing.assert_array_equal(kept_mask, inputs["padding_mask"][:, :11])
    # The second encoder attends to those eleven alone.
    assert np.abs(np.asarray(slotted(inputs)) - np.asarray(model(inputs))).max() > 1e-6


def test_a_slot_is_trained_saved_and_copied(slotted, inputs, tmp_path):
    slotted.compile(optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.SparseCategoricalCrossentropy(True))
    slotted.fit(inputs, np.arange(5), epochs=1, verbose=0)
    scales = [float(slot.scale) for slot in slotted.custom_slots[:2]]
    assert 1.0 not in scales
    slotted.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [float(slot.scale) for slot in again.custom_slots[:2]] == scales
    np.testing.assert_array_equal(again(inputs), slotted(inputs))
    copied = in_precision({"": slotted}, "float32")[""]
    assert copied is not slotted
    np.testing.assert_array_equal(copied(inputs), slotted(inputs))
    assert slotted.with_slots().custom_slots is None


def test_a_slot_is_exported_or_refused(slotted, inputs, tmp_path):
    exec(blocks("A slot")[2], {"slotted": slotted})
    for name in ("hugging_face", "google", "onnx", "openvino", "litert"):
        with pytest.raises(InputError, match=f"--export_format={name}: cannot hold custom_slots; expected tf_saved"):
            check_format(name, ExportSettings(), slotted.config, custom_slots=slotted.custom_slots)
    with pytest.raises(ValueError, match="custom_slots are given"):
        pytest.importorskip("powerbert_tf.export.onnx_graph").build_onnx(slotted)
    litert = pytest.importorskip("powerbert_tf.export.litert_runtime")
    with pytest.raises(ValueError, match="custom_slots are given"):
        litert.write(slotted, False, (7,), tmp_path, "model", False)
    with pytest.raises(ValueError, match="which rows they keep"):
        trace_elimination(slotted, inputs)
    import tensorflow as tf

    slotted.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    found = exported.serve({name: tf.constant(ids) for name, ids in inputs.items()})
    np.testing.assert_allclose(found, slotted(inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"custom_slots": [None]}, "1 entries; expected 3"),
        ({"custom_slots": [None, None, keras.layers.Identity()]}, "the last entry is a layer"),
        ({"custom_slots": [None] * 3, "gate_width": 0.2}, "gate_width and custom_slots are given"),
    ],
)
def test_slots_that_do_not_fit_are_refused(slots, message, model):
    with pytest.raises(ValueError, match=message):
        model.with_slots(**slots)


def test_an_architecture(model, inputs, tmp_path):
    exec(blocks("An architecture")[0], {})
    config = BertConfig(**{**CONFIG, "architecture": "newbert"})
    original = BertClassifier(config, 3, N)
    hugging_face.write_checkpoint(tmp_path, original, ("x", "y", "z"), 0)
    assert '"width": 35' in (tmp_path / "config.json").read_text(encoding="utf-8")
    np.testing.assert_array_equal(load_classifier(tmp_path, 3, N)(inputs), original(inputs))


def test_a_checkpoint_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original = BertClassifier(BertConfig(**CONFIG), 2, N)
    (tmp_path / "arrays").mkdir()
    hugging_face.write_checkpoint(tmp_path / "arrays", original, ("x", "y"), 0)
    (tmp_path / "arrays" / hugging_face.FILE).unlink()
    arrays = {name: weight.numpy() for name, weight in named_weights(original).items()}
    np.savez(tmp_path / "arrays" / "weights.npz", **arrays)
    found = {}
    exec(blocks("A checkpoint format")[0], found)
    assert isinstance(found["checkpoint"], Checkpoint)
    inputs = random_inputs(CONFIG, batch=3, length=17)
    np.testing.assert_array_equal(found["loaded"](inputs), original(inputs))


def test_a_metric():
    exec(blocks("A metric")[0], {})
    task = with_metrics(get_task("SST-2"), "kappa,accuracy")
    # Of 8 answers 6 are right; by chance 4 would be.
    labels, answers = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert compute_metrics(task, labels, np.eye(2)[answers]) == {"kappa": pytest.approx(0.5), "accuracy": 0.75}


def test_an_export_format(model, tmp_path):
    exec(blocks("An export format")[0], {})
    check_format("arrays", ExportSettings(export_format="arrays"), model.config, "weighted")
    assert ExportSettings(export_format="arrays").formats == ("arrays",)
    result = WRITERS["arrays"](types.SimpleNamespace(models={"": model}), tmp_path)
    assert result == {"retention_configuration": None}
    with np.load(tmp_path / "weights.npz") as stored:
        for name, weight in named_weights(model).items():
            np.testing.assert_array_equal(stored[name], weight.numpy())


def test_places_that_the_page_names_are_there():
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|md))?)`", page):
        assert (REPOSITORY / path).exists() or (REPOSITORY / "powerbert_tf" / path).exists(), path
