import json
import re

import numpy as np
import pytest
from keras import ops
from scipy import special
from selenium_chromium import CHROMIUM, DRIVER, open_page
from tiny_bert import random_inputs, tiny_config, vocabulary

from powerbert_tf.data.kinds import LABELS, NUMBER
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.narrow import prefix
from powerbert_tf.reports.word_inspector import (
    Explanation,
    explain_batches,
    explanation_text,
    inspector_page,
    token_statistics,
    token_table,
)

CONFIG = tiny_config()  # 3 encoders
N = 23
NAN = np.nan


def example(**changes):
    values = {
        "number": 17,
        "tokens": ["[CLS]", "un", "believ", "able", "film", "[SEP]"],
        "begins_word": [True, True, False, False, True, True],
        "outlives": np.array([3, 0, 2, 1, 2, 0]),
        "scores": np.array(
            [[0.5, 0.1, 0.9, 0.4, 1.8, 0.0], [0.5, NAN, 0.6, 0.1, 0.7, NAN], [0.0, NAN, 0.3, NAN, 0.2, NAN]]
        ),
        "dense": np.array([0.25, 0.75]),
        "reduced": np.array([0.625, 0.375]),
        "label": 1,
    }
    return Explanation(**{**values, **changes})


@pytest.mark.parametrize("widths", [{}, {"neurons": (17, 29, 7), "heads": (5, 2, 3)}], ids=["rows", "rows, widths"])
def test_examples_come_in_the_order_of_the_batches_with_both_models_answers(widths):
    dense = BertClassifier(BertConfig(**CONFIG), 7, N)
    reduced = with_retention(prefix(dense, **widths), (11, 5, 1))
    batches = [random_inputs(CONFIG, batch=count, length=19, seed=count) for count in (5, 3)]
    numbers = np.array([4, 1, 7, 0, 2, 6, 3, 5])
    labels = np.arange(8) % 7
    words = vocabulary(97)
    spelled = [(word.upper(), word < "m") for word in words]
    found = list(explain_batches(dense, reduced, batches, numbers, spelled, labels=labels))
    assert [one.number for one in found] == list(numbers)
    assert [one.label for one in found] == list(labels[numbers])
    logits = [np.concatenate([ops.convert_to_numpy(model(batch)) for batch in batches]) for model in (dense, reduced)]
    for name, expected in zip(("dense", "reduced"), logits, strict=True):
        answers = np.array([getattr(one, name) for one in found])
        np.testing.assert_allclose(answers, special.softmax(expected, axis=-1), atol=1e-6)
    ids = [
        row[mask == 1] for batch in batches for row, mask in zip(batch["token_ids"], batch["padding_mask"], strict=True)
    ]
    assert [one.tokens for one in found] == [[words[token].upper() for token in row] for row in ids]
    assert [one.begins_word for one in found] == [[words[token] < "m" for token in row] for row in ids]
    kept = [[int(np.sum(one.outlives > encoder)) for encoder in range(3)] for one in found]
    assert kept == [[min(11, len(row)), min(5, len(row)), 1] for row in ids]


def test_a_regression_is_answered_by_its_logit():
    dense = BertClassifier(BertConfig(**CONFIG), 1, N)
    batch = random_inputs(CONFIG, batch=5, length=19)
    (one, *_) = explain_batches(dense, dense, [batch], range(5), [(word, True) for word in vocabulary(97)], kind=NUMBER)
    np.testing.assert_allclose(one.dense, ops.convert_to_numpy(dense(batch))[0], atol=1e-6)
    assert one.label is None
    assert explanation_text(one).startswith(f"example 0: dense {one.dense[0]:.3f}, reduced {one.reduced[0]:.3f}\n")


def test_labels_are_answered_by_their_sigmoids():
    dense = BertClassifier(BertConfig(**CONFIG), 7, N)
    batch = random_inputs(CONFIG, batch=5, length=19)
    labels = np.array([[1, 0, 1, 0, 0, 0, 1], [0] * 7, [1] * 7, [0] * 7, [0] * 7], "uint8")
    spelled = [(word, True) for word in vocabulary(97)]
    (one, other, *_) = explain_batches(dense, dense, [batch], range(5), spelled, LABELS, labels)
    expected = special.expit(ops.convert_to_numpy(dense(batch)))
    np.testing.assert_allclose([one.dense, other.reduced], expected[:2], atol=1e-6)
    assert (one.label, other.label) == ([0, 2, 6], [])


