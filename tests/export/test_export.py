"""An export in a process of its own: the same answers, no code of ours, refusals, and nothing half-written."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import REPOSITORY
from keras import ops
from tensorflow.core.protobuf import saved_model_pb2
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.glue import read_tsv
from powerbert_tf.data.tasks import TASKS
from powerbert_tf.export import saved_model
from powerbert_tf.export.expected_answers import ExpectedAnswers
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.saved_model import next_version, write_saved_model
from powerbert_tf.export.settings import ExportSettings, ServingShapes
from powerbert_tf.export.signatures import in_precision
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.narrow import prefix
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.word_pieces import read_vocabulary

GLUE = pathlib.Path(__file__).resolve().parents[3] / "shared" / "glue_data"
CONFIG = tiny_config()
N = 23
KEPT = (0.61, 0.31, 0.13)
SAMPLES = {1: [("a b c",), ("hello there",)], 2: [("a b c", "d"), ("hello there", "x y z " * 17)]}
SIGNATURES = ("serving_default", "serve_text", "serve_examples")

# Only TensorFlow and the operations of tensorflow_text: no Keras, no code of ours.
SERVE = """
import glob, importlib.util, json, os, sys
sys.modules["powerbert_tf"] = sys.modules["keras"] = None  # importing them raises ImportError
import numpy as np, tensorflow as tf
folder = importlib.util.find_spec("tensorflow_text").submodule_search_locations[0]
for library in glob.glob(os.path.join(folder, "python", "ops", "*.so")):
    tf.load_op_library(library)
signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
requests = np.load(sys.argv[2])
answers = []
for number in range(int(sys.argv[3])):
    inputs = {name: tf.constant(requests[f"{name}{number}"]) for name in ("token_ids", "segment_ids", "padding_mask")}
    answers.append({name: values.numpy().tolist() for name, values in signature(**inputs).items()})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_google_checkpoint(folder, CONFIG, random_weights(CONFIG, None))
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """Exports a task's model once, by task, budgets and flags."""
    made = {}

    def make(task="MRPC", budgets=None, **flags):
        key = (task, budgets, *flags.items())
        if key not in made:
            made[key] = write(checkpoint, tmp_path_factory.mktemp("saved_model"), task, budgets, **flags)
        return made[key]

    return make


def write(checkpoint, folder, task="MRPC", budgets=None, **flags):
    """The models, as fine-tuned, and the folder of their version."""
    task = TASKS[task]
    model = load_classifier(checkpoint, task.num_outputs, N)
    models = {suffix: model.with_slots(retention_configuration=kept) for suffix, kept in (budgets or (("", KEPT),))}
    models |= {suffix: prefix(model, (17, 29, 7), (5, 2, 3)) for suffix, model in models.items() if "narrow" in suffix}
    return models, write_version(folder, models, task, find_checkpoint(checkpoint), **flags)


def write_version(folder, models, task, checkpoint, **flags):
    """Exports models as a run would; returns the folder of the version."""
    request = ExportRequest(
        models=models,
        task=task,
        tokenizer=load_tokenizer(checkpoint, "uncased"),
        checkpoint=checkpoint,
        settings=ExportSettings(**flags),
        truncation="head",
        samples=SAMPLES[1 + task.is_pair],
        description={"name": task.name},
        origin={"data": "sample", "fingerprint": "0a1b"},
    )
    with write_saved_model(request, folder) as result:
        return folder / str(result["version"])


def answers_of(model, inputs, is_regression=False):
    logits = model(inputs)
    return ops.convert_to_numpy(logits)[:, 0] if is_regression else ops.convert_to_numpy(ops.softmax(logits))


def tensors(inputs):
    return {name: tf.constant(values) for name, values in inputs.items()}


