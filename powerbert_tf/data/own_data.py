"""A user's own labelled text: rows of tables -> splits, with labels inferred and bad rows named.

What a row needs to be of use.
What a user's data was taken for, in words.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.labels import are_real_valued, draw_dev_rows, find_classes, label_problem, parse_number
from powerbert_tf.data.metrics import choose_metrics
from powerbert_tf.data.rejected import RejectedRows, bad_rows_message
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.sources import FileSource, Source, TfdsSource
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tables import Row, Table
from powerbert_tf.data.tasks import PUBLISHED, TASKS, OwnTask
from powerbert_tf.data.text_columns import TextWriter

_SHOWN_CLASSES = 10  # in a reason
_FEW_ROWS = 10_000
_SPLIT_SEED = 0  # the same rows whatever --seed is, so that seeds can be compared


@dataclasses.dataclass(frozen=True)
class OwnData:
    """What became of a user's files.

    Attributes:
        task: The task as the data shows it.
        dataset: Its splits: `train`, `dev`, and `test` where there is one.
        rejected: Rows that were left out.
        settings: Where the data came from.
        summary: Lines for the console: rows, classes, metrics.
    """

    task: OwnTask
    dataset: Dataset
    rejected: Sequence[Row]
    settings: DataSettings
    summary: str


@dataclasses.dataclass(frozen=True)
class _Columns:
    texts: tuple[str, ...]
    label: str


@dataclasses.dataclass(frozen=True)
class _Draft:
    """The rows of a split that have what they need, before it is known what their labels mean.

    Attributes:
        texts: A column each.
        labels: As they are spelled.
        places: Where each row stands; None where nobody will ask.
        rows: Reads the rows again, for what is not among the columns.
    """

    texts: tuple[Sequence[str], ...]
    labels: Sequence[str]
    places: Sequence[str] | None
    rows: Callable[[], Iterable[Row]]


def load_own_data(
    settings: DataSettings, name: str = "", classes: Sequence[str] = (), source: Source | None = None
) -> OwnData:
    """Reads the files, tells numbers from classes, and splits off a dev set where none is given.

    Args:
        settings: Where the files are and what their columns mean.
        name: Of the task; that of the data where it is empty.
        classes: Class names, where they are fixed beforehand.
        source: Rows that are in memory; None for those of the settings.

    Raises:
        InputError: A file or a column is missing, a row is bad and bad rows are errors, or there are too few rows.
    """
    source = source or _source_of(settings)
    name = _require_name(name or source.name)
    columns = _find_columns(settings, source)
    rejected = RejectedRows()

    draft = _draft(source, "train", columns, columns.label, rejected)
    _require_rows(draft.labels, settings, "train", rejected)
    regression = settings.regression or (not classes and are_real_valued(draft.labels))
    if not regression and not classes:
        classes = find_classes(draft.labels, columns.label)
    read_label = _LabelReader(() if regression else classes)

    splits = {"train": _to_split(draft, columns, read_label, rejected)}
    _require_rows(splits["train"].texts[0], settings, "train", rejected)
    for split in ("dev", "test"):
        if source.has(split):
            is_test = split == "test"
            draft = _draft(source, split, columns, None if is_test else columns.label, rejected)
            # A test file may have no label column, or one without labels, or with -1 for all.
            labeled = not is_test or any(not isinstance(read_label(label), str) for label in draft.labels)
            splits[split] = _to_split(draft, columns, read_label if labeled else None, rejected)
            _require_rows(splits[split].texts[0], settings, split, rejected)
    _check_rejected(rejected, settings)
    split_off = "dev" not in splits
    if split_off:
        splits = {**_split_off(splits["train"], settings.dev_share, not regression), **splits}
        splits["train"] = splits.pop("rest")

    task = OwnTask(
        name=name,
        classes=() if regression else tuple(classes),
        metrics=choose_metrics(cast(np.ndarray, splits["train"].labels), 0 if regression else len(classes)),
        text_columns=columns.texts,
        label_column=columns.label,
        epochs=5 if len(splits["train"]) < _FEW_ROWS else 3,
    )
    order = [split for split in ("train", "dev", "test") if split in splits]
    dataset = Dataset(source.kind, source.location, {split: splits[split] for split in order}, task.classes)
    summary = summarize_data(task, dataset, settings, split_off, len(rejected))
    return OwnData(task, dataset, rejected, settings, summary)


def label_spellings(settings: DataSettings, source: Source | None = None) -> set[str]:
    """The labels of the training data as they are spelled, good ones and bad ones.

    Raises:
        InputError: A file or a column is missing.
    """
    source = source or _source_of(settings)
    columns = _find_columns(settings, source)
    return {_label(row, columns) for _, row in source.rows("train")} - {""}


def _source_of(settings: DataSettings) -> Source:
    return TfdsSource(settings) if settings.tfds_name else FileSource(settings)


def _require_name(name: str) -> str:
    if name in PUBLISHED:
        kind = "GLUE" if name in TASKS else "published"
        raise InputError(f"--task={name}: that is a {kind} task with files of its own; choose another name for yours.")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"--task={name}: expected a name of letters, digits, -, _ and ., which is also a folder's.")
    return name


def _find_columns(settings: DataSettings, source: Source) -> _Columns:
    table = source.first("train")
    texts, label = source.default_columns()
    if settings.text_column:
        texts = (settings.text_column,)
    if settings.text_pair_column:
        texts = (*texts[:1], settings.text_pair_column)
    label = settings.label_column or label
    expected = f"expected one of the columns of {table.file}: {', '.join(table.columns)}"
    if not texts:
        raise InputError(f"--text_column: missing; {expected}.")
    if not label:
        raise InputError(f"--label_column: missing; {expected}.")
    flags = {"text_column": texts[0], "text_pair_column": texts[-1], "label_column": label}
    for flag, column in flags.items():
        if column not in table.columns and table.uniform:
            raise InputError(f"--{flag}={column}: no such column; {expected}.")
    if len({*texts, label}) < len(texts) + 1:
        raise InputError(f"--text_column and --label_column: {', '.join((*texts, label))}; expected different columns.")
    return _Columns(texts, label)


def _draft(source: Source, split: str, columns: _Columns, label: str | None, rejected: RejectedRows) -> _Draft:
    """Reads a split; `label` is the column that must hold a label, or None. Bad rows are added to `rejected`."""
    texts = [TextWriter() for _ in columns.texts]
    labels = TextWriter()
    places = TextWriter() if split == "test" else None
    for row in _usable(source.rows(split), columns.texts, label, rejected):
        labels.append(_label(row, columns))
        if places is not None:
            places.append(row.place)
        for column, writer in zip(columns.texts, texts, strict=True):
            writer.append(row.cells[column] or "")
    return _Draft(
        tuple(writer.finish() for writer in texts),
        labels.finish(),
        None if places is None else places.finish(),
        lambda: _usable(source.rows(split), columns.texts, label, RejectedRows()),
    )


def _usable(
    rows: Iterable[tuple[Table, Row]], texts: Sequence[str], label: str | None, rejected: RejectedRows
) -> Iterator[Row]:
    """The rows with texts, and with a label where one is asked for; the others are added to `rejected`."""
    checked: Table | None = None
    for table, row in rows:
        if table is not checked:
            require_columns(table, (*texts, *([label] if label else ())))
            checked = table
        problem = row.problem or row_problem(row, texts)
        if not problem and label:
            problem = f"no {label}" if label not in row.cells else label_problem(row.cells[label], label)
        if problem:
            rejected.append(row.rejected(problem))
        else:
            yield row


def _label(row: Row, columns: _Columns) -> str:
    return (row.cells.get(columns.label) or "").strip()


class _LabelReader:
    """Reads the label of a row: the number of its class, or its own number where there are no classes."""

    def __init__(self, classes: Sequence[str]):
        self.dtype = "int32" if classes else "float32"
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._known = ", ".join(classes[:_SHOWN_CLASSES]) + (", ..." if len(classes) > _SHOWN_CLASSES else "")

    def __call__(self, spelling: str) -> float | str:
        """The label, or why it is none."""
        if not self._numbers:
            number = parse_number(spelling)
            return f"the label {_short(spelling)} is no finite number" if number is None else number
        return self._numbers.get(spelling, f"the label {_short(spelling)} is none of {self._known}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _to_split(draft: _Draft, columns: _Columns, read_label: _LabelReader | None, rejected: RejectedRows) -> Split:
    """Texts and labels of rows; a label that cannot be read puts its row with `rejected`."""
    if read_label is None:
        return Split(draft.texts, None, draft.places)
    kept = np.ones(len(draft.labels), bool)

    def read(row: int, spelling: str) -> float:
        label = read_label(spelling)
        if isinstance(label, str):
            kept[row] = False
            return 0
        return label

    found = (read(row, spelling) for row, spelling in enumerate(draft.labels))
    labels = np.fromiter(found, read_label.dtype, len(draft.labels))
    split = Split(draft.texts, labels, draft.places)
    if kept.all():
        return split
    for row in itertools.compress(draft.rows(), ~kept):
        empty = label_problem(row.cells.get(columns.label), columns.label)
        rejected.append(row.rejected(empty or cast(str, read_label(_label(row, columns)))))
    return split.take(np.flatnonzero(kept))


def _require_rows(rows: Sequence, settings: DataSettings, split: str, rejected: Sequence[Row]) -> None:
    if not rows:
        _check_rejected(rejected, settings)
        where = settings.tfds_name or getattr(settings, f"{split}_file") or split
        first = f"; the first: {rejected[0].place}: {rejected[0].problem}" if rejected else ""
        raise InputError(f"{where}: no row that can be used{first}.")


def _check_rejected(rejected: Sequence[Row], settings: DataSettings) -> None:
    if rejected and settings.on_bad_row == "error":
        raise InputError(bad_rows_message(rejected))


def _split_off(train: Split, share: float, stratified: bool) -> dict[str, Split]:
    """`rest` and `dev`: a seeded share of each class; a class with a single row stays with the rest."""
    labels = cast(np.ndarray, train.labels)
    count = max(1, round(share * len(train)))
    rows = np.arange(len(train), dtype="int32" if len(train) < 2**31 else "int64")
    classes = None
    if stratified:
        counts = np.bincount(labels)
        rows = rows[counts[labels] > 1]
        classes = labels[rows]
        count = max(count, int(np.count_nonzero(counts > 1)))  # one of each at least
    if len(rows) - count < (1 if classes is None else len(np.unique(classes))):
        raise InputError(
            f"--dev_share={share}: {len(train)} rows are too few to split a dev set off; expected --dev_file, or more."
        )
    in_dev = np.zeros(len(train), bool)
    in_dev[rows[draw_dev_rows(classes, len(rows), count, _SPLIT_SEED)]] = True
    return {"rest": train.take(np.flatnonzero(~in_dev)), "dev": train.take(np.flatnonzero(in_dev))}


LONGEST_TEXT = 1_000_000  # characters; beyond it, a quote is missing rather than a text long


def require_columns(table: Table, columns: Sequence[str]) -> None:
    """Checks that a table whose rows are alike has these columns.

    Raises:
        InputError: It has not.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing and table.uniform:
        raise InputError(
            f"{table.file}:1: no column {', '.join(map(repr, missing))}; its columns are {', '.join(table.columns)}."
        )


