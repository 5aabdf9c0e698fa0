"""Forms in processes of their own: their times, what is wrong with them, and the choice among them."""

import json
import statistics

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from tiny_bert import SPECIAL_TOKENS, random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.common import machine
from powerbert_tf.common.errors import InputError
from powerbert_tf.data import kinds
from powerbert_tf.data.kinds import logits_of
from powerbert_tf.data.requests import read_requests
from powerbert_tf.data.tasks import OwnTask
from powerbert_tf.export.deployment import forms
from powerbert_tf.export.deployment.answering import Served, load_deployed
from powerbert_tf.export.deployment.forms import FORMS, why_not_here
from powerbert_tf.export.deployment.measuring import (
    DEV,
    TIMED,
    Records,
    measure,
    padding_share,
    summarize,
    write_requests,
)
from powerbert_tf.export.deployment.recommendation import Limits, ordinal, recommend
from powerbert_tf.export.deployment.settings import DeploySettings
from powerbert_tf.export.deployment.texts import OURS, TOKENIZERS, load_encoder
from powerbert_tf.export.deployment.tokenizer_files import write_tokenizer
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.tokenizers.word_pieces import Tokenizer

N = 23
LETTERS = (*SPECIAL_TOKENS, *"abcdefghij", *(f"##{letter}" for letter in "abcdefghij"), "[", "]", "sep")
OF_TASK = {"classes": ("no", "yes"), "metrics": ("accuracy",), "label_column": "is", "epochs": 1}
PAIRS = OwnTask(name="pairs", text_columns=("one", "other"), **OF_TASK)
SINGLES = OwnTask(name="singles", text_columns=("text",), **OF_TASK)


def row(at_ms, loss=0.0, precision="float32", difference=0.0, start=1.0, spread=0.1):
    return {
        "at_ms": at_ms,
        "turns_ms": [at_ms - spread, at_ms + spread],
        "loss": loss,
        "precision": precision,
        "largest_difference": difference,
        "start_seconds": start,
    }


TABLE = {
    "saved_model": row(7.0),
    "onnx": row(5.0),
    "openvino": row(5.15),
    "onnx-int8": row(2.0, loss=0.03, precision="int8", difference=0.2),
    "litert-int8": row(3.0, loss=0.01, precision="int8", difference=0.1),
    "litert": row(1.0, difference=0.5),  # fast, and wrong
}


@pytest.mark.parametrize(
    ("limits", "expected", "as_fast"),
    [
        (Limits(90, 0, 0.01), "litert-int8", ()),
        (Limits(90, 0, 0.05), "onnx-int8", ()),
        (Limits(90, 0, 0.0), "onnx", ("openvino",)),  # 4.9 to 5.1, and 5.05 to 5.25
        (Limits(99, 4.0, 0.01), "litert-int8", ()),
    ],
)
def test_the_fastest_within_the_limits_is_recommended(limits, expected, as_fast):
    found = recommend(TABLE, limits)
    assert (found.form, found.as_fast) == (expected, as_fast)
    assert f"{TABLE[expected]['at_ms']:.2f} ms at the {ordinal(limits.percentile)} percentile" in found.reason


def test_of_equals_the_one_that_starts_first():
    assert recommend({"a": row(3.0, start=2.0), "b": row(3.0, start=1.0)}, Limits(50, 0, 0)).form == "b"


@pytest.mark.parametrize(
    ("rows", "limits", "reason"),
    [
        (TABLE, Limits(90, 2.5, 0.01), "none answers within 2.5 ms at the 90th percentile; the fastest, litert-int8"),
        ({"onnx-int8": TABLE["onnx-int8"]}, Limits(90, 0, 0.01), "none keeps a loss of 0.01; the least, 0.0300, has"),
        ({"onnx": row(1.0, loss=float("nan"))}, Limits(90, 0, 0.01), "none keeps a loss of 0.01"),
        ({"litert": TABLE["litert"]}, Limits(90, 0, 0.01), "litert gives other answers than Keras, off by 0.5"),
        ({}, Limits(90, 0, 0.01), "no form could be measured"),
    ],
)
def test_no_form_keeps_the_limits(rows, limits, reason):
    found = recommend(rows, limits)
    assert not found.form
    assert reason in found.reason


@pytest.mark.parametrize(
    ("percentile", "text"),
    [(1, "1st"), (52, "52nd"), (33, "33rd"), (90, "90th"), (11, "11th"), (99.9, "99.9th"), (99.1, "99.1th")],
)
def test_percentiles_in_words(percentile, text):
    assert ordinal(percentile) == text


