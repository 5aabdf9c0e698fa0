"""What a task is, and the GLUE tasks: file layouts, classes, metrics, published settings, a row of `TASKS` each."""

import dataclasses
import difflib

from powerbert_tf.common.errors import InputError

TASK_FILE = "task.json"  # describes a task in the folder of a run or of an export


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned, and the settings that it begins with.

    Attributes:
        name: Its name, also that of its folder of results.
        classes: Class names as the files spell them, in the order of the logits; empty for a regression.
        metrics: Names in `metrics.METRICS`, the main one first.
        is_pair: Whether an example is two texts.
        max_seq_length: N, in word-pieces; 0 to propose one from the lengths of the training texts.
        learning_rate: Peak rate of BERT's own weights.
        learning_rate_soft_extract: Peak rate of the retention parameters in the search.
        mass_penalty: Lambda, the weight of the masses in the search loss.
        batch_size: Training batch.
        epochs: Of each training stage.
        class_weights: Weight of each class in the loss, in the order of `classes`; empty where all weigh the same.
        choices: K, options of a question, each of which a model scores as a pair of texts, see `data.race`;
            the classes are then which option is right. 1 where an example is one input of the model.
    """

    name: str
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    is_pair: bool = False
    max_seq_length: int
    learning_rate: float
    learning_rate_soft_extract: float
    mass_penalty: float
    batch_size: int
    epochs: int
    class_weights: tuple[float, ...] = ()
    choices: int = 1

    @property
    def is_regression(self) -> bool:
        return not self.classes

    @property
    def num_outputs(self) -> int:
        """What the head computes of an input: a logit per class, or 1 for a regression or an option of a question."""
        return 1 if self.choices > 1 else len(self.classes) or 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlueTask(Task):
    """One GLUE task; its settings are the published ones, its epochs 5 for fewer than 10,000 rows and else 3.

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
    labeled: Layout
    unlabeled: Layout
    is_pair: bool = dataclasses.field(init=False)
    tfds_name: str
    tfds_texts: tuple[str, ...]
    files: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
    )
    tfds_splits: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "dev": "validation", "test": "test"}
    )
    submissions: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "is_pair", len(self.labeled.texts) == 2)
        if not self.submissions:
            object.__setattr__(self, "submissions", {"test": self.name})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """A task on a user's own data, with settings that suit most.

    Attributes:
        text_columns: Columns of the one or two texts.
        label_column: Column of the label.
    """

    text_columns: tuple[str, ...]
    label_column: str
    is_pair: bool = dataclasses.field(init=False)
    max_seq_length: int = 0
    learning_rate: float = 3e-5
    learning_rate_soft_extract: float = 3e-3
    mass_penalty: float = 1e-3
    batch_size: int = 32

    def __post_init__(self):
        object.__setattr__(self, "is_pair", len(self.text_columns) == 2)


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


AX_SPLIT = "test_ax"
_MNLI_CLASSES = ("contradiction", "entailment", "neutral")

# The diagnostic set of GLUE: a test file alone, for a model of MNLI to answer.
AX = GlueTask(
    name="AX",
    folder="AX",
    labeled=Layout(texts=(1, 2)),
    unlabeled=Layout(texts=(1, 2), index=0),
    classes=_MNLI_CLASSES,
    metrics=("mcc",),
    max_seq_length=128,
    learning_rate=3e-5,
    learning_rate_soft_extract=2e-4,
    mass_penalty=1e-4,
    batch_size=64,
    epochs=3,
    tfds_name="ax",
    tfds_texts=("premise", "hypothesis"),
    files={"test": "AX.tsv"},
    tfds_splits={"test": "test"},
)


def _mnli(name: str, genre: str, learning_rate_soft_extract: float, both: bool = False) -> GlueTask:
    """MNLI with the dev and test files of one genre, or of both: those of the other and AX are then further splits."""
    files = {"train": "train.tsv", "dev": f"dev_{genre}.tsv", "test": f"test_{genre}.tsv"}
    tfds_splits = {"train": "train", "dev": f"validation_{genre}", "test": f"test_{genre}"}
    submissions = {}
    if both:
        files |= {"dev_mismatched": "dev_mismatched.tsv", "test_mismatched": "test_mismatched.tsv"}
        tfds_splits |= {"dev_mismatched": "validation_mismatched", "test_mismatched": "test_mismatched"}
        submissions = {"test": "MNLI-m", "test_mismatched": "MNLI-mm", AX_SPLIT: AX.name}
    return GlueTask(
        name=name,
        folder="MNLI",
        labeled=Layout(texts=(8, 9), label=-1),
        unlabeled=Layout(texts=(8, 9), index=0),
        classes=_MNLI_CLASSES,
        metrics=("accuracy",),
        max_seq_length=128,
        learning_rate=3e-5,
        learning_rate_soft_extract=learning_rate_soft_extract,
        mass_penalty=1e-4,
        batch_size=64,
        epochs=3,
        tfds_name="mnli",
        tfds_texts=("premise", "hypothesis"),
        files=files,
        tfds_splits=tfds_splits,
        submissions=submissions,
    )


# Settings: the table of the original release's README. It has no WNLI; those of RTE, the task most like it, stand in.
TASKS = {
    task.name: task
    for task in (
        GlueTask(
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
        GlueTask(
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
        GlueTask(
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
        GlueTask(
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
        GlueTask(
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
        _mnli("MNLI", "matched", learning_rate_soft_extract=2e-4, both=True),
        _mnli("MNLI-m", "matched", learning_rate_soft_extract=2e-4),
        _mnli("MNLI-mm", "mismatched", learning_rate_soft_extract=1e-4),
        GlueTask(
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
        GlueTask(
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
        GlueTask(
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

# The rates of the soft-extract layers and lambda are published, learning rate and batch size are not: those of RTE, the
# GLUE task with the longest texts, stand in.
RACE = ChoiceTask(
    name="RACE",
    folder="RACE",
    classes=("A", "B", "C", "D"),
    metrics=("accuracy",),
    max_seq_length=512,
    learning_rate=3e-5,
    learning_rate_soft_extract=2e-4,
    mass_penalty=1e-4,
    batch_size=16,
    epochs=3,
)
PUBLISHED: dict[str, GlueTask | ChoiceTask] = {**TASKS, RACE.name: RACE}


def get_task(name: str) -> GlueTask | ChoiceTask:
    """Returns the row called `name`.

    Raises:
        InputError: No such task; the message lists them and the nearest spelling.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if name == AX.name:
        raise InputError(
            "--task=AX: has a test file alone; pass --task=MNLI, which predicts it, too, where it is there."
        )
    nearest = difflib.get_close_matches(name.upper(), [task.upper() for task in PUBLISHED], n=1)
    hint = next((f" Did you mean {task}?" for task in PUBLISHED if nearest and task.upper() == nearest[0]), "")
    raise InputError(f"--task={name}: no such task; expected one of {', '.join(PUBLISHED)}.{hint}")
