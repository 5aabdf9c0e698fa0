"""Where the data of a task comes from: files, TensorFlow Datasets or the generated sample."""

import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from powerbert_tf.common.errors import InputError
from powerbert_tf.data import datasets
from powerbert_tf.data import tfds as tfds_data
from powerbert_tf.data.sample.files import write_sample
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import TASKS, get_task

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "glue_data"
NUM_ROWS = {"train": 13, "dev": 7, "test": 11}
MNLI_FILES = ["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv", "test_matched.tsv", "test_mismatched.tsv"]

# Per task: folder, names of the text columns, name of the label column, and the label that row r of a labeled file
# has: its spelling in the file and its position in the logits (MNLI and the rest in alphabetical order).
BINARY = [("1", 1), ("0", 0), ("0", 0)]
ENTAILMENT = [("not_entailment", 1), ("entailment", 0), ("entailment", 0)]
MNLI = [("neutral", 2), ("contradiction", 0), ("entailment", 1)]
SENTENCES = ("sentence1", "sentence2")
CASES = {
    "CoLA": ("CoLA", ("sentence",), "label", BINARY),
    "SST-2": ("SST-2", ("sentence",), "label", BINARY),
    "MRPC": ("MRPC", ("#1 String", "#2 String"), "Quality", BINARY),
    "STS-B": ("STS-B", SENTENCES, "score", [("4.250", 4.25), ("0.000", 0.0), ("1.6", 1.6)]),
    "QQP": ("QQP", ("question1", "question2"), "is_duplicate", BINARY),
    "MNLI": ("MNLI", SENTENCES, "gold_label", MNLI),
    "MNLI-m": ("MNLI", SENTENCES, "gold_label", MNLI),
    "MNLI-mm": ("MNLI", SENTENCES, "gold_label", MNLI),
    "QNLI": ("QNLI", ("question", "sentence"), "label", ENTAILMENT),
    "RTE": ("RTE", SENTENCES, "label", ENTAILMENT),
    "WNLI": ("WNLI", SENTENCES, "label", BINARY),
}
# The columns that a labeled file has besides the texts: before and after them.
AROUND = {
    "CoLA": (["source", "label", "annotation"], []),
    "SST-2": ([], ["label"]),
    "MRPC": (["Quality", "#1 ID", "#2 ID"], []),
    "STS-B": (["index", "genre", "filename", "year", "old_index", "source1", "source2"], ["score"]),
    "QQP": (["id", "qid1", "qid2"], ["is_duplicate"]),
    "MNLI": (["index", "promptID", "pairID", "genre", "bp1", "bp2", "p1", "p2"], ["label1", "gold_label"]),
    "QNLI": (["index"], ["label"]),
    "RTE": (["index"], ["label"]),
    "WNLI": (["index"], ["label"]),
}
BEFORE_IN_TEST = {
    "CoLA": ["index"],
    "SST-2": ["index"],
    "MRPC": ["index", "#1 ID", "#2 ID"],
    "QQP": ["id"],
}


def text(file: str, column: str, row: int) -> str:
    return f'{column} {row} of {file}: "naïve'


