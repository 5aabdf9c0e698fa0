"""A user's texts, with labels or without, as tables of files, TensorFlow Datasets, data frames, lists or `tf.data`."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.label_lists import read_list
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tables import Cells, OpenTable, Row, TableFormat, find_files, open_table
from powerbert_tf.data.tables.formats import LABEL, TEXT
from powerbert_tf.data.tables.rows import cell_text
from powerbert_tf.data.tfds import newest_version, one_line, tfds_folder

TEXT_PAIR = "text_pair"  # column of the second text, of data that names no columns
# Usual names in TensorFlow Datasets, in the order in which they are taken.
_TFDS_SPLITS = {
    "train": ("train",),
    "dev": ("validation", "dev", "val", "validation_matched"),
    "test": ("test", "test_matched"),
}
_TFDS_LABELS = ("label", "score", "rating", "stars")
_ROWS_AT_ONCE = 1024
_MOST_HELD = 2**24  # bytes of files whose rows are kept, which take some ten times as much
_EXPECTED = (
    "expected a file of a table, a pandas.DataFrame, a pair (texts, labels), a tf.data.Dataset of (text, label), or "
    "texts alone"
)


@dataclasses.dataclass(frozen=True)
class LabelledTables:
    """The tables of each split, which can be read any number of times.

    Attributes:
        source: "files", "tfds" or "memory".
        name: A name for the task.
        location: Where the data is, for messages.
        splits: `train`, and `dev` and `test` if there are any -> opens the tables of the split, one after the other.
        text_columns: Columns of the one or two texts if no flag names them; empty if the data does not tell.
        label_column: Column of the label if no flag names it; empty if the data does not tell.
        label_columns: The columns that `label_column` names; empty until a table has been opened.
        may_be_empty: Whether a row whose label is empty has no labels, instead of none that is known.
    """

    source: str
    name: str
    location: str
    splits: Mapping[str, Callable[[], Iterable[OpenTable]]]
    text_columns: tuple[str, ...] = ()
    label_column: str = ""
    label_columns: tuple[str, ...] = ()
    may_be_empty: bool = False

    def first(self, split: str) -> OpenTable:
        """Opens the first table of a split, for its columns."""
        return next(iter(self.splits[split]()))

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes in the order of their numbers, where the training data tells them; else empty."""
        return self.first("train").class_names.get(self.label_column, ())

    def rows(self, split: str) -> Iterator[tuple[OpenTable, Row]]:
        """Reads the rows of a split, each with its table."""
        for table in self.splits[split]():
            for row in table.rows:
                yield table, row


def split_columns(given: str, columns: Collection[str]) -> tuple[str, ...]:
    """The columns that a flag names: one, even with commas in its name, or several with commas between."""
    return (given,) if given in columns else tuple(filter(None, map(str.strip, given.split(","))))


def find_tables(settings: DataSettings) -> LabelledTables:
    """Finds the tables that the settings name.

    Raises:
        InputError: A file or a prepared data set is missing, or files and a data set are given.
    """
    if settings.tfds_name:
        return _tfds_tables(settings)
    given = {"train": settings.train_file, "dev": settings.dev_file, "test": settings.test_file}
    files = {split: find_files(path, f"{split}_file") for split, path in given.items() if path}
    first = Path(files["train"][0])
    stem = first.name.split(".")[0]
    return LabelledTables(
        source="files",
        name=first.resolve().parent.name if stem == "train" else stem,
        location=settings.train_file,
        splits={split: functools.partial(_open_tables, paths, settings.table_format) for split, paths in files.items()},
        text_columns=(TEXT,) if first.is_dir() else (),
        label_column=LABEL if first.is_dir() else "",
    )


def _open_tables(paths: Sequence[str], table_format: TableFormat) -> Iterator[OpenTable]:
    return (open_table(path, table_format) for path in paths)


