"""`serve_check` finds what is wrong with an export, runs without Keras and model code, and bears load."""

import json

import numpy as np
import pytest
import tensorflow as tf
from test_export import N, write
from tiny_bert import random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import serve_check
from powerbert_tf.export.expected_answers import EXPECTED_FILE, HOSTILE_TEXTS, ExpectedAnswers, compare_answer
from powerbert_tf.serve_check import MemoryWatch, check_refusals, load_signatures, load_test, measure

WITHOUT_MODEL_CODE = """
import sys
model_code = "powerbert_tf.models.classifier", "powerbert_tf.models.encoder", "powerbert_tf.tokenizers.word_pieces"
for name in ("keras", *model_code):
    sys.modules[name] = None  # importing them raises ImportError
from powerbert_tf.serve_check import main
sys.exit(main([sys.argv[1], "--repeats=3"]))
"""


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = tiny_config()
    write_google_checkpoint(folder, config, random_weights(config, None))
    _, version = write(
        folder, tmp_path_factory.mktemp("saved_model"), budgets=(("", None), ("_2x", (0.61, 0.31, 0.13)))
    )
    return version


@pytest.mark.slow
def test_a_fresh_process_finds_nothing_wrong(version, run_python):
    out = run_python(WITHOUT_MODEL_CODE, version).stdout
    assert "signatures serve_examples, serve_examples_2x, serve_text" in out
    assert "answers as at export: 102 calls, 0 wrong" in out  # 6 signatures, 15 requests and 2 batches
    assert "wrong requests rejected: 22 calls, 0 wrong" in out
    assert f"    32     {N}" in out
    assert out.endswith("all right\n")


@pytest.mark.parametrize("damage", ["answer", "classes", "missing", "file"])
def test_what_is_wrong_is_told(damage, version, tmp_path, capsys, monkeypatch):
    content = json.loads((version / EXPECTED_FILE).read_text())
    if damage == "answer":
        content["answers"]["_2x"][3][1] += 0.01
        message = "serving_default_2x, requests 3: probabilities is off by 0.01; expected at most 0.0001"
    elif damage == "classes":
        content["classes"] = ["no", "yes"]
        message = "classes are [b'0', b'1']; expected [b'no', b'yes']"
    elif damage == "missing":
        del content["texts"]
        message = "cannot be loaded ("
    else:
        message = "No such file or directory"
    if damage != "file":
        (tmp_path / EXPECTED_FILE).parent.mkdir()
        (tmp_path / EXPECTED_FILE).write_text(json.dumps(content))
    monkeypatch.setattr(serve_check, "load_signatures", lambda _: load_signatures(version))
    assert serve_check.main([str(tmp_path), "--repeats=0"]) == 1
    assert message in capsys.readouterr().err


def test_a_model_that_refuses_nothing_is_found_out(version):
    expected, signatures = ExpectedAnswers.read(version), load_signatures(version)
    answer = signatures["serving_default"](**expected.ids_request([0]))
    calls, wrong = check_refusals({"serving_default": lambda **_: answer}, expected)
    assert len(wrong) == calls == 11
    assert "serving_default: a mask of zeros is answered; expected an error" in wrong


def test_many_threads_get_right_answers(version):
    calls, wrong = load_test(load_signatures(version), ExpectedAnswers.read(version), seconds=2, threads=16)
    assert not wrong, wrong
    assert calls >= 16  # each thread had an answer


def test_wrong_answers_under_load_are_found(version):
    signatures, expected = load_signatures(version), ExpectedAnswers.read(version)

    def swapped(**inputs):
        return {name: values[::-1] for name, values in signatures["serving_default"](**inputs).items()}

    _, wrong = load_test({"serving_default": swapped}, expected, seconds=1, threads=2)
    assert any("probabilities is off by" in reason for reason in wrong)


def test_latencies_are_of_each_batch_and_length(version):
    seen = []

    def serve(token_ids, segment_ids, padding_mask):
        seen.append(tuple(token_ids.shape))
        return {"probabilities": token_ids}

    rows = measure(serve, ExpectedAnswers.read(version), repeats=5)
    assert [(batch, length) for batch, length, _ in rows] == [(b, t) for b in (1, 8, 32) for t in (16, N)]
    assert len(seen) == len(rows) * 8
    assert all(0 < p50 <= p90 <= p99 for _, _, (p50, p90, p99) in rows)


def test_expected_answers_come_back_as_they_were_written(version, tmp_path):
    expected = ExpectedAnswers.read(version)
    assert [texts[0] for texts in expected.texts[expected.num_samples :]] == list(HOSTILE_TEXTS)
    expected.write(tmp_path)
    again = ExpectedAnswers.read(tmp_path)
    assert again.texts == expected.texts
    for suffix, answers in expected.answers.items():
        np.testing.assert_array_equal(again.answers[suffix], answers)
    right = {"probabilities": tf.constant(expected.answers["_2x"][[2, 0]])}
    assert compare_answer(expected, "serving_default_2x", [2, 0], right) == []
    assert compare_answer(expected, "serving_default_2x", [0, 2], right) != []


@pytest.mark.parametrize(("held", "grown"), [((1000, 1099), False), ((1000, 1101), True)])
def test_memory_is_compared_with_what_it_was_when_warm(held, grown, monkeypatch):
    pages = iter(held)
    monkeypatch.setattr(serve_check.Path, "read_text", lambda *_, **__: f"9999 {next(pages)} 7")
    monkeypatch.setattr(serve_check.os, "sysconf", lambda _: 2**20)
    with MemoryWatch(seconds=0) as watch:
        watch._timer.join()
    assert watch.has_grown is grown
    assert str(watch) == f"memory: 1000 MiB at a quarter of the time, {held[1]} at its end"
