"""The committed sample files: layout, labels, and that word overlap does not tell a paraphrase."""

import csv
import pathlib

import numpy as np
import pandas as pd
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.sample import __main__ as command
from powerbert_tf.data.sample.files import write_sample
from powerbert_tf.data.tasks import TASKS

SAMPLE = pathlib.Path(__file__).parents[2] / "glue_data" / "sample"

MRPC = ["#1 ID", "#2 ID", "#1 String", "#2 String"]
STS_B = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
QQP = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
MNLI = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"]
MNLI += ["sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]
MNLI_DEV = [*MNLI, "label1", "label2", "label3", "label4", "label5", "gold_label"]
PAIR = ["index", "sentence1", "sentence2"]
QUESTION = ["index", "question", "sentence"]

# File, column names (None: no header), rows.
FILES = [
    ("CoLA/train.tsv", None, 200),
    ("CoLA/dev.tsv", None, 60),
    ("CoLA/test.tsv", ["index", "sentence"], 60),
    ("SST-2/train.tsv", ["sentence", "label"], 1000),
    ("SST-2/dev.tsv", ["sentence", "label"], 200),
    ("SST-2/test.tsv", ["index", "sentence"], 200),
    ("MRPC/train.tsv", ["Quality", *MRPC], 1000),
    ("MRPC/dev.tsv", ["Quality", *MRPC], 200),
    ("MRPC/test.tsv", ["index", *MRPC], 200),
    ("STS-B/train.tsv", [*STS_B, "score"], 200),
    ("STS-B/dev.tsv", [*STS_B, "score"], 60),
    ("STS-B/test.tsv", STS_B, 60),
    ("QQP/train.tsv", QQP, 200),
    ("QQP/dev.tsv", QQP, 60),
    ("QQP/test.tsv", ["id", "question1", "question2"], 60),
    ("MNLI/train.tsv", [*MNLI, "label1", "gold_label"], 200),
    ("MNLI/dev_matched.tsv", MNLI_DEV, 60),
    ("MNLI/dev_mismatched.tsv", MNLI_DEV, 60),
    ("MNLI/test_matched.tsv", MNLI, 60),
    ("MNLI/test_mismatched.tsv", MNLI, 60),
    ("QNLI/train.tsv", [*QUESTION, "label"], 200),
    ("QNLI/dev.tsv", [*QUESTION, "label"], 60),
    ("QNLI/test.tsv", QUESTION, 60),
    ("RTE/train.tsv", [*PAIR, "label"], 200),
    ("RTE/dev.tsv", [*PAIR, "label"], 60),
    ("RTE/test.tsv", PAIR, 60),
    ("WNLI/train.tsv", [*PAIR, "label"], 200),
    ("WNLI/dev.tsv", [*PAIR, "label"], 60),
    ("WNLI/test.tsv", PAIR, 60),
]

OWN = {"requests/train.csv", "requests/test.csv"}

# Folder, columns of the texts and of the label in train and dev, columns of the texts in test.
COLUMNS = {
    "CoLA": ([3], 1, [1]),
    "SST-2": ([0], 1, [1]),
    "MRPC": ([3, 4], 0, [3, 4]),
    "STS-B": ([7, 8], 9, [7, 8]),
    "QQP": ([3, 4], 5, [1, 2]),
    "MNLI": ([8, 9], -1, [8, 9]),
    "QNLI": ([1, 2], 3, [1, 2]),
    "RTE": ([1, 2], 3, [1, 2]),
    "WNLI": ([1, 2], 3, [1, 2]),
}
# Label and its share.
SHARES = {
    "CoLA": {"1": 0.7, "0": 0.3},
    "SST-2": {"1": 0.55, "0": 0.45},
    "MRPC": {"1": 0.67, "0": 0.33},
    "QQP": {"1": 0.4, "0": 0.6},
    "MNLI": {"contradiction": 1 / 3, "entailment": 1 / 3, "neutral": 1 / 3},
    "QNLI": {"entailment": 0.5, "not_entailment": 0.5},
    "RTE": {"entailment": 0.5, "not_entailment": 0.5},
    "WNLI": {"1": 0.5, "0": 0.5},
}
LABELED = [name for name, _, _ in FILES if "test" not in name]


def read(name: str) -> pd.DataFrame:
    header = {file: columns for file, columns, _ in FILES}[name]
    return pd.read_csv(
        SAMPLE / name,
        sep="\t",
        header=None if header is None else 0,
        quoting=csv.QUOTE_NONE,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
    )


def rows_of_texts(name: str) -> list[tuple[str, ...]]:
    in_labeled, _, in_test = COLUMNS[name.split("/")[0]]
    return list(read(name).iloc[:, in_test if "test" in name else in_labeled].itertuples(index=False, name=None))


def test_committed_files_are_what_the_generator_writes(tmp_path):
    command.main([str(tmp_path)])
    written = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    committed = {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*") if path.is_file()}
    marks = {name.split("/")[0] + "/SAMPLE.md" for name, _, _ in FILES} | {"requests/SAMPLE.md"}
    assert set(written) == committed == {name for name, _, _ in FILES} | marks | OWN
    assert [name for name, path in written.items() if path.read_bytes() != (SAMPLE / name).read_bytes()] == []
    assert sum(path.stat().st_size for path in written.values()) < 1_500_000


@pytest.mark.parametrize("name", ["MNLI-m", "MNLI-mm"])
def test_either_mnli_task_writes_both_genres(tmp_path, name):
    write_sample(tmp_path / "deep" / "folder", TASKS[name])
    names = {f"MNLI/{path.name}" for path in (tmp_path / "deep" / "folder").iterdir()}
    assert names == {name for name, _, _ in FILES if name.startswith("MNLI/")} | {"MNLI/SAMPLE.md"}


def test_unknown_folder_is_refused(tmp_path):
    class Stranger:
        name, folder = "AX", "AX"

    with pytest.raises(InputError, match="AX"):
        write_sample(tmp_path, Stranger())


@pytest.mark.parametrize(("name", "header", "rows"), FILES)
def test_layout(name, header, rows):
    data = (SAMPLE / name).read_bytes()
    mark = name in ("MRPC/train.tsv", "MRPC/dev.tsv")
    assert data.startswith(b"\xef\xbb\xbf") is mark
    assert b"\r" not in data
    assert data.isascii() is not mark
    assert data.endswith(b"\n") is (name not in ("CoLA/train.tsv", "CoLA/dev.tsv"))
    lines = data.decode("utf-8-sig").removesuffix("\n").split("\n")
    assert len(lines) == rows + (header is not None)
    assert {line.count("\t") for line in lines} == {3 if header is None else len(header) - 1}
    frame = read(name)
    assert list(frame.columns) == (header or [0, 1, 2, 3])
    assert len(frame) == rows
    if header and header[0] in ("index", "id") and "is_duplicate" not in header:
        assert list(frame.iloc[:, 0]) == [str(row) for row in range(rows)]


@pytest.mark.parametrize("name", [name for name in LABELED if not name.startswith("STS-B")])
def test_labels_and_their_balance(name):
    folder = name.split("/")[0]
    counts = read(name).iloc[:, COLUMNS[folder][1]].value_counts(normalize=True).to_dict()
    assert counts == pytest.approx(SHARES[folder], abs=0.01)


def test_cola_marks_what_is_not_acceptable():
    frame = read("CoLA/train.tsv")
    assert set(zip(frame[1], frame[2], strict=True)) == {("1", ""), ("0", "*")}


@pytest.mark.parametrize("split", ["train", "dev"])
def test_scores_have_three_decimals_and_fill_the_range(split):
    scores = read(f"STS-B/{split}.tsv")["score"]
    assert scores.str.fullmatch(r"[0-5]\.\d{3}").all()
    values = scores.astype(float)
    assert values.min() == 0
    assert values.max() == 5
    assert 2 < values.mean() < 3


@pytest.mark.parametrize("folder", COLUMNS)
def test_no_row_occurs_twice(folder):
    rows = [row for name, _, _ in FILES if name.startswith(f"{folder}/") for row in rows_of_texts(name)]
    assert len(set(rows)) == len(rows)
    assert all(text.strip() for row in rows for text in row)


def test_tokenized_texts_and_their_lengths():
    reviews = read("SST-2/train.tsv")["sentence"]
    assert reviews.str.endswith(" ").all()
    assert (reviews == reviews.str.lower()).all()
    assert reviews.str.split().str.len().quantile(0.05) >= 5
    assert reviews.str.split().str.len().quantile(0.99) <= 30
    sentences = pd.concat([read("MRPC/train.tsv")[column] for column in ("#1 String", "#2 String")])
    assert sentences.str.endswith(" .").all()
    assert 20 <= sentences.str.split().str.len().mean() <= 28


def overlap(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of common words of each MRPC pair, and whether its label is 1."""
    frame = read(f"MRPC/{split}.tsv")
    pairs = [
        (set(a.lower().split()), set(b.lower().split()))
        for a, b in zip(frame.iloc[:, 3], frame.iloc[:, 4], strict=True)
    ]
    return np.array([len(a & b) / len(a | b) for a, b in pairs]), (frame["Quality"] == "1").to_numpy()


def test_word_overlap_does_not_tell_the_mrpc_label():
    (train, train_labels), (dev, dev_labels) = overlap("train"), overlap("dev")
    thresholds = np.unique(train)
    accuracies = [((train >= threshold) == train_labels).mean() for threshold in thresholds]
    best = thresholds[int(np.argmax(accuracies))]
    majority = max(dev_labels.mean(), 1 - dev_labels.mean())
    assert abs(((dev >= best) == dev_labels).mean() - majority) <= 0.05
    assert abs(train[train_labels].mean() - train[~train_labels].mean()) <= 0.05


def test_requests_are_a_csv_with_twenty_topics():
    train, test = (pd.read_csv(SAMPLE / name) for name in ("requests/train.csv", "requests/test.csv"))
    assert (len(train), len(test)) == (1000, 200)
    assert list(train.columns) == list(test.columns) == ["request", "topic"]
    assert set(train["topic"].value_counts()) == {50}
    assert set(test["topic"].value_counts()) == {10}
    assert not pd.concat([train, test])["request"].duplicated().any()