def write_files(data_dir: Path, name: str) -> None:
    folder_name, texts, label, labels = CASES[name]
    folder = data_dir / folder_name
    folder.mkdir(parents=True)
    for file in MNLI_FILES if folder_name == "MNLI" else ["train.tsv", "dev.tsv", "test.tsv"]:
        split = file.split("_")[0].removesuffix(".tsv")
        before, after = AROUND[folder_name]
        if split == "test":
            before, after = BEFORE_IN_TEST.get(folder_name, before), []
        columns = [*before, *texts, *after]
        lines = [] if folder_name == "CoLA" and split != "test" else [columns]
        for row in range(NUM_ROWS[split]):
            cells = {column: text(file, column, row) for column in texts} | {label: labels[row % 3][0]}
            lines.append([cells.get(column, str(row)) for column in columns])
        (folder / file).write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def check_splits(splits, name: str) -> None:
    _, texts, _, labels = CASES[name]
    genre = {"MNLI": "_matched", "MNLI-m": "_matched", "MNLI-mm": "_mismatched"}.get(name, "")
    files = {split: f"{split}{'' if split == 'train' else genre}.tsv" for split in NUM_ROWS}
    if name == "MNLI":
        files |= {split: f"{split}.tsv" for split in ("dev_mismatched", "test_mismatched")}
    assert set(splits) == set(files)
    for key, file in files.items():
        split, got = key.split("_")[0], splits[key]
        num_rows = NUM_ROWS[split]
        assert len(got) == num_rows
        assert got.bad_rows == 0
        assert got.texts == tuple([text(file, column, row) for row in range(num_rows)] for column in texts), split
        if split == "test":
            assert got.labels is None
            assert got.indices == [str(row) for row in range(num_rows)]
        else:
            assert got.indices is None
            assert got.labels.dtype == (np.float32 if name == "STS-B" else np.int32)
            np.testing.assert_array_equal(
                got.labels, np.array([labels[row % 3][1] for row in range(num_rows)], got.labels.dtype)
            )