def test_medians_over_turns_of_percentiles():
    draw = np.random.default_rng(5)
    turns = [
        {"ms": draw.gamma(2, 3, 101).tolist(), "peak_bytes": peak << 20, "start_seconds": start, "warm_seconds": 0.5}
        for peak, start in ((300, 2.0), (500, 3.0), (400, 7.0), (9000, 100.0))
    ]
    found = summarize({"turns": turns}, rounds=3, percentile=90, examples=303)  # the last turn is one too many
    hundredths = [statistics.quantiles(turn["ms"], n=100, method="inclusive") for turn in turns[:3]]
    for share in (50, 90, 99):
        expected = statistics.median(cut[share - 1] for cut in hundredths)
        assert found[f"p{share}_ms"] == pytest.approx(expected)
    assert found["at_ms"] == found["p90_ms"]
    assert found["turns_ms"] == pytest.approx([f(cut[89] for cut in hundredths) for f in (min, max)])
    rates = [303 / (sum(turn["ms"]) / 1000) for turn in turns[:3]]
    assert found["requests_per_second"] == pytest.approx(statistics.median(rates))
    assert (found["peak_mib"], found["start_seconds"], found["calls"]) == (500, 3.0, 101)


def test_padding_by_hand():
    # Calls (5, 11), (7, 3): 2 * 11 + 2 * 7 = 36 tokens computed, of which 26 are no padding.
    lengths = [5, 11, 7, 3]
    assert padding_share(FORMS["onnx"], lengths, 2, ()) == pytest.approx(10 / 36)
    assert padding_share(FORMS["onnx"], lengths, 1, ()) == 0
    # Filled up to 16: 4 * 16. With XLA, calls of 3 and 1 are filled up to 4 and 1.
    assert padding_share(FORMS["litert"], lengths, 2, (16, 23)) == pytest.approx(38 / 64)
    assert padding_share(FORMS["saved_model-xla"], lengths, 3, (16, 23)) == pytest.approx(1 - 26 / (4 * 16 + 16))


def test_flags_export_a_form():
    given = ExportSettings(export_lengths="7,13", export_model="finetune")
    assert FORMS["saved_model"].export_flags() == {}
    assert FORMS["onnx-int8"].export_flags() == {"export_format": "onnx", "export_int8": True}
    xla = FORMS["saved_model-xla-bfloat16"]
    assert xla.export_settings(given) == ExportSettings(
        export_lengths="7,13", export_model="finetune", export_jit_compile=True, export_precision="bfloat16"
    )
    assert xla.lengths(given, N) == FORMS["litert"].lengths(given, N) == (7, 13, N)
    assert FORMS["onnx"].lengths(given, N) == ()
    # OpenVINO chooses its precision when it loads.
    assert FORMS["openvino-bfloat16"].export_flags() == {"export_format": "openvino"}


def test_what_is_missing_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(forms.importlib.util, "find_spec", lambda name: None)
    assert why_not_here(FORMS["litert"]) == "not installed; pip install ai-edge-litert"
    assert why_not_here(FORMS["openvino-int8"]) == "not installed; pip install openvino onnx nncf"
    monkeypatch.setattr(forms.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(forms, "computes_bfloat16", lambda: False)
    assert why_not_here(FORMS["openvino-bfloat16"]) == "this processor has no instructions for bfloat16"
    assert why_not_here(FORMS["openvino-int8"]) == ""


def test_processors_that_compute_bfloat16(monkeypatch):
    for flags, expected in (("fpu avx512_bf16 sse", True), ("fpu avx512f sse", False), ("asimd bf16", True)):
        name = "Features" if "asimd" in flags else "flags"
        text = f"processor\t: 0\n{name}\t\t: {flags}\n\n"
        monkeypatch.setattr(machine.Path, "read_text", lambda path, text=text, **_: text)
        assert machine.computes_bfloat16() is expected


def test_peak_memory_is_that_of_this_process(run_python):
    code = "from powerbert_tf.common.machine import peak_memory_bytes as peak; a = bytearray({size}); print(peak())"
    small, large = (int(run_python(code.format(size=size << 20)).stdout) for size in (1, 101))
    assert 95 << 20 < large - small < 107 << 20


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"deploy_forms": "onnx,tensorrt"}, "deploy_forms=onnx,tensorrt: expected some of saved_model"),
        ({"latency_percentile": 100.0}, "latency_percentile=100.0: expected more than 0 and less than 100"),
        ({"latency_limit_ms": -1.0}, "latency_limit_ms=-1.0: expected 0 or a positive number"),
        ({"deploy_max_loss": 1.0}, "deploy_max_loss=1.0: expected 0 or more, and less than 1"),
        ({"deploy_batch_size": 0}, "deploy_batch_size=0: expected at least 1"),
        ({"deploy_cores": -1}, "deploy_cores=-1: expected 0 for all, or a number of cores"),
    ],
)
def test_wrong_flags(given, match):
    with pytest.raises(InputError, match=match):
        DeploySettings(**given)


