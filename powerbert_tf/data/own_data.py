"""A user's own labelled texts: finds columns and classes, sorts out bad rows, and splits off a dev set."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER, Kind
from powerbert_tf.data.label_lists import (
    NO_SEPARATOR,
    LabelsReader,
    ListForm,
    doubtful_separator,
    find_form,
    find_labels,
    read_flags,
    read_list,
)
from powerbert_tf.data.labelled_tables import LabelledTables, find_tables, split_columns
from powerbert_tf.data.labels import (
    LabelReader,
    are_real_valued,
    are_withheld,
    doubtful_classes,
    find_classes,
    label_problem,
    shortened,
)
from powerbert_tf.data.metrics import AGREEMENT, choose_metrics
from powerbert_tf.data.rejected_rows import RejectedRows, bad_rows_message, require_columns, row_problem
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.splits import Split, split_off
from powerbert_tf.data.tables import OpenTable, Row
from powerbert_tf.data.tasks import PUBLISHED, TASKS, OwnTask
from powerbert_tf.data.text_columns import TextWriter

# Epochs of fine-tuning: enough for that many steps, as fewer leave small data unlearned, within these bounds.
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 500, 3, 50
# Dev texts without labels: a quarter, but so many that the agreement is known to a few points, and no more than tell a
# tenth of a point; never more than half.
_UNLABELLED_SHARE, _UNLABELLED_LEAST, _UNLABELLED_MOST = 0.25, 200, 5000
_MOST_LISTED = 12  # classes in the summary
_FAR = 10.0  # a spread of scores that a model with small weights reaches slowly


@dataclasses.dataclass(frozen=True)
class OwnData:
    """A user's data, read.

    Attributes:
        task: The task as the data shows it.
        dataset: Its splits: `train`, `dev`, and `test` if there is one.
        rejected: Rows that were left out.
        settings: Where the data came from.
        summary: Lines for the console: rows, classes, metrics.
    """

    task: OwnTask
    dataset: Dataset
    rejected: Sequence[Row]
    settings: DataSettings
    summary: str


def load_own_data(
    settings: DataSettings, name: str = "", classes: Sequence[str] = (), tables: LabelledTables | None = None
) -> OwnData:
    """Reads a user's data, finds out whether labels are numbers or classes, and splits off a dev set if none is given.

    Args:
        settings: Name the files and their columns.
        name: Name of the task; by default that of the data.
        classes: Class names; by default those that occur.
        tables: Data in memory; by default that of the settings.

    Raises:
        InputError: A file or a column is missing, a row is bad and bad rows are errors, or there are too few rows.
    """
    tables = _with_columns(tables or find_tables(settings), settings)
    name = _require_name(name or tables.name)
    rejected = RejectedRows()

    splits: dict[str, Split] = {}
    for split in ("train", "dev", "test"):
        if split not in tables.splits:
            continue
        splits[split], spellings = _read_texts(tables, split, rejected)
        if split == "train":
            _require_rows(splits[split], settings, split, rejected)
            kind, form = _find_kind(spellings, settings, tables, classes)
            if kind is NUMBER:
                classes = ()
            elif not classes:
                classes = _find_names(form, spellings, tables)
            read_label = LabelsReader(classes, form) if form else LabelReader(classes)
        # A test file may have no label column, or one without labels.
        if split != "test" or not are_withheld(spellings, read_label):
            splits[split] = _with_labels(splits[split], spellings, read_label, tables, split, rejected)
        _require_rows(splits[split], settings, split, rejected)
    _check_rejected(rejected, settings, sum(map(len, splits.values())) + len(rejected))
    has_no_dev = "dev" not in splits
    _split_dev_off(splits, settings)
    task = OwnTask(
        name=name,
        classes=tuple(classes),
        metrics=choose_metrics(kind, cast(np.ndarray, splits["train"].labels), len(classes)),
        text_columns=tables.text_columns,
        label_column=tables.label_column,
        label_separator=form.separator if form else "",
        is_multi_label=kind is LABELS,
        epochs=_epochs(len(splits["train"])),
    )
    ordered = {split: splits[split] for split in sorted(splits, key=("train", "dev", "test").index)}
    dataset = Dataset(tables.source, tables.location, ordered, task.classes)
    summary = _summarize(task, dataset, settings, tables, has_no_dev, rejected)
    return OwnData(task, dataset, rejected, settings, summary)


def load_texts(
    settings: DataSettings, kind: Kind, classes: Sequence[str], name: str = "", tables: LabelledTables | None = None
) -> OwnData:
    """Reads a user's texts without labels, for a trained classifier whose answers take their place later.

    Args:
        settings: Name the files and their columns.
        kind: What the classifier's logits mean.
        classes: Names of its classes.
        name: Name of the task; by default that of the data.
        tables: Data in memory; by default that of the settings.

    Raises:
        InputError: See `load_own_data`.
    """
    tables = _with_columns(tables or find_tables(settings), settings, has_labels=False)
    name = _require_name(name or tables.name)
    rejected = RejectedRows()
    splits = {}
    for split in ("train", "dev", "test"):
        if split in tables.splits:
            splits[split], _ = _read_texts(tables, split, rejected)
            _require_rows(splits[split], settings, split, rejected)
    _check_rejected(rejected, settings, sum(map(len, splits.values())) + len(rejected))
    has_no_dev = "dev" not in splits
    if has_no_dev:
        settings = dataclasses.replace(settings, dev_share=_share_without_labels(len(splits["train"]), settings))
    _split_dev_off(splits, settings)
    metrics = (AGREEMENT,) if kind is CLASSES else choose_metrics(kind, np.zeros(0), len(classes))
    task = OwnTask(
        name=name,
        classes=tuple(classes),
        metrics=metrics,
        text_columns=tables.text_columns,
        label_column="",
        is_multi_label=kind is LABELS,
        epochs=_epochs(len(splits["train"])),
    )
    summary = "\n".join([*_describe_texts(task, splits, settings, tables, has_no_dev), *_describe_rejected(rejected)])
    return OwnData(task, Dataset(tables.source, tables.location, splits, task.classes), rejected, settings, summary)


def _share_without_labels(num_rows: int, settings: DataSettings) -> float:
    """The share of texts that the agreement is measured on, unless another one is given: they cost no labels."""
    if settings.dev_share != DataSettings.dev_share:
        return settings.dev_share
    wanted = min(max(_UNLABELLED_SHARE * num_rows, _UNLABELLED_LEAST), _UNLABELLED_MOST)
    return min(wanted / num_rows, 0.5)


def _split_dev_off(splits: dict[str, Split], settings: DataSettings) -> None:
    if "dev" not in splits:
        try:
            splits["train"], splits["dev"] = split_off(splits["train"], settings.dev_share)
        except InputError as error:
            raise InputError(f"--dev_share={settings.dev_share}: {error}; expected --dev_file, or more.") from None


def _epochs(num_rows: int) -> int:
    return min(max(math.ceil(_STEPS * OwnTask.batch_size / num_rows), _LEAST_EPOCHS), _MOST_EPOCHS)


def label_spellings(settings: DataSettings, tables: LabelledTables | None = None) -> tuple[set[str], Sequence[str]]:
    """Returns the labels of the training data as they are spelled, and `tables.class_names`.

    Good ones and bad ones; of lists, what is in them.

    Raises:
        InputError: A file or a column is missing.
    """
    tables = _with_columns(tables or find_tables(settings), settings)
    found = {_label(row, tables)[0] for _, row in tables.rows("train")} - {""}
    if not settings.multi_label:
        return found, tables.class_names
    form = _find_form(list(found), settings, tables)
    if form.size:
        return {str(number) for number in range(form.size)}, tables.class_names
    read = {spelling: form.read(spelling) for spelling in found}
    inside = {name for spelling, names in read.items() for name in ((spelling,) if names is None else names)}
    return inside, tables.class_names


def _find_kind(
    spellings: Sequence[str], settings: DataSettings, tables: LabelledTables, classes: Sequence[str]
) -> tuple[Kind, ListForm | None]:
    """Whether labels are classes, any number of labels, which have a form, or numbers."""
    splits = settings.label_separator not in ("", NO_SEPARATOR)
    several = settings.multi_label or splits or len(tables.label_columns) > 1
    if settings.regression and several:
        raise InputError(
            "--regression: is for one number per row; expected one --label_column, no --multi_label and no "
            "--label_separator."
        )
    if settings.regression:
        return NUMBER, None
    if several:
        return LABELS, _find_form(spellings, settings, tables)
    if not classes and are_real_valued(spellings):  # before what holds all different spellings in memory
        return NUMBER, None
    form = find_form(spellings, settings.label_separator)
    if form is None or (classes and {*spellings} <= {*classes}):
        return CLASSES, None
    return LABELS, form


def _find_form(spellings: Sequence[str], settings: DataSettings, tables: LabelledTables) -> ListForm:
    """How rows with any number of labels spell them; a column of names has one label each."""
    if len(tables.label_columns) > 1:
        return ListForm(has_lists=True)  # see `_label`
    return find_form(spellings, settings.label_separator) or ListForm(has_lists=False)


def _find_names(form: ListForm | None, spellings: Sequence[str], tables: LabelledTables) -> tuple[str, ...]:
    if form is None:
        several = next((one for one in spellings if read_list(one) is not None), None)
        if several is not None:
            raise InputError(
                f"--label_column={tables.label_column}: some rows have a list, such as {shortened(several)}, and most "
                "have not; expected a list in each row, or in none."
            )
        classes, names = find_classes(spellings, tables.label_column), tables.class_names
        return tuple(sorted(classes, key=names.index)) if set(classes) <= set(names) else classes
    if len(tables.label_columns) > 1:
        return tables.label_columns
    return find_labels(form, spellings, tables.label_column)


def _require_name(name: str) -> str:
    if name in PUBLISHED:
        kind = "GLUE" if name in TASKS else "published"
        raise InputError(f"--task={name}: that is a {kind} task with files of its own; choose another name for yours.")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"--task={name}: expected a name of letters, digits, -, _ and ., which is also a folder's.")
    return name


def _with_columns(tables: LabelledTables, settings: DataSettings, has_labels: bool = True) -> LabelledTables:
    """Returns the tables with the columns that the settings name, or else their own."""
    table = tables.first("train")
    texts = (settings.text_column,) if settings.text_column else tables.text_columns
    if settings.text_pair_column:
        texts = (*texts[:1], settings.text_pair_column)
    label = (settings.label_column or tables.label_column) if has_labels else ""
    if not texts:
        raise InputError(f"--text_column: missing; {table.expected}.")
    if not label and has_labels:
        raise InputError(f"--label_column: missing; {table.expected}.")
    columns = split_columns(label, table.columns) if label else ()
    texts, labels = (tuple(map(table.name_of, names)) for names in (texts, columns))
    label = ",".join(labels)
    flags = [("text_column", texts[0]), ("text_pair_column", texts[-1]), *(("label_column", one) for one in labels)]
    for flag, column in flags:
        if problem := table.column_problem(column):
            raise InputError(f"--{flag}={column}: {problem}.")
    if len({*texts, *labels}) < len(texts) + len(labels):
        shown = ", ".join((*texts, *labels))
        raise InputError(f"--text_column and --label_column: {shown}; expected different columns.")
    if len(labels) > 1 and settings.label_separator:
        raise InputError(
            f"--label_separator={settings.label_separator}: is for one column; --label_column names {len(labels)}, "
            "which have 0 or 1 each."
        )
    # A row whose label is empty has no labels where they are known to be names with a separator.
    may_be_empty = settings.label_separator not in ("", NO_SEPARATOR)
    return dataclasses.replace(
        tables, text_columns=texts, label_column=label, label_columns=labels, may_be_empty=may_be_empty
    )


def _read_texts(tables: LabelledTables, split: str, rejected: RejectedRows) -> tuple[Split, Sequence[str]]:
    """Reads a split without labels, and the spellings of its labels; adds bad rows to `rejected`."""
    texts = [TextWriter() for _ in tables.text_columns]
    spellings, places = TextWriter(), TextWriter()
    for row in _usable(tables, split, rejected):
        spellings.append(_label(row, tables)[0])
        if split == "test":
            places.append(row.place)
        for column, writer in zip(tables.text_columns, texts, strict=True):
            writer.append(row.cells[column] or "")
    columns = tuple(writer.finish() for writer in texts)
    return Split(columns, None, places.finish() if split == "test" else None), spellings.finish()


def _usable(tables: LabelledTables, split: str, rejected: RejectedRows) -> Iterator[Row]:
    """Yields the rows that have texts and, unless the split is `test`, a label; adds the others to `rejected`."""
    texts, labels = tables.text_columns, () if split == "test" else tables.label_columns
    checked: OpenTable | None = None
    for table, row in tables.rows(split):
        if table is not checked:
            require_columns(table, [*texts, *labels])
            checked = table
        problem = row.problem or row_problem(row, texts) or (_label(row, tables)[1] if labels else "")
        if problem:
            rejected.append(row.rejected(problem))
        else:
            yield row


def _label(row: Row, tables: LabelledTables) -> tuple[str, str]:
    """The label of a row, stripped, of several columns a list of names; and why there is none, or empty."""
    columns = tables.label_columns
    if not columns:
        return "", ""
    for column in columns:
        if column not in row.cells:
            return "", f"no {column}"
    if len(columns) > 1:
        return read_flags([(column, row.cells[column]) for column in columns])
    cell = row.cells[columns[0]]
    problem = "" if tables.may_be_empty and cell is not None else label_problem(cell, columns[0])
    return (cell or "").strip(), problem


def _with_labels(
    rows: Split,
    spellings: Sequence[str],
    read_label: LabelReader | LabelsReader,
    tables: LabelledTables,
    split: str,
    rejected: RejectedRows,
) -> Split:
    """Returns the rows with labels; reads the tables again to add rows with unknown labels to `rejected`."""
    labels = np.zeros((len(rows), *read_label.shape), read_label.dtype)
    kept = np.ones(len(rows), bool)
    for at, spelling in enumerate(spellings):
        label = read_label(spelling)
        if isinstance(label, str):
            kept[at] = False
        else:
            labels[at] = label
    labeled = dataclasses.replace(rows, labels=labels)
    if kept.all():
        return labeled
    for row in itertools.compress(_usable(tables, split, RejectedRows()), ~kept):
        spelling, problem = _label(row, tables)
        rejected.append(row.rejected(problem or cast(str, read_label(spelling))))
    return labeled.take(np.flatnonzero(kept))


def _require_rows(rows: Split, settings: DataSettings, split: str, rejected: Sequence[Row]) -> None:
    if not len(rows):
        _check_rejected(rejected, settings, len(rejected))
        where = settings.tfds_name or getattr(settings, f"{split}_file") or split
        first = f"; the first: {rejected[0].place}: {rejected[0].problem}" if rejected else ""
        raise InputError(f"{where}: no row that can be used{first}.")


def _check_rejected(rejected: Sequence[Row], settings: DataSettings, num_rows: int) -> None:
    if rejected and settings.on_bad_row == "error":
        raise InputError(bad_rows_message(rejected, num_rows))


def _summarize(
    task: OwnTask,
    dataset: Dataset,
    settings: DataSettings,
    tables: LabelledTables,
    has_no_dev: bool,
    rejected: Sequence[Row],
) -> str:
    """Returns lines for the console: rows, how files are read, columns, classes or numbers, what was left out."""
    splits = dataset.splits
    lines = _describe_texts(task, splits, settings, tables, has_no_dev)
    labels = cast(np.ndarray, splits["train"].labels)
    if task.kind is NUMBER:
        low, high, spread = float(labels.min()), float(labels.max()), float(labels.std())
        lines.append(f"  a regression: numbers from {low:g} to {high:g}")
        if spread > _FAR or abs(float(labels.mean())) > _FAR:
            lines.append(f"  WARNING: numbers this far from 0 are learned slowly; scale them to about 0 to {_FAR:g}")
    else:
        counts, in_dev = (_count(cast(np.ndarray, splits[name].labels), len(task.classes)) for name in ("train", "dev"))
        listed = [f"{name} ({count:,})" for name, count in zip(task.classes, counts, strict=True)][:_MOST_LISTED]
        more = len(task.classes) - len(listed)
        several = task.kind is LABELS
        what = "labels, any number per row" if several else "classes"
        lines.append(f"  {len(task.classes)} {what}: {', '.join(listed)}{f' and {more} more' if more else ''}")
        if several:
            lines += _describe_lists(task, labels)
        warnings = doubtful_classes(task.classes, (counts + in_dev).tolist())
        if not several and not settings.label_separator and (doubt := doubtful_separator(task.classes)):
            warnings.append(doubt)
        lines += [f"  WARNING: {warning}" for warning in warnings]
    return "\n".join([*lines, *_describe_rejected(rejected)])


def _describe_rejected(rejected: Sequence[Row]) -> list[str]:
    return [f"  {counted(len(rejected), 'row')} left out; see rejected.jsonl"] if rejected else []


def _describe_texts(
    task: OwnTask, splits: Mapping[str, Split], settings: DataSettings, tables: LabelledTables, has_no_dev: bool
) -> list[str]:
    """Lines on rows, how files are read, and columns."""
    dev = (
        f", split off ({settings.dev_share:.0%}{'' if task.kind is NUMBER or task.is_unlabelled else ', stratified'})"
        if has_no_dev
        else ""
    )
    rows = [f"{counted(len(splits['train']), 'training row')}", f"{counted(len(splits['dev']), 'dev row')}{dev}"]
    if "test" in splits:
        labeled = "with" if splits["test"].labels is not None else "without"
        rows.append(f"{counted(len(splits['test']), 'test row')} {labeled} labels")
    lines = [f"{task.name}: {', '.join(rows)}"]
    read_as: dict[str, list[str]] = {}
    for split in tables.splits:
        read_as.setdefault(tables.first(split).read_as, []).append(split)
    lines += [f"  {', '.join(files)} read as: {how}" for how, files in read_as.items() if how]
    label = task.label_column or "none; the classifier's own answers take its place"
    lines.append(f"  text: {' and '.join(task.text_columns)}; label: {label}")
    return lines


def _count(labels: np.ndarray, size: int) -> np.ndarray:
    """How many rows have each class or label, `[C]`."""
    return labels.sum(axis=0, dtype="int64") if labels.ndim > 1 else np.bincount(labels, minlength=size)


def _describe_lists(task: OwnTask, labels: np.ndarray) -> list[str]:
    """How many labels rows have, of labels `[n, C]` of 0 and 1."""
    of_rows = labels.sum(axis=1, dtype="int64")
    without = int(np.count_nonzero(of_rows == 0))
    split = f", with {task.label_separator!r} between" if task.label_separator else ""
    lines = [f"  {of_rows.mean():.2f} labels per row on average{split}; {without:,} training rows have none"]
    absent = [task.classes[at] for at in np.flatnonzero(labels.sum(axis=0, dtype="int64") == 0)]
    if absent:
        more = f" and {len(absent) - _MOST_LISTED} more" if len(absent) > _MOST_LISTED else ""
        lines.append(f"  WARNING: no training row has {', '.join(absent[:_MOST_LISTED])}{more}")
    if np.all(of_rows == 1):
        lines.append("  WARNING: each row has one label; without --multi_label, names in a column are classes")
    return lines