def _tfds_tables(settings: DataSettings) -> LabelledTables:
    """Opens a prepared data set. A class label is the name of the class, or None where TFDS has -1."""
    name = settings.tfds_name
    if settings.train_file or settings.dev_file or settings.test_file:
        raise InputError(f"--tfds_name={name} and files are given; expected one of them.")
    folder = _find_prepared(name)

    import tensorflow_datasets as tfds  # takes seconds, and most runs read files

    try:
        builder = tfds.builder_from_directory(str(folder))
        features = dict(sorted(builder.info.features.items()))  # the order of the files changes each time
    except Exception as error:  # TFDS raises whatever its many parts raise
        raise InputError(f"{folder}: this prepared TFDS data set cannot be read ({one_line(error)}).") from error
    columns = tuple(key for key, feature in features.items() if feature.shape == ())
    classes = {key: feature.names for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)}
    texts = tuple(key for key in columns if isinstance(features[key], tfds.features.Text))[:2]
    labels = [*classes, *(key for key in _TFDS_LABELS if key in columns)]
    there = list(builder.info.splits)
    if "train" not in there:
        raise InputError(f"--tfds_name={name}: its splits are {', '.join(there)}; expected one named train.")

    def cell(key: str, value: Any) -> str | None:
        if key in classes:
            return classes[key][value] if value >= 0 else None
        return cell_text(value.item() if hasattr(value, "item") else value)

    def rows(split: str, place: str) -> Iterator[Row]:
        dataset = builder.as_dataset(split=split).map(lambda example: {key: example[key] for key in columns})
        batches = tfds.as_numpy(dataset.batch(_ROWS_AT_ONCE))
        examples = itertools.chain.from_iterable(zip(*(b[key] for key in columns), strict=True) for b in batches)
        for number, values in enumerate(examples, start=1):
            cells = {key: cell(key, value) for key, value in zip(columns, values, strict=True)}
            yield Row(place, number, cells).checked()

    def tables(split: str) -> list[OpenTable]:
        place = f"tfds:{name}/{split}"
        return [OpenTable(place, columns, rows(split, place))]

    found = {split: [its for its in names if its in there] for split, names in _TFDS_SPLITS.items()}
    return LabelledTables(
        source="tfds",
        name=name.replace("/", "-"),
        location=name,
        splits={split: functools.partial(tables, names[0]) for split, names in found.items() if names},
        text_columns=texts,
        label_column=labels[0] if labels else "",
    )


def _find_prepared(name: str) -> Path:
    """Returns the folder of the newest version of a data set, or of its only configuration."""
    root = Path(tfds_folder(), name)
    found = newest_version(root)
    if found:
        return found
    configurations = {folder.name: version for folder in sorted(root.glob("*/")) if (version := newest_version(folder))}
    if not configurations:
        raise InputError(
            f"--tfds_name={name}: not prepared in {tfds_folder()}; on a machine with network: tfds build {name}, and "
            "set TFDS_DATA_DIR to its folder."
        )
    if len(configurations) > 1:
        names = ", ".join(f"{name}/{configuration}" for configuration in configurations)
        raise InputError(f"--tfds_name={name}: several configurations are prepared; expected one of {names}.")
    return next(iter(configurations.values()))


def held(tables: LabelledTables) -> LabelledTables:
    """The same tables, whose files are read once: if they are small, their rows stay in memory."""

    def hold(opened: Iterable[OpenTable]) -> Callable[[], Iterable[OpenTable]]:
        kept = [dataclasses.replace(table, rows=cast(Iterator[Row], list(table.rows))) for table in opened]
        return lambda: kept

    return dataclasses.replace(tables, splits={split: hold(find()) for split, find in tables.splits.items()})


def are_small(settings: DataSettings) -> bool:
    """Whether the files that the settings name are small enough to be held."""
    given = (settings.train_file, settings.dev_file, settings.test_file)
    paths = [Path(path) for files in filter(None, given) for path in find_files(files, "train_file")]
    return all(path.is_file() for path in paths) and sum(path.stat().st_size for path in paths) <= _MOST_HELD


def is_in_memory(data: Any) -> bool:
    """Whether this is data itself, and not the path of a file."""
    return not isinstance(data, str) and not hasattr(data, "__fspath__")


def memory_tables(splits: Mapping[str, Any], settings: DataSettings, name: str = "texts") -> LabelledTables:
    """Makes tables of data in memory; the `line` of a row is its number, from 1.

    Args:
        splits: Split -> `pandas.DataFrame`; `(texts, labels)`, where texts are strings, pairs of strings, or a tuple of
            two columns of strings, and labels are one each, a list each, or `[n, C]` of 0 and 1; `tf.data.Dataset` of
            `(text, label)` or `((text, other), label)`, batched or not; or without labels, see `has_labels`.
        settings: Name the columns of data frames.
        name: Of the task.

    Raises:
        InputError: The data is of another kind, or texts and labels differ in number; the message names the split.
    """
    with_labels = {split: has_labels(data, settings) for split, data in splits.items()}
    if len(set(with_labels.values())) > 1:
        raise InputError(f"{' and '.join(splits)}: one has labels, the other has not; expected both, or none.")
    cells = {split: list(_cells(split, data, settings)) for split, data in splits.items()}
    columns = _frame_columns(splits["train"], settings)
    if columns is None:
        is_pair = any(TEXT_PAIR in row for row in cells["train"][:1])
        columns = ((TEXT, TEXT_PAIR) if is_pair else (TEXT,)), (LABEL,) if with_labels["train"] else ()
    texts, labels = columns
    if len(labels) == 1:
        _number_one_hot(cells.values(), labels[0])
    tables = {split: functools.partial(_memory_table, split, (*texts, *labels), rows) for split, rows in cells.items()}
    return LabelledTables("memory", name, "memory", tables, texts, ",".join(labels))