def row_problem(row: Row, texts: Sequence[str]) -> str:
    """Why the texts of a row cannot be read by a model, empty where they can."""
    for column in texts:
        if column not in row.cells:
            return f"no {column}"
        text = row.cells[column]
        if text is None or not text.strip():
            return f"{column} is empty"
        if len(text) > LONGEST_TEXT:
            return f"{column} has {len(text):,} characters; expected at most {LONGEST_TEXT:,}"
    return ""


_SUMMARIZED_CLASSES = 12
_FAR = 10.0  # a spread of scores that a model with small weights reaches slowly


def summarize_data(task: OwnTask, dataset: Dataset, settings: DataSettings, split_off: bool, num_rejected: int) -> str:
    """Lines for the console, before anything is trained: rows, columns, classes or numbers, what was left out."""
    splits = dataset.splits
    dev = f", split off ({settings.dev_share:.0%}{'' if task.is_regression else ', stratified'})" if split_off else ""
    rows = [f"{len(splits['train']):,} training rows", f"{len(splits['dev']):,} dev rows{dev}"]
    if "test" in splits:
        labeled = "with" if splits["test"].labels is not None else "without"
        rows.append(f"{len(splits['test']):,} test rows {labeled} labels")
    lines = [f"{task.name}: {', '.join(rows)}"]
    lines.append(f"  text: {' and '.join(task.text_columns)}; label: {task.label_column}")
    labels = cast(np.ndarray, splits["train"].labels)
    if task.is_regression:
        low, high, spread = float(labels.min()), float(labels.max()), float(labels.std())
        lines.append(f"  a regression: numbers from {low:g} to {high:g}")
        if spread > _FAR or abs(float(labels.mean())) > _FAR:
            lines.append(f"  WARNING: numbers this far from 0 are learned slowly; scale them to about 0 to {_FAR:g}")
    else:
        counts = np.bincount(labels, minlength=len(task.classes)).tolist()
        shown = [
            f"{name} ({count:,})"
            for name, count in itertools.islice(zip(task.classes, counts, strict=True), _SUMMARIZED_CLASSES)
        ]
        more = len(task.classes) - len(shown)
        lines.append(f"  {len(task.classes)} classes: {', '.join(shown)}{f' and {more} more' if more else ''}")
    if num_rejected:
        lines.append(f"  {num_rejected:,} rows left out; rejected.jsonl names each of them")
    return "\n".join(lines)
