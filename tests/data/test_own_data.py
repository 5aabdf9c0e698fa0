"""A user's own data: what is inferred, what is split off, which rows are bad and where they stand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.labelled_tables import memory_tables
from powerbert_tf.data.labels import are_real_valued, balanced_weights, find_classes, parse_number
from powerbert_tf.data.own_data import load_own_data, load_texts
from powerbert_tf.data.rejected_rows import write_rejected
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tasks import get_task

COLUMNS = {"text_column": "review", "label_column": "stars"}


def write(path, rows, columns=("review", "stars")):
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def load(tmp_path):
    """Loads train rows (and others) from CSV files."""

    def load(train, name="", classes=(), **more):
        files = {f"{split}_file": rows for split, rows in {"train": train, **more}.items() if isinstance(rows, list)}
        flags = {key: value for key, value in more.items() if not isinstance(value, list)}
        paths = {key: write(tmp_path / f"{key}.csv", rows) for key, rows in files.items()}
        return load_own_data(DataSettings(**{**COLUMNS, **paths, **flags}), name, classes)

    return load


def rows_of(labels, each=11):
    return [(f"text {number} {label}", label) for number in range(each) for label in labels]


def test_classes_are_inferred_and_a_dev_set_is_split_off_of_each(load):
    own = load(rows_of(["good", "bad", "fair"], each=20), dev_share=0.2)
    assert own.task.classes == ("bad", "fair", "good")
    assert own.task.metrics == ("accuracy", "macro_f1")
    assert not own.task.is_pair
    train, dev = own.dataset.splits["train"], own.dataset.splits["dev"]
    assert np.bincount(dev.labels).tolist() == [4, 4, 4]
    assert np.bincount(train.labels).tolist() == [16, 16, 16]
    assert sorted(train.texts[0] + dev.texts[0]) == sorted(text for text, _ in rows_of(["good", "bad", "fair"], 20))
    for split in (train, dev):
        assert [own.task.classes[label] for label in split.labels] == [text.split()[-1] for text in split.texts[0]]
    again = load(rows_of(["good", "bad", "fair"], each=20), dev_share=0.2)
    assert again.dataset.splits["dev"].texts == dev.texts
    assert again.dataset.fingerprint() == own.dataset.fingerprint()
    assert "3 classes: bad (16), fair (16), good (16)" in own.summary
    assert "12 dev rows, split off (20%, stratified)" in own.summary


@pytest.mark.parametrize("labels", ["ab", "abbbbbbbcccc", None])
def test_the_dev_rows_are_those_that_scikit_learn_draws(load, labels):
    rows = rows_of(labels, each=19) if labels else [(f"text {number}", f"{number / 7:.3f}") for number in range(97)]
    own = load(rows, dev_share=0.3)
    texts, classes = zip(*rows, strict=True)
    _, dev = train_test_split(
        np.arange(len(rows)), test_size=round(0.3 * len(rows)), random_state=0, stratify=classes if labels else None
    )
    assert own.dataset.splits["dev"].texts[0] == [texts[row] for row in sorted(dev)]


def test_the_dev_rows_are_those_of_earlier_versions(load):
    dev = load(rows_of("aab", each=7), dev_share=0.3).dataset.splits["dev"]
    assert dev.texts[0] == ["text 0 a", "text 0 b", "text 1 a", "text 2 a", "text 4 b", "text 6 a"]


def test_whole_numbers_are_classes_in_their_order(load):
    own = load(rows_of(["10", "2", "1"]))
    assert own.task.classes == ("1", "2", "10")


def test_numbers_that_are_not_whole_are_a_regression(load):
    rows = [(f"text {number}", f"{number / 7:.3f}") for number in range(70)]
    own = load(rows, dev=rows[:7])
    assert own.task.is_regression
    assert own.task.metrics == ("spearman", "pearson")
    np.testing.assert_allclose(own.dataset.splits["train"].labels, np.arange(70) / 7, atol=5e-4)
    assert own.dataset.splits["train"].labels.dtype == np.float32
    assert "a regression: numbers from 0 to 9.857" in own.summary


def test_whole_numbers_are_a_regression_where_asked(load):
    own = load(rows_of(["1", "2", "30"]), regression=True)
    assert own.task.is_regression
    assert set(own.dataset.splits["train"].labels) == {1.0, 2.0, 30.0}
    assert "WARNING: numbers this far from 0 are learned slowly" in own.summary


def test_hundreds_of_classes_some_of_one_row(load):
    rows = [*rows_of([f"class {number:03}" for number in range(300)], each=3), ("alone", "rare")]
    own = load(rows)
    assert len(own.task.classes) == 301
    dev, train = own.dataset.splits["dev"].labels, own.dataset.splits["train"].labels
    assert np.bincount(dev, minlength=301).tolist() == [1] * 300 + [0]
    assert np.bincount(train, minlength=301).tolist() == [2] * 300 + [1]


def test_one_class_in_most_rows_makes_accuracy_second(load):
    assert load(rows_of("aaaab")).task.metrics == ("mcc", "accuracy")
    assert load(rows_of("aaaaaaabc")).task.metrics == ("macro_f1", "accuracy")


def test_several_files_and_their_places(tmp_path):
    for name, row in (("part-1.csv", ("one", "a")), ("part-2.csv", ("two", "b"))):
        write(tmp_path / name, [row] * 7)
    pd.DataFrame([("b", "three")], columns=["stars", "review"]).to_json(
        tmp_path / "test.jsonl", orient="records", lines=True
    )
    own = load_own_data(
        DataSettings(train_file=str(tmp_path / "part-*.csv"), test_file=str(tmp_path / "test.jsonl"), **COLUMNS),
        name="mine",
    )
    assert own.task.name == "mine"
    assert own.dataset.splits["test"].indices == [f"{tmp_path / 'test.jsonl'}:1"]
    assert own.dataset.splits["test"].labels.tolist() == [1]
    assert len(own.dataset.splits["train"]) + len(own.dataset.splits["dev"]) == 14


@pytest.mark.parametrize("labels", [("", ""), ("-1", "-1"), None])
def test_a_test_file_without_labels(load, tmp_path, labels):
    columns, rows = ["review"], [["x"], ["y"]]
    if labels:
        columns, rows = ["review", "stars"], [[*row, label] for row, label in zip(rows, labels, strict=True)]
    test = write(tmp_path / "unlabeled.csv", rows, columns)
    own = load(rows_of("ab"), test_file=test)
    assert own.dataset.splits["test"].labels is None
    assert own.dataset.splits["test"].indices == [f"{test}:2", f"{test}:3"]
    assert "2 test rows without labels" in own.summary


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (["1.0", "2.0"], ["1", "2.00"], [0, 1]),  # the same numbers
        (["-1", "1"], ["-1", "-1"], [0, 0]),  # a class, not a missing label
        (["positive", "negative"], ["Positive", "NEGATIVE"], r"the label 'Positive' is none of negative, positive"),
        (["a", "b"], ["a", ""], r"stars is empty"),
        (["a", "b"], ["-1", "a"], r"the label '-1' is none of a, b"),
    ],
)
def test_labels_of_a_test_file_are_read_or_named(load, tmp_path, classes, labels, expected):
    rows = [["x", labels[0]], ["y", labels[1]]]
    test = write(tmp_path / "labels.csv", rows, ["review", "stars"])
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            load(rows_of(classes), test_file=test)
    else:
        assert load(rows_of(classes), test_file=test).dataset.splits["test"].labels.tolist() == expected


@pytest.mark.parametrize(("rows", "in_dev"), [(7, 4), (101, 50), (401, 200), (997, 249), (30_011, 5000)])
def test_of_texts_without_labels_more_are_measured_on(rows, in_dev):
    tables = memory_tables({"train": [f"text {number}" for number in range(rows)]}, DataSettings())
    own = load_texts(DataSettings(), CLASSES, ("bad", "good"), "texts", tables)
    assert (len(own.dataset.splits["dev"]), len(own.dataset.splits["train"])) == (in_dev, rows - in_dev)
    own = load_texts(DataSettings(dev_share=0.2), CLASSES, ("bad", "good"), "texts", tables)
    assert len(own.dataset.splits["dev"]) == round(0.2 * rows)


@pytest.mark.parametrize(
    ("labels", "classes", "unlabeled"),
    [
        (["neutral", "contradiction", "-", "entailment"], ("contradiction", "entailment", "neutral"), "-"),
        (["0", "1", "2", "-1"], ("0", "1", "2"), "-1"),
        (["0.0", "1.0", "2.0", "-1.0"], ("0.0", "1.0", "2.0"), "-1.0"),
        (["-1", "no", "yes"], ("no", "yes"), "-1"),
        (["-1", "0", "1"], ("-1", "0", "1"), ""),
        (["-2", "-1", "0", "1", "2"], ("-2", "-1", "0", "1", "2"), ""),
        (["-", "+"], ("+", "-"), ""),
    ],
)
def test_marks_of_rows_without_a_label_are_no_classes(load, labels, classes, unlabeled):
    rows = rows_of(labels)
    if unlabeled:
        with pytest.raises(InputError, match=f"the label '{unlabeled}' is none of .*; it marks rows without a label"):
            load(rows)
    own = load(rows, on_bad_row="skip")
    assert own.task.classes == classes
    assert len(own.rejected) == (11 if unlabeled else 0)
    assert ("-1 is a class beside 0 and 1" in own.summary) == (classes == ("-1", "0", "1"))
    assert load(rows, classes=tuple(labels)).task.classes == tuple(labels)  # as task.json lists them


def test_very_many_labels_are_refused_with_the_way_out(load):
    rows = [(f"text {number}", f"class {number % 1009}") for number in range(1999)]
    with pytest.raises(InputError) as caught:
        load(rows)
    assert str(caught.value).endswith(
        "1,009 different labels in 1,999 rows; expected classes of several rows each; name another column, or list "
        "them as classes in a task.json."
    )
    assert len(load(rows, classes=tuple(f"class {number}" for number in range(1009))).task.classes) == 1009


def test_lists_in_a_few_rows_are_refused(load):
    rows = rows_of(['["joy", "anger"]', "fear", "joy"])
    with pytest.raises(InputError, match=r"some rows have a list, such as '\[\"joy\", \"anger\"\]', and most have not"):
        load(rows)
    assert load(rows_of(["[sic]", "[b"])).task.classes == ("[b", "[sic]")


def test_doubtful_classes_are_named(load):
    rows = [*rows_of(["very happy", "sad"]), ("alone", "Very  Happy"), ("more", "Very  Happy"), ("one", "rare")]
    said = load(rows).summary
    assert "WARNING: 'Very  Happy' and 'very happy' are classes of their own; are they the same?" in said
    assert "WARNING: only one row has each of the classes rare" in said
    assert "WARNING" not in load(rows_of(["happy", "sad"])).summary


def test_pairs(tmp_path):
    path = write(tmp_path / "pairs.csv", [("a", "b", "x"), ("c", "d", "y")] * 7, ["one", "two", "same"])
    flags = {"text_column": "one", "text_pair_column": "two", "label_column": "same"}
    own = load_own_data(DataSettings(train_file=path, **flags))
    assert own.task.is_pair
    assert own.task.name == "pairs"
    assert set(zip(*own.dataset.splits["train"].texts, strict=True)) == {("a", "b"), ("c", "d")}


def test_imdb_as_it_is_packed(tmp_path):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            folder = tmp_path / "aclImdb" / split / label
            folder.mkdir(parents=True)
            for number in range(10):
                (folder / f"{number}_7.txt").write_text(f"{label} {number}<br />")
    flags = {f"{split}_file": str(tmp_path / "aclImdb" / split) for split in ("train", "test")}
    own = load_own_data(DataSettings(**flags, dev_share=0.2), "IMDB")
    assert {name: len(split) for name, split in own.dataset.splits.items()} == {"train": 16, "dev": 4, "test": 20}
    assert own.task.classes == ("neg", "pos")
    assert own.dataset.splits["test"].labels.sum() == 10


BAD = [
    (("", "a"), "review is empty"),
    (("  \u2003", "a"), "review is empty"),
    (("x", ""), "stars is empty"),
    (("x", "NaN"), "stars is NaN, which is not a value"),
    (("y" * 1_000_001, "a"), "review has 1,000,001 characters; expected at most 1,000,000"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_an_error_or_is_kept_aside(load, tmp_path, row, reason):
    rows = [*rows_of("ab"), row]
    place = f"{tmp_path / 'train_file.csv'}:24"
    with pytest.raises(InputError) as caught:
        load(rows)
    assert f"1 row cannot be used: {place}: {reason}. Fix them, or pass --on_bad_row=skip" in str(caught.value)
    own = load(rows, on_bad_row="skip")
    assert sum(map(len, own.dataset.splits.values())) == 22
    assert "1 row left out" in own.summary
    write_rejected(tmp_path, own.rejected)
    (line,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": str(tmp_path / "train_file.csv"),
        "line": 24,
        "reason": reason,
        "row": {"review": row[0], "stars": row[1]},
    }
    write_rejected(tmp_path, ())
    assert not (tmp_path / "rejected.jsonl").exists()


def test_labels_that_training_does_not_know(load):
    with pytest.raises(InputError, match=r"dev_file\.csv:3: the label 'c' is none of a, b\. Fix"):
        load(rows_of("ab"), dev=[("x", "a"), ("y", "c")])
    with pytest.raises(InputError, match=r"train_file\.csv:2: the label 'a' is none of b, c"):
        load(rows_of("abc"), classes=("b", "c"))
    with pytest.raises(InputError, match=r"train_file\.csv:9: the label 'n/a' is not a finite number"):
        load([(f"t{number}", "1.5") for number in range(7)] + [("t", "n/a")] + [("t", "2.5")] * 20)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"classes": ("x", "y")}, "the label 'a' is none of x, y"),
        ({"regression": True}, "the label 'a' is not a finite"),
    ],
)
def test_no_row_left(load, flags, reason):
    with pytest.raises(InputError, match=rf"train_file\.csv: no row that can be used; the first: .*csv:2: {reason}"):
        load(rows_of("ab"), on_bad_row="skip", **flags)


def test_json_lines_may_lack_a_key(tmp_path):
    path = tmp_path / "reviews.jsonl"
    lines = [{"stars": "a"}, *({"review": text, "stars": label} for text, label in rows_of("ab"))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=r"1 row cannot be used: .*reviews\.jsonl:1: no review\. Fix"):
        load_own_data(DataSettings(train_file=str(path), **COLUMNS))


def test_many_bad_rows_are_counted(load):
    with pytest.raises(InputError, match=r"9 rows cannot be used: .*csv:24: .*csv:28: [^;]*; and 4 more\. Fix"):
        load(rows_of("ab") + [("", "a")] * 9)
    with pytest.raises(InputError, match=r"no row that can be used; the first: .*csv:2: review is empty"):
        load([("", "a")], on_bad_row="skip")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"text_column": "text"}, "--text_column=text: no such column; expected one of the columns of "),
        ({"text_column": ""}, "--text_column: missing; expected one of the columns of "),
        ({"label_column": ""}, "--label_column: missing; expected one of the columns of "),
        ({"label_column": "review"}, "review, review; expected different columns"),
        ({"name": "MRPC"}, "--task=MRPC: that is a GLUE task with files of its own"),
        ({"name": "a/b"}, "--task=a/b: expected a name of letters"),
        ({"train": [("x", "a")] * 7}, "--label_column=stars: all rows have the label 'a'; expected two or more"),
        ({"train": [(f"{n}", f"{n}") for n in range(7)]}, "7 different labels in 7 rows; expected classes of several"),
        (
            {"train": [("x", "a"), ("y", "b"), ("z", "b"), ("z", "a")], "dev_share": 0.9},
            "--dev_share=0.9: 4 rows, too few",
        ),
    ],
)
def test_flags_that_do_not_fit(load, flags, message):
    with pytest.raises(InputError) as caught:
        load(**{"train": rows_of("ab"), **flags})
    assert message in str(caught.value)


def test_a_later_file_without_the_column(tmp_path, load):
    write(tmp_path / "dev.csv", [("x", "a")], ["text", "stars"])
    with pytest.raises(InputError, match=r"column 'review': no such column; .* of .*dev\.csv: 'text', 'stars'"):
        load(rows_of("ab"), dev_file=str(tmp_path / "dev.csv"))


def test_numbers_and_names():
    assert [parse_number(text) for text in ("1", "-.5", "+2e3", "1.")] == [1, -0.5, 2000, 1]
    assert [parse_number(text) for text in ("1_0", "nan", "inf", "1e99", "0x1", "١", "")] == [None] * 7
    assert are_real_valued(["1.5", "2", "3"])
    assert not are_real_valued(["1.0", "2", "3"])
    assert not are_real_valued(["1.5", "two", "3"])
    assert find_classes(["b", "10", "9", "b", "10", "9"], "") == ("10", "9", "b")


def test_balanced_weights_by_hand():
    # n / (C n_c): 6 / (2 * 4), 6 / (2 * 2); a class that does not occur weighs nothing.
    assert balanced_weights(np.array([0, 0, 2, 0, 2, 0]), 3) == (0.75, 0.0, 1.5)


def test_a_real_file_of_glue_as_data_of_ones_own():
    folder = Path(__file__).resolve().parents[3] / "shared" / "glue_data" / "SST-2"
    if not folder.exists():
        pytest.skip(f"real GLUE data not here: {folder}")
    files = {f"{split}_file": str(folder / f"{split}.tsv") for split in ("train", "dev", "test")}
    flags = {**files, "text_column": "sentence", "label_column": "label", "quoting": "none"}
    splits = load_own_data(DataSettings(**flags), "mine").dataset.splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 67349, "dev": 872, "test": 1821}
    expected = load_dataset(get_task("SST-2"), folder.parent).splits
    for name in ("train", "dev"):
        assert splits[name].texts == expected[name].texts
        np.testing.assert_array_equal(splits[name].labels, expected[name].labels)
