"""What a task is, and the published tasks: GLUE and RACE, with their classes, metrics, settings and file layouts."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER, Kind

TASK_FILE = "task.json"  # describes a task in the folder of a run or of an export


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of a tab-separated file (0-based; -1 is the last column).

    Attributes:
        texts: Columns of the one or two texts.
        label: Column of the label; None in a test file.
        index: Column of the row's index in a test file; None elsewhere.
        header: Whether the first line holds column names.
        num_columns: Number of columns of a file without a header; None for a file with one.
    """

    texts: tuple[int, ...]
    label: int | None = None
    index: int | None = None
    header: bool = True
    num_columns: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a model learns, and the settings to start with.

    Attributes:
        name: Its name, also that of its folder of results.
        classes: Class names as the files spell them, in the order of the logits; empty for a regression.
        metrics: Names in `metrics.METRICS`, the main one first.
        is_pair: Whether an example is two texts.
        max_seq_length: N, in tokens; 0 to propose one from the lengths of the training texts.
        learning_rate: Peak rate of BERT's own weights.
        learning_rate_soft_extract: Peak rate of the retention parameters in the search.
        lambda_: Weight of the masses in the search loss.
        batch_size: Examples in a training batch.
        epochs: Epochs of each training stage.
        class_weights: Weight of each class in the loss, in the order of `classes`; empty if all weigh the same.
        choices: K, the options of a question in multiple choice, where the model scores each option as a pair of texts
            (see `data.race`) and the classes say which one is right. Otherwise 1.
        is_multi_label: Whether any number of the classes, called labels, can be right at once.
        thresholds: Least probability with which each label is an answer, in the order of `classes`, where a model has
            been trained; empty for those that fit the rows best that are evaluated.
        temperature: What logits are divided by before they become probabilities, see `reliability.fit_temperature`.
    """

    name: str
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    is_pair: bool = False
    max_seq_length: int
    learning_rate: float
    learning_rate_soft_extract: float
    lambda_: float
    batch_size: int
    epochs: int
    class_weights: tuple[float, ...] = ()
    choices: int = 1
    is_multi_label: bool = False
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0

    @property
    def kind(self) -> Kind:
        """What its logits mean."""
        return LABELS if self.is_multi_label else CLASSES if self.classes else NUMBER

    @property
    def is_regression(self) -> bool:
        return self.kind is NUMBER

    @property
    def is_unlabelled(self) -> bool:
        """Whether the answers of the model that is made faster take the place of labels."""
        return False

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, or the numbers of a regression, of logits, `[n, C]` both."""
        return self.kind.answers(logits / self.temperature)

    @property
    def num_outputs(self) -> int:
        """Number of logits per input: one per class, or 1 for a regression or an option of a question."""
        return 1 if self.choices > 1 else len(self.classes) or 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlueTask(Task):
    """One GLUE task, with the published settings.

    Attributes:
        folder: Folder below the data directory.
        labeled: Layout of the train and dev files.
        unlabeled: Layout of the test file.
        tfds_name: Configuration of the `glue` data set of TensorFlow Datasets.
        tfds_texts: Its text features, in the order of `labeled.texts`.
        files: File of each split: `train`, `dev` and `test`, and further ones whose names begin with `dev` or `test`.
        tfds_splits: Split of the TFDS data set that corresponds to each split here.
        submissions: Name of the submission file of each test split, without `.tsv`.
    """

    folder: str
    labeled: Layout = Layout(texts=(1, 2), label=3)
    unlabeled: Layout = Layout(texts=(1, 2), index=0)
    is_pair: bool = dataclasses.field(init=False)
    tfds_name: str
    tfds_texts: tuple[str, ...] = ("sentence1", "sentence2")
    files: Mapping[str, str]
    tfds_splits: Mapping[str, str]
    submissions: Mapping[str, str]

    def __post_init__(self):
        object.__setattr__(self, "is_pair", len(self.labeled.texts) == 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """A task on a user's own data, with settings that suit most.

    Attributes:
        text_columns: Columns of the one or two texts.
        label_column: Column of the label; several, with commas between, that have 0 or 1 for each label; empty where a
            trained classifier's own answers take the place of labels.
        label_separator: What is between several labels of a row; empty if nothing is.
    """

    text_columns: tuple[str, ...]
    label_column: str
    label_separator: str = ""
    is_pair: bool = dataclasses.field(init=False)
    max_seq_length: int = 0
    learning_rate: float = 5e-5
    learning_rate_soft_extract: float = 3e-3
    lambda_: float = 1e-3
    batch_size: int = 32

    def __post_init__(self):
        object.__setattr__(self, "is_pair", len(self.text_columns) == 2)

    @property
    def is_unlabelled(self) -> bool:
        return not self.label_column


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceTask(Task):
    """Multiple choice, with files of its own.

    Attributes:
        folder: Folder below the data directory.
    """

    folder: str
    is_pair: bool = True

    def __post_init__(self):
        object.__setattr__(self, "choices", len(self.classes))


# Learning rate, that of the retention parameters, lambda, max_seq_length, batch size, epochs (5 for fewer than 10,000
# rows, else 3): the table of the original release's README. It lacks WNLI, which takes the settings of RTE, the task
# most like it. Of RACE the paper gives the second rate and lambda only; the learning rate and the batch size are those
# of RTE, the GLUE task with the longest texts. AX is answered by a model of MNLI.
_SETTINGS = {
    "CoLA": (2e-5, 1.5e-3, 7e-3, 64, 32, 5),
    "RTE": (3e-5, 3e-3, 1e-3, 256, 16, 5),
    "QQP": (3e-5, 1e-4, 3e-4, 128, 64, 3),
    "MRPC": (6e-5, 3e-3, 3e-3, 128, 64, 5),
    "SST-2": (3e-5, 5e-4, 2e-4, 64, 64, 3),
    "MNLI": (3e-5, 2e-4, 1e-4, 128, 64, 3),
    "MNLI-m": (3e-5, 2e-4, 1e-4, 128, 64, 3),
    "MNLI-mm": (3e-5, 1e-4, 1e-4, 128, 64, 3),
    "QNLI": (3e-5, 2e-4, 1.5e-4, 128, 16, 3),
    "STS-B": (3e-5, 3e-3, 1e-3, 64, 64, 5),
    "WNLI": (3e-5, 3e-3, 1e-3, 256, 16, 5),
    "AX": (3e-5, 2e-4, 1e-4, 128, 64, 3),
    "RACE": (3e-5, 2e-4, 1e-4, 512, 16, 3),
}
SETTING_NAMES = (
    "learning_rate", "learning_rate_soft_extract", "lambda_", "max_seq_length", "batch_size", "epochs",
)  # fmt: skip
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
AX_SPLIT = "test_ax"
_MNLI: dict[str, Any] = {
    "classes": ("contradiction", "entailment", "neutral"),
    "folder": "MNLI",
    "labeled": Layout(texts=(8, 9), label=-1),
    "unlabeled": Layout(texts=(8, 9), index=0),
    "tfds_name": "mnli",
    "tfds_texts": ("premise", "hypothesis"),
}


def _settings(name: str) -> dict[str, Any]:
    return dict(zip(SETTING_NAMES, _SETTINGS[name], strict=True))


def _glue(name: str, tfds_name: str, classes: tuple[str, ...], metrics: tuple[str, ...], **layout: Any) -> GlueTask:
    return GlueTask(
        name=name,
        classes=classes,
        metrics=metrics,
        tfds_name=tfds_name,
        **{
            "folder": name,
            "files": {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"},
            "tfds_splits": {"train": "train", "dev": "validation", "test": "test"},
            "submissions": {"test": name},
            **_settings(name),
            **layout,
        },
    )


def _mnli(name: str, genre: str) -> GlueTask:
    """Returns MNLI with the dev and test files of one genre; `MNLI` has those of the other and AX as further splits."""
    files = {"train": "train.tsv", "dev": f"dev_{genre}.tsv", "test": f"test_{genre}.tsv"}
    submissions = {"test": name}
    if name == "MNLI":
        files |= {"dev_mismatched": "dev_mismatched.tsv", "test_mismatched": "test_mismatched.tsv"}
        submissions = {"test": "MNLI-m", "test_mismatched": "MNLI-mm", AX_SPLIT: "AX"}
    tfds_splits = {split: file.removesuffix(".tsv").replace("dev", "validation") for split, file in files.items()}
    return _glue(name, metrics=("accuracy",), files=files, tfds_splits=tfds_splits, submissions=submissions, **_MNLI)


TASKS = {
    task.name: task
    for task in (
        _glue(
            "CoLA",
            "cola",
            _BINARY,
            ("mcc", "accuracy"),
            labeled=Layout(texts=(3,), label=1, header=False, num_columns=4),
            unlabeled=Layout(texts=(1,), index=0),
            tfds_texts=("sentence",),
        ),
        _glue("RTE", "rte", _ENTAILMENT, ("accuracy",)),
        _glue(
            "QQP",
            "qqp",
            _BINARY,
            ("f1", "accuracy"),
            labeled=Layout(texts=(3, 4), label=5),
            tfds_texts=("question1", "question2"),
        ),
        _glue(
            "MRPC",
            "mrpc",
            _BINARY,
            ("f1", "accuracy"),
            labeled=Layout(texts=(3, 4), label=0),
            unlabeled=Layout(texts=(3, 4), index=0),
        ),
        _glue(
            "SST-2",
            "sst2",
            _BINARY,
            ("accuracy",),
            labeled=Layout(texts=(0,), label=1),
            unlabeled=Layout(texts=(1,), index=0),
            tfds_texts=("sentence",),
        ),
        _mnli("MNLI", "matched"),
        _mnli("MNLI-m", "matched"),
        _mnli("MNLI-mm", "mismatched"),
        _glue("QNLI", "qnli", _ENTAILMENT, ("accuracy",), tfds_texts=("question", "sentence")),
        _glue(
            "STS-B",
            "stsb",
            (),
            ("spearman", "pearson"),
            labeled=Layout(texts=(7, 8), label=-1),
            unlabeled=Layout(texts=(7, 8), index=0),
        ),
        _glue("WNLI", "wnli", _BINARY, ("accuracy",)),
    )
}
# The diagnostic set of GLUE: only a test file, which a model of MNLI answers.
AX = _glue(
    "AX",
    "ax",
    _MNLI["classes"],
    ("mcc",),
    labeled=Layout(texts=(1, 2)),
    tfds_texts=_MNLI["tfds_texts"],
    files={"test": "AX.tsv"},
    tfds_splits={"test": "test"},
)
RACE = ChoiceTask(name="RACE", folder="RACE", classes=("A", "B", "C", "D"), metrics=("accuracy",), **_settings("RACE"))
PUBLISHED: dict[str, GlueTask | ChoiceTask] = {**TASKS, RACE.name: RACE}


def get_task(name: str) -> GlueTask | ChoiceTask:
    """Returns the published task called `name`.

    Raises:
        InputError: There is no such task; the message lists all and suggests the nearest spelling.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if name == AX.name:
        raise InputError("--task=AX: has only a test file; pass --task=MNLI, which also predicts it.")
    nearest = difflib.get_close_matches(name.upper(), [task.upper() for task in PUBLISHED], n=1)
    hint = next((f" Did you mean {task}?" for task in PUBLISHED if nearest and task.upper() == nearest[0]), "")
    raise InputError(f"--task={name}: no such task; expected one of {', '.join(PUBLISHED)}.{hint}")