def test_labels_above_their_thresholds_are_the_answer():
    thresholds = {"dense": (0.25, 0.5), "reduced": (0.7, 0.5)}
    first, *_ = explanation_text(example(label=[0]), ["bad", "good"], thresholds).splitlines()
    assert first == "example 17: dense bad (0.250) + good (0.750), reduced none, right bad"
    data = data_of(inspector_page([example(label=[])], "A title", [], ["bad", "good"], thresholds))
    assert data["thresholds"] == {"dense": [0.25, 0.5], "reduced": [0.7, 0.5]}
    assert data["examples"][0]["label"] == []
    assert data_of(inspector_page([example()], "A title", [], ["bad", "good"]))["thresholds"] is None


def test_the_table_has_one_row_per_token():
    table = token_table([example(), example(number=19, label=None)])
    assert list(table.columns) == ["example", "position", "piece", "outlives", "score_1", "score_2", "score_3"]
    assert table.shape == (12, 7)
    row = table.iloc[6 + 2]
    assert tuple(row) == (19, 2, "believ", 2, 0.9, 0.6, 0.3)


def test_text_shows_dots_in_place_of_eliminated_tokens():
    assert explanation_text(example(), ["bad", "good"]).splitlines() == [
        "example 17: dense good (0.750), reduced bad (0.625), right good",
        "    input  [CLS] unbelievable film [SEP]",
        "encoder 1  [CLS] ··believable film ·····",
        "encoder 2  [CLS] ··believ···· film ·····",
    ]


def test_the_original_text_stands_beside_its_pieces():
    one = example(texts=("Unbelievable  FILM", "really?"))
    assert explanation_text(one, ["bad", "good"]).splitlines()[1:4] == [
        "     text  Unbelievable FILM",
        "     text  really?",
        "    input  [CLS] unbelievable film [SEP]",
    ]
    data = data_of(inspector_page([one, example()], "A title", []))
    assert [shown["texts"] for shown in data["examples"]] == [["Unbelievable  FILM", "really?"], []]


def test_texts_belong_to_examples_by_their_number():
    dense = BertClassifier(BertConfig(**CONFIG), 7, N)
    batch = random_inputs(CONFIG, batch=3, length=19)
    texts = [["a", "b", "c"], ["d", "e", "f"]]
    spelled = [(word, True) for word in vocabulary(97)]
    found = explain_batches(dense, dense, [batch], [2, 0, 1], spelled, texts=texts, temperatures=(3.0, 0.5))
    logits = ops.convert_to_numpy(dense(batch))
    for row, one in enumerate(found):
        assert one.texts == tuple(column[one.number] for column in texts)
        np.testing.assert_allclose(one.dense, special.softmax(logits[row] / 3.0), atol=1e-6)
        np.testing.assert_allclose(one.reduced, special.softmax(logits[row] / 0.5), atol=1e-6)


def test_statistics_are_shares_of_a_tokens_occurrences():
    pieces = ["[CLS]", "a", "b", "a"]
    one = example(tokens=pieces, begins_word=[True] * 4, outlives=np.array([3, 0, 2, 1]), scores=np.zeros((3, 4)))
    other = example(tokens=pieces, outlives=np.array([3, 2, 0, 0]), scores=np.zeros((3, 4)))
    statistics = token_statistics([one, other], fewest=2)
    assert statistics.values.tolist() == [["a", 4, 0.5, 0.25], ["b", 2, 0.5, 0.5]]
    assert list(statistics.columns) == ["piece", "count", "encoder_1", "encoder_2"]
    assert token_statistics([one, other], fewest=3)["piece"].tolist() == ["a"]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_the_data():
    data = data_of(inspector_page([example()], "A title", ["one fact"], ["bad", "good"]))
    assert (data["title"], data["facts"], data["classes"], data["encoders"]) == (
        "A title",
        ["one fact"],
        ["bad", "good"],
        3,
    )
    (one,) = data["examples"]
    assert one["smallest"] == [0.0, 0.0, 0.0]
    assert one["words"][:4] == [["[CLS]", 1], ["un", 1], ["believ", 0], ["able", 0]]
    assert one["outlives"] == [3, 0, 2, 1, 2, 0]
    assert (one["dense"], one["reduced"], one["label"]) == ([0.25, 0.75], [0.625, 0.375], 1)
    for encoder, scores in enumerate(example().scores):
        codes = np.array([ord(character) - 35 for character in one["scores"][encoder]])
        assert codes[0] < 0  # [CLS] stays whatever it scores
        np.testing.assert_array_equal(codes[1:] < 0, np.isnan(scores[1:]))
        shown = one["largest"][encoder] * codes / 90
        np.testing.assert_allclose(shown[codes >= 0], scores[codes >= 0], atol=1.8 / 180)