def has_labels(data: Any, settings: DataSettings) -> bool:
    """Whether data in memory has labels.

    It has none if it is a data frame without the column, or texts alone: a list, a Series, an array, a tensor or a
    `tf.data.Dataset` of strings, or a list of pairs of strings.
    """
    if isinstance(data, pd.DataFrame):
        return bool(settings.label_column) or LABEL in data.columns
    if isinstance(data, tf.data.Dataset):
        return not isinstance(data.element_spec, tf.TensorSpec)
    return isinstance(data, tuple) and len(data) == 2


def _number_one_hot(cells: Iterable[Sequence[Cells]], label: str) -> None:
    """Puts the number of the class in the place of one-hot labels `[n, C]`, if all rows have them."""
    rows = list(itertools.chain.from_iterable(cells))
    found = []
    for row in rows:
        values = read_list(row[label] or "") or []
        if sorted(values)[-2:] != ["0", "1"] or {*values} != {"0", "1"}:
            return
        found.append(values.index("1"))
    for row, number in zip(rows, found, strict=True):
        row[label] = str(number)


def _memory_table(split: str, columns: tuple[str, ...], cells: Sequence[Cells]) -> list[OpenTable]:
    return [OpenTable(split, columns, (Row(split, number, row) for number, row in enumerate(cells, start=1)))]


