"""Rows with any number of labels: how they are spelled, what is inferred, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.label_lists import ListForm, find_form, read_list
from powerbert_tf.data.labels import label_problem
from powerbert_tf.data.own_data import label_spellings, load_own_data
from powerbert_tf.data.settings import DataSettings

TEXTS = [f"text {number}" for number in range(7)]
HAVING = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [0, 1, 1], [1, 0, 0]])
NAMES = ("anger", "fear", "joy")
LISTS = [[NAMES[at] for at in np.flatnonzero(row)] for row in HAVING]


def load(path, columns, **settings):
    """The data of a table that is train and dev."""
    frame = pd.DataFrame({"text": TEXTS, **columns})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    settings = {"text_column": "text", "label_column": "labels", **settings}
    return load_own_data(DataSettings(train_file=str(path), dev_file=str(path), **settings), "several")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LISTS, NAMES),
        ([[NAMES.index(name) for name in names] for names in LISTS], ("0", "1", "2")),
        (HAVING.tolist(), ("0", "1", "2")),
        (HAVING.astype("float32").tolist(), ("0", "1", "2")),
    ],
    ids=["names", "numbers", "0 and 1", "0.0 and 1.0"],
)
def test_a_column_of_lists(tmp_path, suffix, labels, classes):
    own = load(tmp_path / f"data.{suffix}", {"labels": labels})  # CSV has them as Python prints them
    assert own.task.is_multi_label
    assert own.task.classes == classes
    labels = own.dataset.splits["train"].labels
    assert labels.dtype == "uint8"
    np.testing.assert_array_equal(labels, HAVING)
    assert own.task.metrics == ("micro_f1", "macro_f1", "average_precision")
    assert f"3 labels, any number per row: {classes[0]} (3), {classes[1]} (3), {classes[2]} (4)" in own.summary
    assert "1.43 labels per row on average; 1 training rows have none" in own.summary


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("spelled", [int, float, bool])
def test_columns_of_0_and_1(tmp_path, suffix, spelled):
    columns = {name: HAVING[:, at].astype(spelled) for at, name in enumerate(NAMES)}
    own = load(tmp_path / f"data.{suffix}", columns, label_column="joy, anger,fear")
    assert own.task.classes == ("joy", "anger", "fear")
    np.testing.assert_array_equal(own.dataset.splits["train"].labels, HAVING[:, [2, 0, 1]])


@pytest.mark.parametrize("separator", ["|", ";", ",", " ", " / "])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_names_with_a_separator(tmp_path, separator, suffix):
    own = load(
        tmp_path / f"data.{suffix}",
        {"labels": [separator.join(names) for names in LISTS]},
        label_separator=separator,
    )
    assert own.task.classes == NAMES
    assert own.task.label_separator == separator
    np.testing.assert_array_equal(own.dataset.splits["train"].labels, HAVING)  # an empty cell is a row without labels
    assert f"1.43 labels per row on average, with {separator!r} between; 1 training rows have none" in own.summary


@pytest.mark.parametrize(
    ("spellings", "separator"),
    [
        (["a|b", "a", "b", "b|c", "c"], "|"),
        (["a; b", "a", "b", "b;c", "c"], ";"),
        (["a, b", "a", "b", "a, b, c", "c"], ","),
        (["Business, Finance", "Sports", "Arts, Culture"], None),  # names of classes
        (["a|b", "b"], None),
        (["a|b", "a", "b"], None),  # perhaps a class of its own
        (["0,5", "1,5", "0", "1", "5"], None),  # numbers
        (["Yes, often", "Yes, rarely", "No, often"], None),
        (["a", "b"], None),
    ],
)
def test_a_separator_is_taken_where_all_its_parts_are_labels(spellings, separator):
    form = find_form(spellings, "")
    assert form == (None if separator is None else ListForm(has_lists=False, separator=separator))
    assert find_form(spellings, "none") is None


def test_classes_that_look_like_several_labels_are_warned_about(tmp_path):
    labels = ["a|b", "a|c", "b|c", "a|b", "a|c", "b|c", "a|b"]
    said = load(tmp_path / "data.csv", {"labels": labels}).summary
    assert (
        "WARNING: 'a|b' and 'a|c' are classes of their own; --label_separator='|' makes several labels of them" in said
    )
    assert "WARNING" not in load(tmp_path / "data.csv", {"labels": labels}, label_separator="none").summary
    own = load(tmp_path / "data.csv", {"labels": labels}, label_separator="|")
    assert own.task.classes == ("a", "b", "c")
    usual = ["Business, Finance", "Arts, Culture", "Sports", "Sports", "Sports", "Arts, Culture", "Business, Finance"]
    assert "WARNING" not in load(tmp_path / "data.csv", {"labels": usual}).summary


def test_classes_that_are_given_are_not_split(tmp_path):
    path = tmp_path / "data.csv"
    labels = ["a", "b", "a|b", "b|a", "a", "b", "a|b"]
    pd.DataFrame({"text": TEXTS, "labels": labels}).to_csv(path, index=False)
    settings = DataSettings(train_file=str(path), dev_file=str(path), text_column="text", label_column="labels")
    assert load_own_data(settings).task.classes == ("a", "b")
    own = load_own_data(settings, classes=("a", "b", "b|a", "a|b"))  # as the task.json of an earlier version has them
    assert own.task.kind is CLASSES
    assert own.dataset.splits["dev"].labels.tolist() == [0, 1, 3, 2, 0, 1, 3]


def test_one_label_a_row_is_learned_as_several_where_that_is_asked_for(tmp_path):
    own = load(tmp_path / "data.csv", {"labels": list("abcabca")}, multi_label=True)
    np.testing.assert_array_equal(own.dataset.splits["train"].labels, np.eye(3)[[0, 1, 2, 0, 1, 2, 0]])
    assert "WARNING: each row has one label; without --multi_label, names in a column are classes" in own.summary


@pytest.mark.parametrize(
    ("spelling", "found"),
    [
        ('["joy", "fear"]', ["joy", "fear"]),
        ("['joy', 'fear']", ["joy", "fear"]),
        ("['it\\'s', \"it's\"]", None),  # not as Python prints it
        ('["it\'s", \'a "b"\']', ["it's", 'a "b"']),
        ("['joy' 'fear']", None),  # as NumPy prints it
        ("[0 1 1]", None),
        ("[0, 1]", ["0", "1"]),
        ("[1.0, 0.5]", ["1", "0.5"]),
        ("[true, False]", None),
        ("[True, False]", ["1", "0"]),
        ("[[1], [2]]", None),
        ("[null]", None),
        ("[]", []),
        ("[" * 100_000, None),
        ("[sic]", None),
        ("['a\\d']", None),
        ("joy", None),
    ],
)
def test_lists_are_read_as_they_are_printed(spelling, found):
    assert read_list(spelling) == found


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"labels": [*LISTS[:6], "joy"]}, {}, r"data\.jsonl:7: the label 'joy' is not a list of names or numbers"),
        ({"labels": [*LISTS[:6], None]}, {}, r"data\.jsonl:7: labels is empty"),
        ({"labels": [*HAVING.tolist()[:6], [1, 0]]}, {}, r"data\.jsonl:7: the label '\[1, 0\]' is not a list of 3"),
        ({"a": [0, 1, 1, 0, 1, 1, 2], "b": 1}, {"label_column": "a,b"}, r"data\.jsonl:7: a is '2'; expected 0 or 1"),
        ({"a": [0, 1, 1, 0, 1, 1, None], "b": 1}, {"label_column": "a,b"}, r"data\.jsonl:7: a is empty; expected 0 or"),
        ({"a": [1] * 7}, {"label_column": "a,b"}, r"data\.jsonl:1: no b"),
        ({"labels": LISTS}, {"regression": True, "multi_label": True}, "--regression: is for one number per row"),
        (
            {"labels": ["1|2"] * 7},
            {"regression": True, "label_separator": "|"},
            "--regression: is for one number per row",
        ),
        ({"a": 1, "b": 0}, {"label_column": "a,b", "label_separator": "|"}, r"--label_separator=\|: is for one column"),
        ({"labels": [["a"]] * 7}, {}, "--label_column=labels: 'a' alone occurs; expected two labels or more"),
        ({"labels": [[]] * 7}, {}, "--label_column=labels: no row has a label"),
        (
            {"labels": [[f"{row} {at}" for at in range(3)] for row in range(7)]},
            {},
            "21 different labels, 21 in all rows; expected labels of several rows each",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, columns, settings, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path / "data.jsonl", columns, **settings)


def test_lists_of_another_length_than_most_are_named(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": text, "labels": labels} for text, labels in zip(TEXTS, HAVING.tolist(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dev = tmp_path / "dev.jsonl"
    dev.write_text('{"text": "x", "labels": [0, 1]}\n{"text": "y", "labels": [0, 1, 2]}\n', encoding="utf-8")
    settings = DataSettings(train_file=str(path), dev_file=str(dev), text_column="text", label_column="labels")
    with pytest.raises(InputError, match=r"dev\.jsonl:1: the label '\[0, 1\]' is not a list of 3 numbers, 0 or 1"):
        load_own_data(settings)


def test_a_test_file_without_labels_is_unlabelled(tmp_path):
    columns = {name: HAVING[:, at] for at, name in enumerate(NAMES)}
    test = tmp_path / "test.csv"
    for values, is_labelled in ((-1, False), ("", False), (1, True)):  # -1 as in Jigsaw's
        pd.DataFrame({"text": TEXTS, **dict.fromkeys(NAMES, values)}).to_csv(test, index=False)
        own = load(tmp_path / "data.csv", columns, label_column=",".join(NAMES), test_file=str(test))
        assert (own.dataset.splits["test"].labels is not None) == is_labelled
    pd.DataFrame({"text": TEXTS}).to_csv(test, index=False)
    assert load(tmp_path / "data.csv", {"labels": LISTS}, test_file=str(test)).dataset.splits["test"].labels is None


def test_the_dev_set_has_a_share_of_each_label(tmp_path):
    random = np.random.default_rng(0)
    having = random.random((397, 5)) < [0.5, 0.3, 0.1, 0.05, 0.02]
    path = tmp_path / "data.jsonl"
    rows = [{"text": f"text {at}", "labels": np.flatnonzero(row).tolist()} for at, row in enumerate(having)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = DataSettings(train_file=str(path), text_column="text", label_column="labels", dev_share=0.2)
    own = load_own_data(settings)
    train, dev = (own.dataset.splits[name].labels for name in ("train", "dev"))
    assert len(dev) == round(0.2 * 397)
    np.testing.assert_array_equal(train.sum(axis=0) + dev.sum(axis=0), having.sum(axis=0))
    assert dev.any(axis=0).all()
    np.testing.assert_allclose(dev.sum(axis=0) / having.sum(axis=0), 0.2, atol=0.12)
    assert load_own_data(settings).dataset.splits["dev"].texts == own.dataset.splits["dev"].texts


def test_labels_that_no_row_has_are_warned_about(tmp_path):
    columns = {"a": [0, 1, 1, 0, 1, 1, 0], "b": 0, "c": [1] * 7}
    own = load(tmp_path / "data.csv", columns, label_column="a,b,c")
    assert "WARNING: no training row has b" in own.summary
    assert own.dataset.splits["train"].labels.sum(axis=0).tolist() == [4, 0, 7]


def test_names_of_labels_are_found_in_lists(tmp_path):
    path = tmp_path / "data.jsonl"
    pd.DataFrame({"text": TEXTS, "labels": LISTS}).to_json(path, orient="records", lines=True)
    settings = DataSettings(train_file=str(path), text_column="text", label_column="labels", multi_label=True)
    assert label_spellings(settings) == (set(NAMES), ())
    assert label_problem("[]", "labels") == ""
