"""The GLUE tasks: file layouts, classes, metrics and published settings. A task is a row of `TASKS`."""

import dataclasses
import difflib

from powerbert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the columns of a tab-separated file are (0-based; -1 is the last column).

    Attributes:
        texts: Columns of the one or two texts.
        label: Column of the label, or None in a test file.
        index: Column of the row's index in a test file, or None elsewhere.
        header: Whether the first line holds column names.
        num_columns: Columns of a row where no header tells; None where the header does.
    """

    texts: tuple[int, ...]
    label: int | None = None
    index: int | None = None
    header: bool = True
    num_columns: int | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """One GLUE task.

    Attributes:
        name: Its name, also that of the submission file.
        folder: Folder below the data directory.
        labeled: Layout of the train and dev files.
        unlabeled: Layout of the test file.
        classes: Class names as the files spell them, in the order of the logits; empty for a regression.
        metrics: Names of the GLUE metrics, the main one first.
        max_seq_length: N, in word-pieces (published).
        learning_rate: Peak rate of BERT's own weights (published).
        learning_rate_soft_extract: Peak rate of the retention parameters in the search (published).
        mass_penalty: Lambda, the weight of the masses in the search loss (published).
        batch_size: Training batch (published).
        epochs: Of each training stage; published are 3 to 5, here 5 for the tasks of fewer than 10,000 rows.
        tfds_name: Configuration of the `glue` data set of TensorFlow Datasets.
        tfds_texts: Its text features, in the order of `labeled.texts`.
        files: File of each split (`train`, `dev`, `test`).
        tfds_splits: Split of the TFDS data set that corresponds to each split here.
    """

    name: str
    folder: str
    labeled: Layout
    unlabeled: Layout
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    max_seq_length: int
    learning_rate: float
    learning_rate_soft_extract: float
    mass_penalty: float
    batch_size: int
    epochs: int
    tfds_name: str
    tfds_texts: tuple[str, ...]
    files: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
    )
    tfds_splits: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "dev": "validation", "test": "test"}
    )

    @property
    def is_regression(self) -> bool:
        return not self.classes

    @property
    def num_outputs(self) -> int:
        """Width of the logits: one per class, or 1 for a regression."""
        return len(self.classes) or 1

    @property
    def is_pair(self) -> bool:
        return len(self.labeled.texts) == 2


def _mnli(name: str, genre: str, learning_rate_soft_extract: float) -> Task:
    return Task(
        name=name,
        folder="MNLI",
        labeled=Layout(texts=(8, 9), label=-1),
        unlabeled=Layout(texts=(8, 9), index=0),
        classes=("contradiction", "entailment", "neutral"),
        metrics=("accuracy",),
        max_seq_length=128,
        learning_rate=3e-5,
        learning_rate_soft_extract=learning_rate_soft_extract,
        mass_penalty=1e-4,
        batch_size=64,
        epochs=3,
        tfds_name="mnli",
        tfds_texts=("premise", "hypothesis"),
        files={"train": "train.tsv", "dev": f"dev_{genre}.tsv", "test": f"test_{genre}.tsv"},
        tfds_splits={"train": "train", "dev": f"validation_{genre}", "test": f"test_{genre}"},
    )


# Settings: the table of the original release's README. It has no WNLI; those of RTE, the task most like it, stand in.
TASKS = {
    task.name: task
    for task in (
        Task(
            name="CoLA",
            folder="CoLA",
            labeled=Layout(texts=(3,), label=1, header=False, num_columns=4),
            unlabeled=Layout(texts=(1,), index=0),
            classes=("0", "1"),
            metrics=("mcc", "accuracy"),
            max_seq_length=64,
            learning_rate=2e-5,
            learning_rate_soft_extract=1.5e-3,
            mass_penalty=7e-3,
            batch_size=32,
            epochs=5,
            tfds_name="cola",
            tfds_texts=("sentence",),
        ),
        Task(
            name="RTE",
            folder="RTE",
            labeled=Layout(texts=(1, 2), label=3),
            unlabeled=Layout(texts=(1, 2), index=0),
            classes=("entailment", "not_entailment"),
            metrics=("accuracy",),
            max_seq_length=256,
            learning_rate=3e-5,
            learning_rate_soft_extract=3e-3,
            mass_penalty=1e-3,
            batch_size=16,
            epochs=5,
            tfds_name="rte",
            tfds_texts=("sentence1", "sentence2"),
        ),
        Task(
            name="QQP",
            folder="QQP",
            labeled=Layout(texts=(3, 4), label=5),
            unlabeled=Layout(texts=(1, 2), index=0),
            classes=("0", "1"),
            metrics=("f1", "accuracy"),
            max_seq_length=128,
            learning_rate=3e-5,
            learning_rate_soft_extract=1e-4,
            mass_penalty=3e-4,
            batch_size=64,
            epochs=3,
            tfds_name="qqp",
            tfds_texts=("question1", "question2"),
        ),
        Task(
            name="MRPC",
            folder="MRPC",
            labeled=Layout(texts=(3, 4), label=0),
            unlabeled=Layout(texts=(3, 4), index=0),
            classes=("0", "1"),
            metrics=("f1", "accuracy"),
            max_seq_length=128,
            learning_rate=6e-5,
            learning_rate_soft_extract=3e-3,
            mass_penalty=3e-3,
            batch_size=64,
            epochs=5,
            tfds_name="mrpc",
            tfds_texts=("sentence1", "sentence2"),
        ),
        Task(
            name="SST-2",
            folder="SST-2",
            labeled=Layout(texts=(0,), label=1),
            unlabeled=Layout(texts=(1,), index=0),
            classes=("0", "1"),
            metrics=("accuracy",),
            max_seq_length=64,
            learning_rate=3e-5,
            learning_rate_soft_extract=5e-4,
            mass_penalty=2e-4,
            batch_size=64,
            epochs=3,
            tfds_name="sst2",
            tfds_texts=("sentence",),
        ),
        _mnli("MNLI-m", "matched", learning_rate_soft_extract=2e-4),
        _mnli("MNLI-mm", "mismatched", learning_rate_soft_extract=1e-4),
        Task(
            name="QNLI",
            folder="QNLI",
            labeled=Layout(texts=(1, 2), label=3),
            unlabeled=Layout(texts=(1, 2), index=0),
            classes=("entailment", "not_entailment"),
            metrics=("accuracy",),
            max_seq_length=128,
            learning_rate=3e-5,
            learning_rate_soft_extract=2e-4,
            mass_penalty=1.5e-4,
            batch_size=16,
            epochs=3,
            tfds_name="qnli",
            tfds_texts=("question", "sentence"),
        ),
        Task(
            name="STS-B",
            folder="STS-B",
            labeled=Layout(texts=(7, 8), label=-1),
            unlabeled=Layout(texts=(7, 8), index=0),
            classes=(),
            metrics=("spearman", "pearson"),
            max_seq_length=64,
            learning_rate=3e-5,
            learning_rate_soft_extract=3e-3,
            mass_penalty=1e-3,
            batch_size=64,
            epochs=5,
            tfds_name="stsb",
            tfds_texts=("sentence1", "sentence2"),
        ),
        Task(
            name="WNLI",
            folder="WNLI",
            labeled=Layout(texts=(1, 2), label=3),
            unlabeled=Layout(texts=(1, 2), index=0),
            classes=("0", "1"),
            metrics=("accuracy",),
            max_seq_length=256,
            learning_rate=3e-5,
            learning_rate_soft_extract=3e-3,
            mass_penalty=1e-3,
            batch_size=16,
            epochs=5,
            tfds_name="wnli",
            tfds_texts=("sentence1", "sentence2"),
        ),
    )
}


def get_task(name: str) -> Task:
    """Returns the row called `name`.

    Raises:
        InputError: No such task; the message lists them and the nearest spelling.
    """
    if name in TASKS:
        return TASKS[name]
    nearest = difflib.get_close_matches(name.upper(), [task.upper() for task in TASKS], n=1)
    hint = next((f" Did you mean {task}?" for task in TASKS if nearest and task.upper() == nearest[0]), "")
    raise InputError(f"--task={name}: no such task; expected one of {', '.join(TASKS)}.{hint}")