def test_forms_in_the_order_of_the_table():
    assert DeploySettings(deploy_forms="litert, onnx,litert").forms == ("onnx", "litert")
    assert DeploySettings().forms == tuple(FORMS)


def test_requests_of_a_file(tmp_path):
    path = tmp_path / "sample.jsonl"
    path.write_text('{"text": "a b", "id": 1}\n{"id": 2, "text": "c"}\n{"text": "d"}\n')
    assert read_requests(str(path), ("text",), 2) == [["a b", "c"]]
    with pytest.raises(InputError, match=r"3 rows cannot be used: .*sample.jsonl:1: no other; .*. Mend them"):
        read_requests(str(path), ("text", "other"), 7)
    path.write_text('{"text": " "}\n')
    with pytest.raises(InputError, match=r"1 row cannot be used: .*text is empty"):
        read_requests(str(path), ("text",), 7)
    table = tmp_path / "sample.csv"
    table.write_text("review\na\n")
    with pytest.raises(InputError, match=r"--requests=.*column 'text': no such column; expected one of .*'review'"):
        read_requests(str(table), ("text",), 7)
    with pytest.raises(InputError, match=r"--requests=nowhere\.csv: nowhere\.csv: no such file"):
        read_requests("nowhere.csv", ("text",), 7)


def test_logits_of_answers():
    logits = np.array([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0]])
    back = logits_of(kinds.CLASSES, kinds.CLASSES.answers(logits))
    np.testing.assert_allclose(back - back[:, :1], logits - logits[:, :1])  # up to a constant of each row
    np.testing.assert_allclose(logits_of(kinds.LABELS, kinds.LABELS.answers(logits)), logits)
    np.testing.assert_array_equal(logits_of(kinds.NUMBER, np.array([2.5, -1.0])), [[2.5], [-1.0]])
    assert np.isfinite(logits_of(kinds.LABELS, np.array([[0.0, 1.0]]))).all()


def padded(tokenizer, columns):
    ids, segments = tokenizer([tf.constant(column) for column in columns], N)
    return ids.to_tensor(tokenizer.pad_id).numpy(), segments.to_tensor().numpy()


TEXTS = (
    ["a b c", "ab ba", "a " * 40, "a [SEP] b", "", "j " * 15, "c " * 30],
    ["d", "e " * 40, "f " * 40, "g", "h i", "i " * 16, ""],
)


@pytest.mark.parametrize("pair_truncation", ["round_robin", "longest_first", "waterfall"])
@pytest.mark.parametrize("truncation", ["head", "head_tail"])
@pytest.mark.parametrize("task", [SINGLES, PAIRS], ids=lambda task: task.name)
def test_a_tokenizer_gives_our_ids_without_keras(task, truncation, pair_truncation, tmp_path):
    pytest.importorskip("tokenizers")
    tokenizer = Tokenizer(LETTERS, lower_case=True)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in LETTERS))
    tokenizer.files = (vocabulary,)
    tokenizer.truncation, tokenizer.pair_truncation = truncation, pair_truncation
    columns = TEXTS[: 1 + task.is_pair]
    kind, name = write_tokenizer(tokenizer, task, N, columns, tmp_path)
    assert kind == (OURS if truncation == "head_tail" or pair_truncation == "waterfall" else TOKENIZERS)
    encode = load_encoder(kind, tmp_path / name, N, pair_truncation, tokenizer.pad_id)
    ids, segments = padded(tokenizer, columns)
    found = encode(columns)
    np.testing.assert_array_equal(found["token_ids"], ids)
    np.testing.assert_array_equal(found["segment_ids"], segments)
    np.testing.assert_array_equal(found["padding_mask"].sum(axis=1), (ids != tokenizer.pad_id).sum(axis=1))
    assert {values.dtype for values in found.values()} == {np.dtype("int32")}


def test_where_tokenizers_gives_other_ids_ours_is_taken(tmp_path):
    pytest.importorskip("tokenizers")
    vocabulary = (*LETTERS, "\u16ee")
    tokenizer = Tokenizer(vocabulary, lower_case=False, strip_accents=True)  # of which `tokenizers` knows nothing
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in vocabulary))
    tokenizer.files = (path,)
    kind, _ = write_tokenizer(tokenizer, SINGLES, N, [["á"]], tmp_path)
    assert kind == OURS
    assert write_tokenizer(tokenizer, SINGLES, N, [["a"]], tmp_path)[0] == TOKENIZERS