def signatures_of(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.mark.slow
@pytest.mark.parametrize("task", ["MRPC", "STS-B"])
def test_another_process_gets_the_same_answers_at_any_batch_and_length(task, exported, tmp_path, run_python):
    models, version = exported(task)
    requests = [
        random_inputs(CONFIG, batch=batch, length=length, seed=length)
        for batch in (1, 3, 17)
        for length in (5, 11, 16, N)
    ]
    arrays = {f"{name}{number}": values for number, inputs in enumerate(requests) for name, values in inputs.items()}
    np.savez(tmp_path / "requests.npz", **arrays)
    served = json.loads(run_python(SERVE, version, tmp_path / "requests.npz", len(requests)).stdout)
    name = "scores" if task == "STS-B" else "probabilities"
    for inputs, answer in zip(requests, served, strict=True):
        assert list(answer) == [name]
        np.testing.assert_allclose(answer[name], answers_of(models[""], inputs, task == "STS-B"), atol=1e-5)


@pytest.mark.slow
def test_saved_model_cli_runs_it_without_our_code(exported, tmp_path, run_python):
    models, version = exported()
    inputs = random_inputs(CONFIG, batch=3, length=11, seed=5)
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = SERVE.split("signature =")[0] + (
        "from tensorflow.python.tools import saved_model_cli; sys.argv[0] = 'saved_model_cli'; saved_model_cli.main()"
    )
    given = ";".join(f"{name}={tmp_path / 'inputs.npz'}[{name}]" for name in inputs)
    arguments = ("--tag_set", "serve", "--signature_def", "serving_default", "--inputs", given, "--outdir", tmp_path)
    run_python(code, "run", "--dir", version, *arguments)
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), answers_of(models[""], inputs), atol=1e-5)


def test_texts_and_examples_get_the_answers_of_their_ids(exported):
    _, version = exported()
    signatures, expected = signatures_of(version), ExpectedAnswers.read(version)
    rows = range(len(expected))
    ids = signatures["serving_default"](**expected.ids_request(rows))["probabilities"].numpy()
    texts = signatures["serve_text"](**expected.text_request(rows))
    np.testing.assert_array_equal(texts["probabilities"], ids)
    assert texts["label"].numpy().tolist() == [b"01"[number : number + 1] for number in ids.argmax(axis=-1)]
    assert texts["classes"].numpy().tolist() == [[b"0", b"1"]] * len(expected)
    examples = signatures["serve_examples"](**expected.examples_request(rows))
    np.testing.assert_array_equal(examples["scores"], ids)
    np.testing.assert_array_equal(examples["classes"], texts["classes"])


def test_a_batch_of_none_has_no_answers(exported):
    none = tf.constant([], tf.string)
    answers = signatures_of(exported()[1])["serve_text"](text=none, text_pair=none)
    assert {name: values.shape.as_list() for name, values in answers.items()} == {
        "label": [0],
        "probabilities": [0, 2],
        "classes": [0, 2],
    }


def change(inputs, **changes):
    return tensors({name: changes.get(name, lambda x: x)(values) for name, values in inputs.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": lambda x: x + 90}, r"token_ids has ids from.*expected 0 to 96, the vocabulary"),
        ({"token_ids": lambda x: x - 90}, r"token_ids has ids from\] \[-90\].*expected 0 to 96"),
        ({"segment_ids": lambda x: x + 2}, r"segment_ids has ids from.*expected 0 to 1, the segments"),
        ({"padding_mask": lambda x: x * 0}, "padding_mask has a row of zeros; expected a 1 in each row"),
        ({"padding_mask": lambda x: x * 2}, r"values other than 0 \(padding\) and 1 \(token\)"),
        ({"padding_mask": lambda x: np.eye(3, 11, 1, "int32")}, "has a 1 after a 0; expected padding on the right"),
        ({"padding_mask": lambda x: x[:, 1:]}, "padding_mask has the shape.*expected that of token_ids"),
        ({"segment_ids": lambda x: x[1:]}, "segment_ids has the shape.*expected that of token_ids"),
    ],
)
def test_wrong_ids_are_refused_and_told_what_was_expected(changes, message, exported):
    serve = signatures_of(exported()[1])["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(**change(random_inputs(CONFIG, batch=3, length=11), **changes))


@pytest.mark.parametrize("length", [0, N + 1])
def test_lengths_out_of_range_are_refused(length, exported):
    ones = tf.ones([3, length], tf.int32)
    message = rf"token_ids has\] \[{length}\] \[columns; expected 1 to {N}, the maximum length"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures_of(exported()[1])["serving_default"](token_ids=ones, segment_ids=ones, padding_mask=ones)


@pytest.mark.parametrize("shape", [[], [3, 1], [1, 1], [2, 3, 5]])
def test_requests_with_other_axes_are_refused_in_one_sentence(shape, exported):
    signatures, words = signatures_of(exported()[1]), " ".join(map(str, shape))
    texts, ids = tf.fill(shape, "a"), tf.ones([*shape, *([7] * (len(shape) == 2))], tf.int32)
    wrong = [
        (
            "serve_text",
            {"text": texts, "text_pair": texts},
            r"\[text has the shape\] \[{}\] \[; expected \[B\], such as",
        ),
        ("serve_examples", {"inputs": texts}, r"\[inputs has the shape\] \[{}\] \[; expected \[B\], such as"),
        (
            "serving_default",
            dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), ids),
            r"\[token_ids has the shape\] \[{}.*; expected \[B, T\], such",
        ),
    ]
    for signature, inputs, message in wrong:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message.format(words)):
            signatures[signature](**inputs)