@pytest.fixture(autouse=True)
def tfds_dir(tmp_path, monkeypatch):
    """An empty TFDS folder, and a network that refuses everything at once."""
    folder = tmp_path / "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return folder


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Has TFDS take files made here for what it downloads; returns a function that makes those of a task."""
    source = tmp_path / "downloads"

    def make(name: str) -> None:
        write_files(source, name)
        if name == "MRPC":
            # TFDS builds MRPC from the original release: one labeled file, and the ids of its rows that are dev.
            parts = {split: (source / "MRPC" / f"{split}.tsv").read_text("utf-8").splitlines() for split in NUM_ROWS}
            dev = [line.replace("\t", "\tdev", 2) for line in parts["dev"][1:]]
            paths = {key: source / key for key in ("train", "test", "dev_ids")}
            paths["train"].write_text("\n".join(["\ufeff" + parts["train"][0], *parts["train"][1:], *dev]), "utf-8")
            paths["test"].write_text("\n".join(parts["test"]), "utf-8")
            paths["dev_ids"].write_text("\n".join("\t".join(line.split("\t")[1:3]) for line in dev), "utf-8")
            monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, urls: paths)

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: str(source))
    return make


@pytest.fixture
def sample_writer(monkeypatch):
    """Stands in for the generator of the sample; records its calls."""
    calls = []

    def write_sample(folder: Path, task) -> None:
        calls.append((folder, task.name))
        for split, file in task.files.items():
            lines = {"MRPC": ["q\ti\ti\ta\tb", f"1\t1\t2\tfirst {split}\tsecond"]}.get(task.name)
            if lines is None:
                width = 10 if split == "test" else 12
                row = ["0", *["x"] * (width - 2), "x" if split == "test" else "neutral"]
                lines = ["\t".join(["c"] * width), "\t".join(row)]
            (folder / file).write_text("\n".join(lines), "utf-8")

    monkeypatch.setattr(datasets, "write_sample", write_sample)
    return calls


@pytest.mark.parametrize("name", CASES)
def test_files_come_first(name, tmp_path):
    write_files(tmp_path, name)
    dataset = datasets.load_dataset(get_task(name), tmp_path)
    assert (dataset.source, dataset.location) == ("tsv", str(tmp_path / CASES[name][0]))
    check_splits(dataset.splits, name)


@pytest.mark.parametrize("place", ["AX/AX.tsv", "diagnostic/diagnostic.tsv"])
def test_the_diagnostic_set_is_a_further_test_split_of_mnli(place, tmp_path):
    write_files(tmp_path, "MNLI")
    (tmp_path / place).parent.mkdir()
    (tmp_path / place).write_text("index\tsentence1\tsentence2\n0\ta\tb\n1\tc\td\n")
    splits = datasets.load_dataset(get_task("MNLI"), tmp_path).splits
    assert splits["test_ax"].texts == (["a", "c"], ["b", "d"])
    assert splits["test_ax"].indices == ["0", "1"]
    assert "test_ax" not in datasets.load_dataset(get_task("MNLI-m"), tmp_path).splits


def test_real_files():
    if not REAL_DATA.exists():
        pytest.skip(f"real GLUE data not here: {REAL_DATA}")
    splits = datasets.load_dataset(get_task("MRPC"), str(REAL_DATA)).splits
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 3668, "dev": 408, "test": 1725}


def test_folder_without_a_file_is_an_error_and_no_reason_to_look_elsewhere(tmp_path, downloads, sample_writer):
    write_files(tmp_path, "MNLI-mm")
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    with pytest.raises(InputError, match=r"MNLI: dev_mismatched\.tsv missing; expected the files train\.tsv, dev_mis"):
        datasets.load_dataset(get_task("MNLI-mm"), tmp_path)
    assert datasets.load_dataset(get_task("MNLI-m"), tmp_path).source == "tsv"
    assert sample_writer == []


def test_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "RTE").write_text("")
    with pytest.raises(InputError, match="RTE: not a folder"):
        datasets.load_dataset(get_task("RTE"), tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_tfds_prepared_here_gives_what_the_files_give(name, tmp_path, tfds_dir, downloads, monkeypatch):
    downloads(name)
    tfds.builder(f"glue/{TASKS[name].tfds_name}", data_dir=tfds_dir).download_and_prepare()
    asked = []
    monkeypatch.setattr(tfds_data, "_why_no_network", asked.append)

    dataset = datasets.load_dataset(get_task(name), tmp_path / "empty")

    assert (dataset.source, dataset.location) == ("tfds", f"glue/{TASKS[name].tfds_name}")
    assert asked == []
    check_splits(dataset.splits, name)


def test_tfds_downloads_where_the_network_answers(tmp_path, tfds_dir, downloads, monkeypatch):
    downloads("RTE")
    monkeypatch.setattr(tfds_data, "_why_no_network", lambda urls: None)
    check_splits(tfds_data.load_from_tfds(get_task("RTE")), "RTE")
    assert (tfds_dir / "glue" / "rte" / "2.0.0" / "dataset_info.json").exists()


def test_tfds_download_that_fails_is_none_with_a_logged_reason(monkeypatch, tfds_dir):
    def fail(self, url):
        raise ConnectionError("cut\noff")

    logged = []
    monkeypatch.setattr("absl.logging.warning", lambda form, *values: logged.append(form % values))
    monkeypatch.setattr(tfds_data, "_why_no_network", lambda urls: None)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    assert tfds_data.load_from_tfds(get_task("RTE")) is None
    assert logged == [
        f"TFDS glue/rte is not prepared in {tfds_dir} and cannot be downloaded: ConnectionError: cut off."
    ]


def test_newest_prepared_version_is_taken(tfds_dir):
    for version in ("1.0.1", "10.0.0", "2.0.0", "incomplete.X_11.0.0"):
        (tfds_dir / "glue" / "rte" / version).mkdir(parents=True)
        (tfds_dir / "glue" / "rte" / version / "dataset_info.json").write_text("{")
    (tfds_dir / "glue" / "rte" / "12.0.0").mkdir()
    with pytest.raises(InputError, match=r"rte/10\.0\.0: this prepared TFDS data set cannot be read .* expected glue/"):
        tfds_data.load_from_tfds(get_task("RTE"))


def test_unknown_label_names_of_tfds(tfds_dir, downloads):
    downloads("RTE")
    tfds.builder("glue/rte", data_dir=tfds_dir).download_and_prepare()
    (tfds_dir / "glue/rte/2.0.0/label.labels.txt").write_text("yes\nno\n")
    with pytest.raises(InputError, match="its labels are yes, no; expected entailment, not_entailment"):
        tfds_data.load_from_tfds(get_task("RTE"))


def test_network_that_does_not_answer_costs_the_time_of_one_probe(monkeypatch):
    assert tfds_data.PROBE_SECONDS < 10
    monkeypatch.setattr(tfds_data, "PROBE_SECONDS", 0.5)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60) and [])
    start = time.monotonic()
    assert tfds_data.load_from_tfds(get_task("MRPC")) is None  # Two hosts, and neither can be looked up.
    assert 0.5 <= time.monotonic() - start < 5
    released.set()


def test_sample_comes_last_with_a_banner(tmp_path, sample_writer, capsys):
    dataset = datasets.load_dataset(get_task("MRPC"), tmp_path / "data")

    sample = tmp_path / "data" / "sample" / "MRPC"
    assert (dataset.source, dataset.location) == ("sample", str(sample))
    assert dataset.splits["dev"].texts == (["first dev"], ["second"])
    assert [path.name for path in sample.parent.iterdir()] == ["MRPC"]  # No scratch folder is left.
    banner = capsys.readouterr().err.strip()
    banner = banner[banner.index("####") :]  # after the log line on TFDS
    lines = banner.splitlines()
    assert {len(line) for line in lines} == {len(lines[0])}
    assert set(lines[0]) == set(lines[-1]) == {"#"}
    for said in ("SAMPLE DATA, NOT MRPC", str(tmp_path / "data" / "MRPC"), "glue/mrpc", "train.tsv", "tfds build"):
        assert said in banner
    assert "RESULTS ON IT MEAN NOTHING ABOUT MRPC" in " ".join(line.strip("# ") for line in lines)

    datasets.load_dataset(get_task("MRPC"), tmp_path / "data")
    assert [name for _, name in sample_writer] == ["MRPC"]  # It is generated once.


def test_sample_is_known_wherever_it_lies(tmp_path, capsys):
    """Copied to where real data would be, it is still no real data."""
    write_sample(tmp_path / "RTE", get_task("RTE"))
    dataset = datasets.load_dataset(get_task("RTE"), tmp_path)
    assert dataset.source == "sample"
    assert "SAMPLE DATA, NOT RTE" in capsys.readouterr().err
    (tmp_path / "RTE" / "SAMPLE.md").unlink()
    assert datasets.load_dataset(get_task("RTE"), tmp_path).source == "tsv"
    assert capsys.readouterr().err == ""


def test_fingerprint_tells_texts_labels_and_splits_apart(tmp_path):
    def fingerprint(text, label, other="x"):
        splits = {"train": Split(([text],), np.array([label]), None), "dev": Split(([other],), None, None)}
        return datasets.Dataset("tsv", "here", splits).fingerprint()

    found = {fingerprint("a", 0), fingerprint("a", 1), fingerprint("b", 0), fingerprint("a", 0, "y")}
    assert len(found) == 4
    assert fingerprint("a", 0) == fingerprint("a", 0)


def test_sample_of_both_mnli_tasks_shares_a_folder(tmp_path, sample_writer):
    datasets.load_dataset(get_task("MNLI-m"), tmp_path)
    train = tmp_path / "sample" / "MNLI" / "train.tsv"
    before = train.stat()
    assert len(datasets.load_dataset(get_task("MNLI-mm"), tmp_path).splits["dev"]) == 1
    assert sorted(path.name for path in train.parent.iterdir()) == sorted(MNLI_FILES)
    assert (train.stat().st_ino, train.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_sample_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def break_off(folder, task):
        (folder / "train.tsv").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "write_sample", break_off)
    with pytest.raises(InputError, match=r"RTE: the sample cannot be written \(No space left on device\)"):
        datasets.load_dataset(get_task("RTE"), tmp_path)
    assert list((tmp_path / "sample").iterdir()) == []