@pytest.fixture(scope="module")
def onnx_form(tmp_path_factory):
    """A model and the file that describes its ONNX form."""
    for module in ("onnx", "onnxruntime", "tokenizers"):
        pytest.importorskip(module)
    from powerbert_tf.export.runtimes import runtime_module

    folder = tmp_path_factory.mktemp("form")
    config = tiny_config(vocab_size=len(LETTERS))
    write_google_checkpoint(folder / "checkpoint", config, random_weights(config, 2))
    model = load_classifier(folder / "checkpoint", 2, N, retention_configuration=(0.7, 0.5, 0.3))
    (folder / "onnx").mkdir()
    runtime_module("onnx").write(model, kinds.CLASSES, (), folder / "onnx", "model", False)
    tokenizer = Tokenizer(LETTERS, lower_case=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in LETTERS))
    tokenizer.files = (folder / "vocab.txt",)
    kind, name = write_tokenizer(tokenizer, PAIRS, N, TEXTS, folder)
    served = {
        **{"form": "onnx", "format": "onnx", "precision": "float32", "model": "../onnx", "lengths": []},
        **{"texts": ["text", "text_pair"], "output": "probabilities", "classes": ["no", "yes"], "thresholds": []},
        **{"max_seq_length": N, "cores": 1, "tokenizer": kind, "tokenizer_path": f"../{name}"},
        **{"pair_truncation": tokenizer.pair_truncation, "pad_id": tokenizer.pad_id},
    }
    (folder / "served").mkdir()
    path = folder / "served" / "onnx.json"
    path.write_text(json.dumps(served))
    ids, segments = padded(tokenizer, TEXTS)
    inputs = {"token_ids": ids, "segment_ids": segments, "padding_mask": (ids != tokenizer.pad_id).astype("int32")}
    return path, ops.convert_to_numpy(ops.softmax(model(inputs)))


def test_a_loaded_form_answers_texts_as_keras_does(onnx_form):
    path, expected = onnx_form
    answer = load_deployed(path)
    np.testing.assert_allclose(answer(*TEXTS), expected, atol=1e-5)
    assert answer.classes == ("no", "yes")
    for wrong in ((), (["a"],), (["a"], ["b", "c"]), ([], [])):
        with pytest.raises(ValueError, match="expected as many, at least one, of text, text_pair"):
            answer(*wrong)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "serve.json").write_text('{"form": "onnx"}')
    with pytest.raises(ValueError, match=r"serve.json: damaged .* run --stage=deploy --overwrite"):
        load_deployed(tmp_path / "serve.json")


def test_forms_are_measured_once_and_one_that_fails_stops_no_other(onnx_form, tmp_path, capsys):
    path, expected = onnx_form
    broken = path.with_name("broken.json")
    broken.write_text(json.dumps({**json.loads(path.read_text()), "form": "broken", "model": "../nowhere"}))
    requests = tmp_path / "requests.json"
    timed = [column[:6] for column in TEXTS]
    write_requests(requests, {TIMED: timed, DEV: TEXTS})
    records, served = Records(tmp_path / "measured"), {"onnx": path, "broken": broken}
    conditions = {name: {"device": "this one"} for name in served}
    found, problems = measure(served, conditions, requests, batch_size=3, rounds=1, records=records)
    assert list(found) == ["onnx"]
    assert "nowhere" in problems["broken"]
    assert "broken: " in capsys.readouterr().out
    (turn,) = found["onnx"]["turns"]
    assert len(turn["ms"]) == 2
    assert turn["start_seconds"] > 0
    assert turn["peak_bytes"] > 1 << 20
    np.testing.assert_allclose(found["onnx"]["answers"][DEV], expected, atol=1e-5)
    np.testing.assert_allclose(found["onnx"]["answers"][TIMED], expected[:6], atol=1e-5)

    requests.unlink()  # nothing can be measured any more
    again, problems = measure({"onnx": path}, conditions, requests, batch_size=3, rounds=1, records=records)
    assert (again, problems) == ({"onnx": found["onnx"]}, {})
    conditions["onnx"] = {"device": "another"}
    assert "onnx" in measure({"onnx": path}, conditions, requests, batch_size=3, rounds=1, records=records)[1]


def test_a_form_needs_neither_keras_nor_tensorflow(onnx_form, run_python):
    code = (
        "import sys; from powerbert_tf.export.deployment.answering import load_deployed as load\n"
        "print(load(sys.argv[1])(['a b'], ['c']).shape, {'keras', 'tensorflow'} & sys.modules.keys())"
    )
    assert run_python(code, onnx_form[0]).stdout.strip() == "(1, 2) set()"


def test_cores_are_those_of_the_file(onnx_form):
    assert Served.read(onnx_form[0]).cores == 1