def test_one_text_with_other_axes_is_refused(exported):
    serve = signatures_of(exported()[1])["serve_text"]
    texts = {"text": tf.constant(["a", "b"]), "text_pair": tf.constant([["a"], ["b"]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"text_pair has the shape\] \[2 1\] \[; expected \[B\]"):
        serve(**texts)


def test_pairs_and_examples_that_lack_a_text_are_refused(exported):
    signatures = signatures_of(exported()[1])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"text and text_pair have\] \[3\] \[and\] \[1\] \[strings"
    ):
        signatures["serve_text"](text=tf.constant(["a"] * 3), text_pair=tf.constant(["b"]))
    example = tf.train.Example()
    example.features.feature["text"].bytes_list.value.append(b"a")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"text_pair.* is required but could not be found"):
        signatures["serve_examples"](inputs=tf.constant([example.SerializeToString()]))


@pytest.mark.slow
def test_budgets_share_one_set_of_weights(exported):
    budgets = (("", None), ("_1.5x", (17, 11, 2)), ("_3x", (0.31, 0.13, 0.07)))
    models, version = exported(budgets=budgets)
    signatures, expected = signatures_of(version), ExpectedAnswers.read(version)
    assert set(signatures) == {f"{name}{suffix}" for name in SIGNATURES for suffix, _ in budgets}
    inputs = random_inputs(CONFIG, batch=7, length=19, seed=11)
    served = {s: signatures[f"serving_default{s}"](**tensors(inputs))["probabilities"].numpy() for s in models}
    for suffix, model in models.items():
        np.testing.assert_allclose(served[suffix], answers_of(model, inputs), atol=1e-5)
    assert np.abs(served[""] - served["_3x"]).max() > 1e-3  # a hundred times what answers may be off
    assert set(expected.answers) == set(models)
    weights = sum(path.stat().st_size for path in (version / "variables").iterdir())
    alone = sum(path.stat().st_size for path in (exported()[1] / "variables").iterdir())
    assert weights < 1.1 * alone


@pytest.mark.slow
def test_a_narrowed_model_answers_as_in_keras_and_takes_less_room(exported, tmp_path, run_python):
    models, version = exported(budgets=(("", None), ("_narrow", KEPT)))
    inputs = random_inputs(CONFIG, batch=7, length=19, seed=11)
    np.savez(tmp_path / "requests.npz", **{f"{name}0": values for name, values in inputs.items()})
    code = SERVE.replace('"serving_default"', '"serving_default_narrow"')
    (served,) = json.loads(run_python(code, version, tmp_path / "requests.npz", 1).stdout)
    np.testing.assert_allclose(served["probabilities"], answers_of(models["_narrow"], inputs), atol=1e-5)
    assert models["_narrow"].count_params() < models[""].count_params()
    card = (version / "README.md").read_text()
    assert "| `serving_default_narrow` | `token_ids`, `segment_ids`, `padding_mask` | 0.61,0.31,0.13; neurons " in card


def test_probabilities_of_a_model_with_a_temperature(checkpoint, tmp_path):
    task = dataclasses.replace(TASKS["MRPC"], temperature=2.7)
    model = load_classifier(checkpoint, task.num_outputs, N)
    version = write_version(tmp_path, {"": model}, task, find_checkpoint(checkpoint))
    inputs = random_inputs(CONFIG, batch=3, length=11)
    expected = ops.convert_to_numpy(ops.softmax(model(inputs) / 2.7))
    served = signatures_of(version)["serving_default"](**tensors(inputs))["probabilities"]
    np.testing.assert_allclose(served, expected, atol=1e-6)
    assert "divided by the temperature 2.7, which held-out rows chose" in (version / "README.md").read_text()


