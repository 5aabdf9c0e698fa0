"""A few combinations of settings; ten thousand are in benchmarks/results/tokenizer_settings.md."""

import pytest

pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from benchmarks.reliability.tokenizer_settings.__main__ import to_markdown
from benchmarks.reliability.tokenizer_settings.comparison import run
from benchmarks.reliability.tokenizer_settings.draws import KINDS, draw
from powerbert_tf.common.reporting import reporting
from powerbert_tf.tokenizers import files
from powerbert_tf.tokenizers.word_pieces import Tokenizer


def judged(numbers):
    with reporting(verbose=0):
        return run(numbers)


def test_a_few_draws_are_right_or_refused_by_name():
    found = judged(range(31))
    assert found["failures"] == []
    assert found["outcomes"].keys() == {"equal", "refused"}
    assert sum(found["outcomes"].values()) == 31


def test_draws_differ_and_come_again():
    draws = [draw(number) for number in range(211)]
    assert {one.architecture for one in draws} == set(KINDS)
    assert len({repr(one) for one in draws}) > 190
    assert draw(17) == draws[17]
    settings = {name for one in draws for name in (*one.config, *one.stated, *one.whole, *one.arguments)}
    assert {"truncation_side", "normalizer", "pre_tokenizer", "do_lower_case", "vocab_size", "is_decoder"} <= settings


def test_a_silent_difference_is_found(monkeypatch):
    monkeypatch.setattr(files, "compare_with_tokenizers", lambda *_: None)
    monkeypatch.setattr(Tokenizer, "_normalize", lambda self, texts: texts)
    number = next(number for number in range(97) if draw(number).architecture == "bert" and not draw(number).names())
    (failure,) = judged([number])["failures"]
    assert failure["outcome"] == "other ids"
    assert failure["number"] == number


def test_the_report_counts():
    results = {"outcomes": {"equal": 7}, "taken": {"bert": 7}, "refused": {"normalizer": 3}, "failures": []}
    text = to_markdown({"command": "python", "date": "2026-11-28", "python": "3", "packages": {}, "results": results})
    assert "7 folders" in text
    assert "| normalizer | 3 |" in text