def _frame_columns(data: Any, settings: DataSettings) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Returns the text columns and the label columns of a data frame; None of other data."""
    if not isinstance(data, pd.DataFrame):
        return None
    texts = settings.text_column or TEXT, settings.text_pair_column
    labels = split_columns(settings.label_column or LABEL, data.columns) if has_labels(data, settings) else ()
    names = ("text_column", "text_pair_column", *["label_column"] * len(labels))
    for name, column in zip(names, (*texts, *labels), strict=True):
        if column and column not in data.columns:
            known = ", ".join(map(str, data.columns))
            raise InputError(f"{name}={column!r}: no such column in the data frame; expected one of {known}.")
    return tuple(text for text in texts if text), labels


def _cells(split: str, data: Any, settings: DataSettings) -> Iterator[Cells]:
    columns = _frame_columns(data, settings)
    if columns is not None:
        names = [*columns[0], *columns[1]]
        for values in data[names].itertuples(index=False):
            yield {name: _cell(value) for name, value in zip(names, values, strict=True)}
        return
    if not has_labels(data, settings):
        yield from _unlabelled(split, data)
        return
    if isinstance(data, tf.data.Dataset):
        pairs: Iterable[tuple[Any, Any]] = _examples(split, data)
    else:
        pairs = _zipped(split, *data)
    for given, label in pairs:
        texts = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else (given,)
        if len(texts) > 2:
            raise InputError(f"{split}: {len(texts)} texts in an example; expected one, or a pair.")
        yield {**dict(zip((TEXT, TEXT_PAIR), map(_cell, texts), strict=False)), LABEL: _cell(label)}


def _unlabelled(split: str, data: Any) -> Iterator[Cells]:
    if isinstance(data, list) and data and all(isinstance(one, tuple | list) and len(one) == 2 for one in data):
        columns = {name: texts_of([one[side] for one in data], split) for side, name in enumerate((TEXT, TEXT_PAIR))}
    elif isinstance(data, str | bytes | Mapping) or not (hasattr(data, "__iter__") or hasattr(data, "numpy")):
        raise InputError(f"{split}: a {type(data).__name__}; {_EXPECTED}.")
    else:
        columns = {TEXT: texts_of(data, split)}
    for texts in zip(*columns.values(), strict=True):
        yield dict(zip(columns, texts, strict=True))


def _zipped(split: str, texts: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    texts, labels = (column.numpy() if tf.is_tensor(column) else column for column in (texts, labels))
    if isinstance(texts, str | bytes) or not hasattr(texts, "__len__") or not hasattr(labels, "__len__"):
        raise InputError(f"{split}: ({type(texts).__name__}, {type(labels).__name__}); {_EXPECTED}.")
    # A tuple of two columns; a tuple of texts has strings in it.
    if isinstance(texts, tuple) and len(texts) == 2 and not isinstance(texts[0], str | bytes):
        if len(texts[0]) != len(texts[1]):
            raise InputError(
                f"{split}: {len(texts[0])} first texts and {len(texts[1])} second ones; expected the same number."
            )
        texts = list(zip(*texts, strict=True))
    if len(texts) != len(labels):
        raise InputError(f"{split}: {len(texts)} texts and {len(labels)} labels; expected the same number.")
    return zip(texts, _one_each(split, labels, len(texts)), strict=True)


def _one_each(split: str, labels: Any, count: int) -> Sequence[Any]:
    """What each of `count` texts has: a label, or a list of them, which may be 0 and 1 for each label, `[C]`."""
    if isinstance(labels, pd.DataFrame):
        labels = labels.to_numpy()
    if isinstance(labels, np.generic):  # of one example
        labels = np.asarray(labels)
    if not isinstance(labels, np.ndarray):
        if not any(_is_listed(label) for label in labels):
            return labels
        lists = [list(label) if _is_listed(label) else label for label in labels]
        sizes = {len(label) if isinstance(label, list) else 0 for label in lists}
        numeric = sizes != {0} and len(sizes) == 1 and np.asarray(lists).dtype.kind in "biuf"
        if not numeric or not np.isin(np.asarray(lists), (0, 1)).all():
            return [label[0] for label in lists] if sizes == {1} else lists
        labels = np.asarray(lists)
    if labels.size == count:
        return labels.reshape(-1)
    rows = labels.reshape(count, -1) if count and labels.size % count == 0 else labels
    if labels.dtype.kind in "biuf" and len(rows) == count and np.isin(rows, (0, 1)).all():
        return [[int(value) for value in row] for row in rows]
    raise InputError(
        f"{split}: labels of shape {labels.shape} for {count} texts; expected one each, a list of them each, or 0 and "
        "1 for each class."
    )


def _is_listed(label: Any) -> bool:
    return isinstance(label, list | tuple | set | frozenset) or np.ndim(label) > 0


def _examples(split: str, data: tf.data.Dataset) -> Iterator[tuple[Any, Any]]:
    spec = data.element_spec
    texts = spec[0] if isinstance(spec, tuple) and len(spec) == 2 else None
    parts = texts if isinstance(texts, tuple) else (texts,)
    if any(not isinstance(part, tf.TensorSpec) or part.dtype != tf.string for part in parts):
        raise InputError(
            f"{split}: a tf.data.Dataset of {spec}; expected one of (text, label) or ((text, other), label), strings "
            "and numbers, in batches or not."
        )
    for given, label in data.as_numpy_iterator():
        columns = [np.reshape(part, -1) for part in (given if isinstance(given, tuple) else (given,))]
        yield from zip(zip(*columns, strict=True), _one_each(split, label, len(columns[0])), strict=True)


def _cell(value: Any) -> str | None:
    """Returns a cell's text; for a label that is true or false, the number of its class."""
    if _is_listed(value):
        items = sorted(value) if isinstance(value, set | frozenset) else list(value)
        plain = [item.item() if isinstance(item, np.generic) else item for item in items]
        return cell_text([cell_text(item) if isinstance(item, bytes) else item for item in plain])
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, bool) else None if value is pd.NA else cell_text(value)


def texts_of(column: Any, name: str) -> list[str]:
    """The texts of a list, a Series, an array, a tensor or a `tf.data.Dataset`, batched or not; of a string, itself.

    Args:
        column: The texts, as strings or bytes in UTF-8.
        name: Of the argument, for messages.

    Raises:
        InputError: Something in it is no text.
    """
    if isinstance(column, (str, bytes)):
        column = [column]
    elif isinstance(column, tf.data.Dataset):
        column = [text for element in column for text in np.ravel(np.asarray(element, object))]
    elif hasattr(column, "numpy"):
        column = column.numpy()
    if np.ndim(column) == 0 and not hasattr(column, "__iter__"):
        raise InputError(f"{name}: {column!r}; expected a text, or several.")
    texts = list(column.ravel() if isinstance(column, np.ndarray) else column)
    for number, text in enumerate(texts):
        if not isinstance(text, (str, bytes)):
            raise InputError(f"{name}[{number}]: {text!r}; expected a text.")
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts]