def test_negative_scores_are_shown():
    scores = np.random.default_rng(0).uniform(-3.0, -1.0, example().scores.shape)
    (one,) = data_of(inspector_page([example(scores=scores)], "A title", []))["examples"]
    for encoder, row in enumerate(scores):
        low, high = one["smallest"][encoder], one["largest"][encoder]
        codes = np.array([ord(character) - 35 for character in one["scores"][encoder]])
        np.testing.assert_allclose((low + (high - low) * codes / 90)[1:], row[1:], atol=3 / 180)


def test_no_text_gets_out_of_its_place_in_the_page():
    hostile = ["[CLS]", "</script><script>alert(1)</script>", "<!--", "\u2028", "\\", '"', "'", "&lt;", "__DATA__"]
    one = example(tokens=hostile, begins_word=[True] * 9, outlives=np.zeros(9, int), scores=np.zeros((3, 9)))
    page = inspector_page([one], "</title>", ["<b>"], ["<i>", "</script>"])
    assert page.count("</script>") == 2  # the data's and the program's
    assert [text for text, _ in data_of(page)["examples"][0]["words"]] == hostile


def test_the_page_asks_for_nothing_from_outside():
    page = inspector_page([example()], "A title", [])
    assert not re.search(r"(src|href|action)\s*=|url\(|https?:|@import|fetch\(|XMLHttp", page)


def test_a_thousand_long_examples_fit_into_a_page_of_5_mb():
    random = np.random.default_rng(7)
    pieces = ["[CLS]", *(f"word{number}" for number in random.integers(1000, size=126)), "[SEP]"]
    many = [
        example(
            tokens=pieces,
            begins_word=[True] * 128,
            outlives=random.integers(13, size=128),
            scores=random.random((12, 128)),
        )
        for _ in range(1000)
    ]
    assert len(inspector_page(many, "A title", []).encode()) < 5e6


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine")
def test_right_and_wrong_answers_have_a_sign_and_a_colour(tmp_path):
    from selenium.webdriver.common.by import By

    path = tmp_path / "index.html"
    texts = ("Unbelievable  FILM",)
    path.write_text(inspector_page([example(texts=texts)], "A title", [], ["bad", "good"]), encoding="utf-8")
    with open_page(path, width=390) as browser:
        said = browser.find_element(By.CSS_SELECTOR, "#detail p").text
        assert re.sub(r"\s+", " ", said) == "dense says ✓ right: good, reduced ✗ wrong: bad; the right answer is good"
        assert browser.find_element(By.CSS_SELECTOR, "#detail blockquote").text == texts[0]
        colors = [
            browser.find_element(By.CSS_SELECTOR, f"#detail p .{kind}").value_of_css_property("color")
            for kind in ("right", "wrong")
        ]
        assert len(set(colors)) == 2
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine")
def test_of_many_classes_the_right_one_and_the_likeliest_stand_first(tmp_path):
    from selenium.webdriver.common.by import By

    classes = list("abcdefghijk")
    dense = np.arange(1, 12) / 66
    one = example(dense=dense, reduced=dense[[*range(7), 10, 8, 9, 7]], label=2)  # h is likelier to the reduced model
    path = tmp_path / "index.html"
    path.write_text(inspector_page([one], "A title", [], classes), encoding="utf-8")
    with open_page(path) as browser:
        first, others = browser.find_elements(By.CSS_SELECTOR, "#detail tbody")
        names = [row.text for row in first.find_elements(By.CSS_SELECTOR, "th")]
        assert names[0] == "c"
        assert sorted(names[1:]) == ["h", "i", "j", "k"]
        assert browser.find_element(By.CSS_SELECTOR, "#detail summary").text == "6 other classes"
        assert not others.is_displayed()
        browser.find_element(By.CSS_SELECTOR, "#detail summary").click()
        assert [row.text for row in others.find_elements(By.CSS_SELECTOR, "th")] == list("gfedba")
        assert browser.get_log("browser") == []