def test_half_precision_copies_each_width_once():
    base = BertClassifier(BertConfig(**CONFIG), 2, N)
    narrow = prefix(base, (17, 29, 7), (5, 2, 3))
    models = {"": base, "_2x": with_retention(base, KEPT), "_3x": narrow, "_4x": with_retention(narrow, KEPT)}
    copies = in_precision(models, "mixed_bfloat16")
    assert list(copies) == list(models)
    for one, other in (("", "_2x"), ("_3x", "_4x")):
        assert copies[one].weights[0] is copies[other].weights[0]
        assert copies[other].retention_configuration == KEPT
    for suffix, model in models.items():
        assert copies[suffix].encoders[0].compute_dtype == "bfloat16"
        for copied, weight in zip(copies[suffix].get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(copied, weight)


def test_what_a_server_needs_is_there(exported, checkpoint):
    _, version = exported()
    assert (version / "assets" / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()
    assert (version / "README.md").read_text().startswith("# MRPC, PoWER-BERT\n")
    assert json.loads((version / "task.json").read_text()) == {"name": "MRPC"}
    assert 'base_path: "/models/MRPC"' in (version.parent / "model.config").read_text()
    assert "pad_variable_length_inputs: false" in (version.parent / "batching.config").read_text()


COMPILED = """
import sys
import tensorflow as tf
from powerbert_tf.serve_check import load_signatures
from powerbert_tf.export.expected_answers import ExpectedAnswers, check_answers
signatures, expected = load_signatures(sys.argv[1]), ExpectedAnswers.read(__import__("pathlib").Path(sys.argv[1]))
calls, wrong = check_answers(signatures, expected)
assert not wrong, wrong
assert calls > 30, calls
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "most"),
    [
        # Batches of 1, 2 (all samples) and 16 (all requests), lengths 8 and 23.
        ({"export_jit_compile": True, "export_lengths": "8"}, 3 * 2),
        ({"export_jit_compile": True, "export_lengths": "8", "export_batch_size": 3}, 2),
    ],
)
def test_xla_compiles_few_shapes(flags, most, exported, tmp_path, run_python):
    _, version = exported(**flags)
    run_python(COMPILED, version, XLA_FLAGS=f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text")
    compiled = {path.name.split(".")[0] for path in tmp_path.glob("module_*before_optimizations.txt")}
    assert 1 <= len(compiled) <= most


def test_static_shapes_are_static_and_larger_batches_refused(exported):
    _, version = exported(export_lengths="8", export_batch_size=3)
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    called = {
        tuple(dimension.size for dimension in attributes.attr["_output_shapes"].list.shape[0].dim)
        for function in saved.meta_graphs[0].graph_def.library.function
        if function.signature.name.startswith("__inference_answers")
        for number, attributes in function.arg_attr.items()
        if number < 3
    }
    assert called == {(3, 8), (3, N)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the request has\] \[4\] \[examples; expected at most 3"):
        signatures_of(version)["serve_text"](text=tf.constant(["a"] * 4), text_pair=tf.constant(["b"] * 4))


@pytest.mark.slow
def test_bfloat16_halves_the_weights_and_answers_alike(exported):
    models, version = exported(export_batch_size=3, export_precision="bfloat16")
    inputs = random_inputs(CONFIG, batch=3, length=11, seed=5)
    served = signatures_of(version)["serving_default"](**tensors(inputs))["probabilities"]
    assert served.dtype == tf.float32
    difference = np.abs(served.numpy() - answers_of(models[""], inputs)).max()
    assert 1e-5 < difference < 0.1
    sizes = [(v / "variables" / "variables.data-00000-of-00001").stat().st_size for v in (version, exported()[1])]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"export_lengths": "8,x"}, r"--export_lengths=8,x: expected whole numbers from 1 to 23"),
        ({"export_lengths": "8,24"}, r"--export_lengths=8,24: expected whole numbers from 1 to 23"),
        ({"export_batch_size": -1}, r"--export_batch_size=-1: expected 0"),
        ({"export_precision": "int8"}, r"--export_precision=int8: expected one of float32, bfloat16"),
    ],
)
def test_shapes_out_of_range_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        ExportSettings(**flags).shapes(N)


def shapes_of(n, **flags):
    return ExportSettings(**{f"export_{name}": value for name, value in flags.items()}).shapes(n)


def test_shapes_are_chosen_where_none_are_given():
    assert shapes_of(N) == ServingShapes()
    assert shapes_of(100, jit_compile=True).lengths == (16, 32, 64, 100)
    assert shapes_of(64, batch_size=7).lengths == (16, 32, 64)
    assert shapes_of(64, lengths="40,8").lengths == (8, 40, 64)
    assert shapes_of(64, batch_size=7).batch_sizes == (7,)
    assert shapes_of(64, jit_compile=True).batch_sizes[:4] == (1, 2, 4, 8)


def test_versions_count_up_and_other_names_do_not_matter(tmp_path):
    assert next_version(tmp_path / "none") == 1
    for name in ("1", "3", "10", "11.partial", "notes", "-4"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


@pytest.mark.parametrize("step", ["build_signatures", "check_answers", "write_warmup_requests", "_sync"])
def test_an_export_that_is_cut_off_leaves_no_version(step, checkpoint, tmp_path, monkeypatch):
    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, step, cut_off)
    with pytest.raises(KeyboardInterrupt):
        write(checkpoint, tmp_path / "saved_model")
    assert list((tmp_path / "saved_model").iterdir()) == []


KILLED = """
import os, signal, sys
sys.path[:0] = ["tests", "tests/export"]
from pathlib import Path
import test_export
from powerbert_tf.export import saved_model
saved_model._sync = lambda folder: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing has its name
test_export.write(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_what_a_killed_export_leaves_is_never_served_and_removed_by_the_next(checkpoint, tmp_path):
    folder = tmp_path / "saved_model"
    command = [sys.executable, "-c", KILLED, str(checkpoint), str(folder)]
    killed = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in folder.iterdir()] == ["1.partial"]
    write(checkpoint, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "batching.config", "model.config"]


def test_an_export_with_other_answers_is_refused(checkpoint, tmp_path, monkeypatch):
    load = saved_model.tf.saved_model.load

    class Wrong:
        def __init__(self, path):
            self.signatures = {
                "serving_default": lambda **inputs: {
                    name: values + 0.01 for name, values in loaded.signatures["serving_default"](**inputs).items()
                }
            }
            loaded = load(path)

    monkeypatch.setattr(saved_model.tf.saved_model, "load", Wrong)
    with pytest.raises(RuntimeError, match=r"gives other answers: serving_default, .*probabilities is off by 0\.0"):
        write(checkpoint, tmp_path / "saved_model")
    assert list((tmp_path / "saved_model").iterdir()) == []


@pytest.mark.parametrize("task", [pytest.param("SST-2", marks=pytest.mark.slow), "MRPC"])
def test_dev_texts_get_the_answers_of_their_ids(task, tokenizer_of_minilm, tmp_path):
    """`serve_text` equals tokenise-then-ids exactly, on real texts and a real vocabulary."""
    if not GLUE.is_dir():
        pytest.skip(f"no GLUE data in {GLUE}")
    checkpoint, tokenizer, config = tokenizer_of_minilm
    row = TASKS[task]
    model = BertClassifier(config, row.num_outputs, 64, retention_configuration=KEPT)
    signatures = signatures_of(write_version(tmp_path, {"": model}, row, checkpoint))
    texts = read_tsv(GLUE / row.folder / "dev.tsv", row.labeled, row.classes, labeled=True).texts
    for start in range(0, len(texts[0]), 67):
        columns = [tf.constant(column[start : start + 67]) for column in texts]
        token_ids, segment_ids = tokenizer(columns, 64)
        ids = {
            "token_ids": token_ids.to_tensor(tokenizer.pad_id),
            "segment_ids": segment_ids.to_tensor(),
            "padding_mask": tf.sequence_mask(token_ids.row_lengths(), dtype=tf.int32),
        }
        served = signatures["serve_text"](**dict(zip(("text", "text_pair"), columns, strict=False)))
        np.testing.assert_array_equal(served["probabilities"], signatures["serving_default"](**ids)["probabilities"])


@pytest.fixture(scope="module")
def tokenizer_of_minilm():
    """MiniLM's vocabulary, and a small model of its size."""
    checkpoint = find_checkpoint()
    pieces = read_vocabulary(checkpoint.folder / "vocab.txt")
    config = BertConfig(**tiny_config(vocab_size=len(pieces), max_position_embeddings=67))
    return checkpoint, load_tokenizer(checkpoint, "uncased"), config
