"""ONNX, OpenVINO and LiteRT forms answer as Keras does, appear whole or not at all, and are asked as documented."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import REPOSITORY
from keras import ops
from scipy import special
from tiny_bert import SPECIAL_TOKENS, random_inputs, random_weights, tiny_config, write_google_checkpoint
from tiny_family import KINDS, family_inputs, write_family_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.data import kinds
from powerbert_tf.export import writers
from powerbert_tf.export.runtimes import runtime_module
from powerbert_tf.models.narrow import prefix
from powerbert_tf.runs import pipeline
from powerbert_tf.tokenizers.word_pieces import Tokenizer

CONFIG = tiny_config()
N, CLASSES, LENGTHS = 23, 3, (11, 23)
NEEDED = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "litert": ("ai_edge_litert",)}
KEPT = {
    "dense": {},
    "fractions": {"retention_configuration": (0.61, 0.31, 0.13)},
    "counts": {"retention_configuration": (17, 11, 2)},
    "weighted": {"retention_configuration": (0.61, 0.31, 0.13), "selection": "weighted"},
    "first positions": {"retention_configuration": (0.61, 0.31, 0.13), "selection": "head"},
    "padding votes": {"retention_configuration": (17, 11, 2), "padding_queries_vote": True},
    "narrowed": {"retention_configuration": (0.61, 0.31, 0.13), "selection": "weighted"},
}
NEURONS, HEADS = (17, 29, 7), (5, 2, 3)


def form_module(form):
    for module in NEEDED[form]:
        pytest.importorskip(module)
    return runtime_module(form)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_google_checkpoint(folder, CONFIG, random_weights(CONFIG, CLASSES))
    base = load_classifier(folder, CLASSES, N)
    narrowed = prefix(base, NEURONS, HEADS)
    return {name: (narrowed if name == "narrowed" else base).with_slots(**slots) for name, slots in KEPT.items()}


def answers_of(model, inputs):
    return ops.convert_to_numpy(ops.softmax(model(inputs)))


def requests(longest):
    return [
        random_inputs(CONFIG, batch=batch, length=length, seed=length)
        for batch in (1, 3, 17)
        for length in (5, 11, 16, N)
        if length <= longest
    ]


@pytest.mark.parametrize(
    ("form", "kept"),
    [("onnx", kept) for kept in KEPT]
    # OpenVINO reads the graph of ONNX, and takes seconds for each.
    + [pytest.param("openvino", kept, marks=pytest.mark.slow) for kept in KEPT],
)
def test_answers_are_the_models(form, kept, models, tmp_path):
    module = form_module(form)
    ((name, longest),) = module.write(models[kept], kinds.CLASSES, LENGTHS, tmp_path, "model", False).items()
    assert longest == N
    serve = module.load(tmp_path / name, threads=1)
    for inputs in requests(N):
        np.testing.assert_allclose(serve(inputs), answers_of(models[kept], inputs), atol=1e-5)


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(form, marks=pytest.mark.slow) for form in ("openvino", "litert"))]
)
def test_several_labels_are_answered_by_sigmoids(form, models, tmp_path):
    module = form_module(form)
    for name, longest in module.write(models["fractions"], kinds.LABELS, (N,), tmp_path, "model", False).items():
        serve = module.load(tmp_path / name, threads=1)
        for inputs in requests(longest):
            expected = 1 / (1 + np.exp(-ops.convert_to_numpy(models["fractions"](inputs))))
            np.testing.assert_allclose(serve(inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(form, marks=pytest.mark.slow) for form in ("openvino", "litert"))]
)
def test_logits_are_divided_by_the_temperature(form, models, tmp_path):
    module = form_module(form)
    written = module.write(models["fractions"], kinds.CLASSES, (N,), tmp_path, "model", False, temperature=0.31)
    for name, longest in written.items():
        serve = module.load(tmp_path / name, threads=1)
        for inputs in requests(longest):
            expected = special.softmax(ops.convert_to_numpy(models["fractions"](inputs)) / 0.31, axis=-1)
            np.testing.assert_allclose(serve(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_what_is_kept_of_an_example_depends_on_its_own_length(form, models, tmp_path):
    module = form_module(form)
    model = models["dense"].with_slots(retention_configuration=(0.6, 0.3, 0.1))
    module.write(model, kinds.CLASSES, LENGTHS, tmp_path, "model", False)
    serve = module.load(tmp_path / ("model.onnx" if form == "onnx" else "model.xml"), threads=1)
    inputs = random_inputs(CONFIG, batch=N, length=N, seed=3)
    mask = (np.arange(N) <= np.arange(N)[:, None]).astype("int32")  # one word-piece, two, and so on
    inputs = {
        "token_ids": inputs["token_ids"] * mask,
        "segment_ids": inputs["segment_ids"] * mask,
        "padding_mask": mask,
    }
    np.testing.assert_allclose(serve(inputs), answers_of(model, inputs), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["dense", "counts", "weighted", "narrowed"])
def test_answers_of_litert_are_the_models_at_each_length(kept, models, tmp_path):
    module = form_module("litert")
    written = module.write(models[kept], kinds.CLASSES, LENGTHS, tmp_path, "model", False)
    assert written == {"model-11.tflite": 11, "model-23.tflite": 23}
    for name, longest in written.items():
        serve = module.load(tmp_path / name, threads=1)
        for inputs in requests(longest):
            np.testing.assert_allclose(serve(inputs), answers_of(models[kept], inputs), atol=1e-5)


@pytest.mark.parametrize("kept", ["fractions", "narrowed"])
@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(form, marks=pytest.mark.slow) for form in ("openvino", "litert"))]
)
def test_8_bits_are_near_and_smaller(form, kept, models, tmp_path):
    module = form_module(form)
    if form == "openvino":
        pytest.importorskip("nncf")
    # Without elimination, where 8 bits swap rows that nearly tie.
    model = models[kept].with_slots() if kept == "narrowed" else models[kept]
    for name in list(module.write(model, kinds.CLASSES, (N,), tmp_path, "model", True))[1:]:
        assert "-int8" in name
        serve = module.load(tmp_path / name, threads=1)
        off = max(np.abs(serve(inputs) - answers_of(model, inputs)).max() for inputs in requests(N))
        assert 1e-5 < off < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_onnx_graph_is_that_of_each_architecture(kind, tmp_path):
    module = form_module("onnx")
    write_family_checkpoint(tmp_path, KINDS[kind])
    model = load_classifier(tmp_path, 7, N, retention_configuration=(0.61, 0.31, 0.13))
    module.write(model, kinds.CLASSES, LENGTHS, tmp_path, "model", False)
    serve = module.load(tmp_path / "model.onnx", threads=1)
    for batch, length in ((1, 5), (3, N)):
        inputs = family_inputs(random_inputs(CONFIG, batch=batch, length=length, seed=5), KINDS[kind])
        if not model.config.type_vocab_size > 1:
            inputs["segment_ids"] = inputs["segment_ids"] * 0
        np.testing.assert_allclose(serve(inputs), answers_of(model, inputs), atol=1e-5)


def test_shared_encoders_are_in_the_file_once(tmp_path):
    module = form_module("onnx")
    write_family_checkpoint(tmp_path, KINDS["albert v1"])
    model = load_classifier(tmp_path, 7, N)
    module.write(model, kinds.CLASSES, LENGTHS, tmp_path, "model", False)
    import onnx

    weights = onnx.load(tmp_path / "model.onnx").graph.initializer
    assert sum(list(weight.dims) == [35, 29] for weight in weights) == 1


def test_a_search_is_not_exported(models):
    form_module("onnx")
    from powerbert_tf.export.onnx_graph import build_onnx

    with pytest.raises(ValueError, match="slot SoftExtract; expected Extract: models of a search cannot be exported"):
        build_onnx(models["dense"].with_slots(soft_extract=True))
    with pytest.raises(ValueError, match="gates on neurons; expected none"):
        build_onnx(models["dense"].with_slots(gate_width=0.3, gated=("neurons",)))


@pytest.fixture(scope="module")
def settings_for(tiny_run):
    def settings(output, task="QNLI", **changes):
        given = {"retention_configuration": "0.6,0.3", "epochs_retrain": 1, "export_lengths": "13"}
        return tiny_run.settings(task, output, **{**given, "export_format": "litert,openvino,onnx", **changes})

    return settings


@pytest.fixture(scope="module")
def exported(tiny_run, settings_for, tmp_path_factory):
    for form in NEEDED:
        form_module(form)
    folder = tiny_run.copy(tmp_path_factory.mktemp("runs"), "QNLI")
    pipeline.run(settings_for(folder.parent), "export")
    return folder


def test_an_export_writes_what_a_client_needs(exported, tiny_run):
    files = {
        "onnx": ["model.onnx"],
        "openvino": ["model.bin", "model.xml"],
        "litert": ["model-13.tflite", "model-23.tflite"],
    }
    result = json.loads((exported / "export" / "result.json").read_text())
    assert list(result["formats"]) == ["onnx", "openvino", "litert"]
    for form, names in files.items():
        folder = exported / form
        assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "README.md", "task.json", "vocab.txt"])
        assert (folder / "vocab.txt").read_bytes() == (tiny_run.checkpoint / "vocab.txt").read_bytes()
        card = (folder / "README.md").read_text()
        assert f"| `{names[-1]}` | float32 | 23 | 0.6,0.3 |" in card
        assert "`probabilities` float32 `[B, C]`; classes, in this order: entailment, not_entailment" in card
        found = result["formats"][form]["files"]
        assert all(0 <= file["largest_difference"] < 1e-4 for file in found.values())
    assert not list(exported.glob("*.partial"))


def test_what_is_there_is_not_written_again(exported, settings_for):
    settings = settings_for(exported.parent, export_format="onnx")
    before = (exported / "onnx" / "model.onnx").stat().st_mtime_ns
    pipeline.run(settings, "export")
    assert (exported / "onnx" / "model.onnx").stat().st_mtime_ns == before


DOCUMENTATION = (REPOSITORY / "docs" / "runtimes.md").read_text(encoding="utf-8")


def test_the_documented_example_runs_and_agrees(exported, run_python):
    pytest.importorskip("tokenizers")
    first, *others = re.findall(r"```python\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)
    code = "\n".join(["import sys", first, "first = probabilities"])
    for block in others:
        code += f"\n{block}\nassert np.abs(probabilities - first).max() < 1e-4"
    code = code.replace("runs/MRPC", str(exported)).replace("length = 16", "length = 23")
    code += '\nassert first.shape == (2, 2)\nassert set(labels) <= {"entailment", "not_entailment"}'
    run_python(code)


@pytest.mark.parametrize("pair_truncation", ["longest_first", "round_robin"])
@pytest.mark.parametrize("max_seq_length", [4, 23, 24])
def test_the_documented_tokenizer_gives_what_serve_text_gives(pair_truncation, max_seq_length, tmp_path):
    """Of all pairs of few words, and of texts with all that a tokenizer may meet."""
    theirs = pytest.importorskip("tokenizers").BertWordPieceTokenizer
    pieces = [*SPECIAL_TOKENS, "a", "b", "##b", "[", "]", "sep", "!", "é"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    lengths = range(max_seq_length + 3)
    pairs = [("ab " * first, "a!" * second) for first in lengths for second in lengths]
    pairs += [("[SEP] a É", "[CLS] b"), ("", "[MASK]"), ("A\tB\u00a0中", "é" * 120)]
    first, *_ = re.findall(r"```python\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)
    code = first[first.index("tokenizer = Bert") : first.index("session =")]
    code, replaced = re.subn(r"(?m)^pairs = .*$", "", code)
    assert replaced == 1
    task = {"max_seq_length": max_seq_length, "case": "uncased", "pair_truncation": pair_truncation}
    names = {
        "np": np,
        "BertWordPieceTokenizer": theirs,
        "folder": tmp_path,
        "task": task,
        "pairs": pairs,
    }
    exec(code, names)
    tokenizer = Tokenizer(pieces, lower_case=True)
    tokenizer.pair_truncation = pair_truncation
    token_ids, segment_ids = tokenizer([tf.constant(column) for column in zip(*pairs, strict=True)], max_seq_length)
    np.testing.assert_array_equal(names["inputs"]["token_ids"], token_ids.to_tensor())
    np.testing.assert_array_equal(names["inputs"]["segment_ids"], segment_ids.to_tensor())
    np.testing.assert_array_equal(names["inputs"]["padding_mask"], tf.sequence_mask(token_ids.row_lengths()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"export_format": "openvino", "export_int8": True},
            r"--export_format=openvino --export_int8: openvino, nncf not installed; pip install openvino nncf",
        ),
        ({"export_format": "litert"}, r"--export_format=litert: ai-edge-litert not installed; pip install ai-edge"),
        ({"export_format": "onnx", "export_precision": "bfloat16"}, r"--export_precision=bfloat16: only for tf_saved"),
    ],
)
def test_what_cannot_be_written_is_said_before_training(changes, message, settings_for, tmp_path, monkeypatch):
    there = ("onnx", "onnxruntime")
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: name if name in there else None)
    with pytest.raises(InputError, match=message):
        pipeline.run(settings_for(tmp_path, **changes), "export")
    assert not (tmp_path / "QNLI" / "finetune").exists()


def test_other_answers_leave_no_folder(settings_for, exported, monkeypatch):
    module = form_module("onnx")
    load = module.load
    monkeypatch.setattr(module, "load", lambda path: lambda inputs: load(path)(inputs) + 0.01)
    settings = settings_for(exported.parent, export_format="onnx")
    before = (exported / "onnx" / "model.onnx").stat().st_mtime_ns
    with pytest.raises(RuntimeError, match=r"gives other answers, off by 0\.01; expected at most 0\.0001"):
        pipeline.run(settings, "export", overwrite=True)
    assert (exported / "onnx" / "model.onnx").stat().st_mtime_ns == before  # the one before stays


def test_a_regression_of_the_dense_model_has_scores(settings_for, tiny_run, tmp_path):
    module = form_module("onnx")
    folder = tiny_run.copy(tmp_path, "STS-B")
    settings = settings_for(tmp_path, "STS-B", export_format="onnx", export_model="finetune", export_int8=True)
    pipeline.run(settings, "export")
    assert not (folder / "retrain").exists()
    inputs = random_inputs(CONFIG, batch=3, length=7)
    assert module.load(folder / "onnx" / "model.onnx")(inputs).shape == (3,)
    card = (folder / "onnx" / "README.md").read_text()
    assert "`scores` float32 `[B]`; a regression" in card
    assert "| `model-int8.onnx` | int8 | 23 | all |" in card
