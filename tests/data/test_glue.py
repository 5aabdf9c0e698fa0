"""Reading one tab-separated file."""

from pathlib import Path

import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.glue import read_tsv
from powerbert_tf.data.tasks import TASKS, Layout

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "glue_data"

# Column names of the files of GLUE: train, dev, test; the text columns by name; label and index column by name.
SENTENCES = ("sentence1", "sentence2")
STSB = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
MNLI = [
    "index",
    "promptID",
    "pairID",
    "genre",
    "sentence1_binary_parse",
    "sentence2_binary_parse",
    "sentence1_parse",
    "sentence2_parse",
    "sentence1",
    "sentence2",
]
MNLI_DEV = [*MNLI, "label1", "label2", "label3", "label4", "label5", "gold_label"]
MRPC = ["#1 ID", "#2 ID", "#1 String", "#2 String"]
PAIR = ["index", *SENTENCES]
QNLI = ["index", "question", "sentence"]
QQP = ["id", "question1", "question2"]
SPELLINGS = {
    "CoLA": ("label", ["1", "0", "1"], [1, 0, 1]),
    "SST-2": ("label", ["0", "1", "1"], [0, 1, 1]),
    "MRPC": ("Quality", ["1", "1", "0"], [1, 1, 0]),
    "STS-B": ("score", ["5.000", "0.75", "3"], [5.0, 0.75, 3.0]),
    "QQP": ("is_duplicate", ["0", "0", "1"], [0, 0, 1]),
    "MNLI-m": ("gold_label", ["neutral", "contradiction", "entailment"], [2, 0, 1]),
    "MNLI-mm": ("gold_label", ["entailment", "neutral", "contradiction"], [1, 2, 0]),
    "QNLI": ("label", ["not_entailment", "entailment", "entailment"], [1, 0, 0]),
    "RTE": ("label", ["entailment", "not_entailment", "entailment"], [0, 1, 0]),
    "WNLI": ("label", ["1", "0", "0"], [1, 0, 0]),
}
TEXTS = {
    "CoLA": ("sentence",),
    "SST-2": ("sentence",),
    "MRPC": ("#1 String", "#2 String"),
    "STS-B": SENTENCES,
    "QQP": ("question1", "question2"),
    "MNLI-m": SENTENCES,
    "MNLI-mm": SENTENCES,
    "QNLI": ("question", "sentence"),
    "RTE": SENTENCES,
    "WNLI": SENTENCES,
}
LABELED = {
    "CoLA": [["source", "label", "annotation", "sentence"]],
    "SST-2": [["sentence", "label"]],
    "MRPC": [["Quality", *MRPC]],
    "STS-B": [[*STSB, "score"]],
    "QQP": [["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]],
    "MNLI-m": [[*MNLI, "label1", "gold_label"], MNLI_DEV],
    "MNLI-mm": [[*MNLI, "label1", "gold_label"], MNLI_DEV],
    "QNLI": [[*QNLI, "label"]],
    "RTE": [[*PAIR, "label"]],
    "WNLI": [[*PAIR, "label"]],
}
UNLABELED = {
    "CoLA": ["index", "sentence"],
    "SST-2": ["index", "sentence"],
    "MRPC": ["index", *MRPC],
    "STS-B": STSB,
    "QQP": QQP,
    "MNLI-m": MNLI,
    "MNLI-mm": MNLI,
    "QNLI": QNLI,
    "RTE": PAIR,
    "WNLI": PAIR,
}
LABELED_CASES = [(task, names) for task, headers in LABELED.items() for names in headers]

ONE_TEXT = Layout(texts=(0,), label=1)
ONE_TEXT_TEST = Layout(texts=(1,), index=0)
BINARY = ("0", "1")


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def rows(num_good: int, *bad: str, header: str = "sentence\tlabel") -> str:
    return "\n".join([header, *bad, *[f"text {row}\t1" for row in range(num_good)]]) + "\n"


@pytest.mark.parametrize(("name", "columns"), LABELED_CASES)
def test_labeled_layout_of_every_task(name, columns, tmp_path):
    label, spellings, expected = SPELLINGS[name]
    cells = [
        [spelling if column == label else f"{column} of row {row}" for column in columns]
        for row, spelling in enumerate(spellings)
    ]
    lines = ["\t".join(line) for line in ([] if name == "CoLA" else [columns]) + cells]
    path = write(tmp_path / "train.tsv", "\n".join(lines) + "\n")

    split = read_tsv(path, TASKS[name].labeled, TASKS[name].classes, labeled=True)

    assert split.texts == tuple([f"{column} of row {row}" for row in range(3)] for column in TEXTS[name])
    assert split.labels.dtype == (np.float32 if name == "STS-B" else np.int32)
    np.testing.assert_array_equal(split.labels, expected)
    assert split.indices is None
    assert split.bad_rows == 0
    assert len(split) == 3


@pytest.mark.parametrize("name", UNLABELED)
def test_test_layout_of_every_task(name, tmp_path):
    columns = UNLABELED[name]
    cells = [[index if c in ("index", "id") else f"{c} of row {index}" for c in columns] for index in ("7", "007")]
    path = write(tmp_path / "test.tsv", "\n".join("\t".join(line) for line in [columns, *cells]))

    split = read_tsv(path, TASKS[name].unlabeled, TASKS[name].classes, labeled=False)

    assert split.texts == tuple([f"{column} of row {row}" for row in ("7", "007")] for column in TEXTS[name])
    assert split.labels is None
    assert split.indices == ["7", "007"]  # As spelled: the submission repeats them.


@pytest.mark.parametrize(
    ("name", "file", "num_rows"),
    [
        ("MRPC", "train.tsv", 3668),
        ("MRPC", "dev.tsv", 408),
        ("MRPC", "test.tsv", 1725),
        ("CoLA", "train.tsv", 8551),
        ("CoLA", "dev.tsv", 1043),
        ("CoLA", "test.tsv", 1063),
        ("SST-2", "train.tsv", 67349),
        ("SST-2", "dev.tsv", 872),
        ("SST-2", "test.tsv", 1821),
        ("STS-B", "train.tsv", 5749),
        ("STS-B", "dev.tsv", 1500),
        ("STS-B", "test.tsv", 1379),
    ],
)
def test_real_files(name, file, num_rows):
    path = REAL_DATA / TASKS[name].folder / file
    if not path.exists():
        pytest.skip(f"real GLUE data not here: {path}")
    labeled = file != "test.tsv"
    split = read_tsv(path, TASKS[name].labeled if labeled else TASKS[name].unlabeled, TASKS[name].classes, labeled)

    assert len(split) == num_rows
    assert split.bad_rows == 0
    if labeled:
        assert split.labels.shape == (num_rows,)
    else:
        assert split.indices == [str(row) for row in range(num_rows)]


@pytest.mark.parametrize(
    ("name", "positives"), [("MRPC", (2474, 3668)), ("CoLA", (6023, 8551)), ("SST-2", (37569, 67349))]
)
def test_class_balance_of_real_train_files(name, positives):
    path = REAL_DATA / TASKS[name].folder / "train.tsv"
    if not path.exists():
        pytest.skip(f"real GLUE data not here: {path}")
    split = read_tsv(path, TASKS[name].labeled, TASKS[name].classes, labeled=True)
    assert (int(split.labels.sum()), len(split)) == positives


def test_quotes_line_separators_and_empty_texts_are_ordinary(tmp_path):
    texts = ['"one quote', 'a "b" c', "line\u2028separator\x0b\x0c\x85", "", " kept ", "lone\rreturn"]
    path = write(tmp_path / "f.tsv", "sentence\tlabel\n" + "".join(f"{text}\t1\n" for text in texts))
    assert read_tsv(path, ONE_TEXT, BINARY, labeled=True).texts == (texts,)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("tail", ["", "{end}", "{end}{end}"])
def test_byte_order_mark_and_line_ends(tmp_path, mark, end, tail):
    body = f"a\t0{end}b\t1{tail.format(end=end)}"
    without_header = Layout(texts=(0,), label=1, header=False, num_columns=2)
    path = write(tmp_path / "f.tsv", mark + body.encode())
    split = read_tsv(path, without_header, BINARY, labeled=True)
    assert split.texts == (["a", "b"],)
    np.testing.assert_array_equal(split.labels, [0, 1])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("only text", r"f\.tsv:2: the row has 1 columns instead of 2"),
        ("a\tb\t1", r"f\.tsv:2: the row has 3 columns instead of 2"),
        ("", r"f\.tsv:2: the row has 1 columns instead of 2"),
        ("a\t2", r"f\.tsv:2: the label '2' is none of 0, 1"),
        ("a\t 1", r"f\.tsv:2: the label ' 1' is none of 0, 1"),
    ],
)
def test_bad_row_is_left_out_up_to_one_percent(tmp_path, caplog, bad, reason):
    split = read_tsv(write(tmp_path / "f.tsv", rows(99, bad)), ONE_TEXT, BINARY, labeled=True)
    assert split.bad_rows == 1
    assert split.texts == ([f"text {row}" for row in range(99)],)
    assert split.labels.shape == (99,)

    path = write(tmp_path / "f.tsv", rows(98, bad))
    with pytest.raises(InputError, match=rf"f\.tsv: 1 of 99 rows cannot be read.*{reason}; expected") as error:
        read_tsv(path, ONE_TEXT, BINARY, labeled=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spelling", ["", "high", "nan", "inf", "-inf", "1e39"])
def test_unreadable_score(tmp_path, spelling):
    path = write(tmp_path / "f.tsv", rows(3, f"a\t{spelling}"))
    with pytest.raises(InputError, match=rf"f\.tsv:2: the label '{spelling}' is not a finite number"):
        read_tsv(path, ONE_TEXT, (), labeled=True)


def test_bad_rows_are_logged_five_in_detail(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: logged.append(text % values))
    path = write(tmp_path / "f.tsv", rows(793, *["broken"] * 7))
    assert read_tsv(path, ONE_TEXT, BINARY, labeled=True).bad_rows == 7
    assert [f"{path}:{line}:" in message for line, message in zip(range(2, 7), logged, strict=False)] == [True] * 5
    assert logged[5:] == [f"{path}: 7 of 800 rows left out because they cannot be read."]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", r"the file is empty"),
        (b"\xef\xbb\xbf", r"the file is empty"),
        (b"\n", r"the file is empty"),
        (b"sentence\tlabel\n", r"a header and no rows"),
        (b"sentence\nx\n", r"misaligned: it has 1 columns, expected at least 2"),
        (b"sentence\tlabel\na\t0\nb\xff\t1\n", r"f\.tsv:3: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbfsentence\tlabel\na\xe9\t0\n", r"f\.tsv:2: byte 0xe9 is not UTF-8"),
    ],
)
def test_unusable_file(tmp_path, data, match):
    with pytest.raises(InputError, match=match) as error:
        read_tsv(write(tmp_path / "f.tsv", data), ONE_TEXT, BINARY, labeled=True)
    assert "\n" not in str(error.value)


def test_header_that_leaves_no_column_for_a_last_label_is_misaligned(tmp_path):
    path = write(tmp_path / "train.tsv", "\t".join(STSB) + "\n" + "\t".join(["x"] * 8 + ["1.0"]) + "\n")
    with pytest.raises(InputError, match=r"misaligned: it has 9 columns, expected at least 10 .*the last column"):
        read_tsv(path, TASKS["STS-B"].labeled, (), labeled=True)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"no\.tsv: no such file"):
        read_tsv(tmp_path / "no.tsv", ONE_TEXT, BINARY, labeled=True)
    with pytest.raises(InputError, match="a folder; expected a tab-separated file"):
        read_tsv(tmp_path, ONE_TEXT, BINARY, labeled=True)


def test_labels_need_a_label_column(tmp_path):
    with pytest.raises(ValueError, match="expected a layout with a label"):
        read_tsv(tmp_path / "f.tsv", ONE_TEXT_TEST, BINARY, labeled=True)
