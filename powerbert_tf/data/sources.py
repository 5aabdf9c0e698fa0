"""Where the rows of a user's splits come from: files, or TensorFlow Datasets.

Labelled texts in memory as a source of rows: data frames, lists and arrays, `tf.data` sets.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tables import Cells, Row, Table, find_files, open_table
from powerbert_tf.data.tables.class_folders import LABEL, TEXT
from powerbert_tf.data.tables.row import cell_text
from powerbert_tf.data.tfds import TfdsText


class FileSource:
    """Files of a user: rows of `train`, and of `dev` and `test` where there are files for them."""

    kind = "files"

    def __init__(self, settings: DataSettings):
        self._quoted = settings.quoting == "minimal"
        given = {"train": settings.train_file, "dev": settings.dev_file, "test": settings.test_file}
        self._files = {split: find_files(path, f"{split}_file") for split, path in given.items() if path}
        first = Path(self._files["train"][0])
        stem = first.name.split(".")[0]
        self.name = first.resolve().parent.name if stem == "train" else stem
        self.location = settings.train_file

    def has(self, split: str) -> bool:
        """Whether there are rows of a split."""
        return split in self._files

    def first(self, split: str) -> Table:
        """The first table of a split, for its columns."""
        return open_table(self._files[split][0], self._quoted)

    def rows(self, split: str) -> Iterator[tuple[Table, Row]]:
        """The rows of a split, each with the table that it is of."""
        for path in self._files[split]:
            table = open_table(path, self._quoted)
            for row in table.rows:
                yield table, row

    def default_columns(self) -> tuple[tuple[str, ...], str]:
        """Text columns and label column where no flag names them; empty where there are none."""
        table = self.first("train")
        return ((TEXT,), LABEL) if Path(table.file).is_dir() else ((), "")


class TfdsSource:
    """The same, from a prepared data set of TensorFlow Datasets."""

    kind = "tfds"

    def __init__(self, settings: DataSettings):
        if settings.train_file or settings.dev_file or settings.test_file:
            raise InputError(f"--tfds_name={settings.tfds_name} and files are given; expected one of them.")
        self._set = TfdsText(settings.tfds_name)
        self.name = settings.tfds_name.replace("/", "-")
        self.location = settings.tfds_name

    def has(self, split: str) -> bool:
        """Whether there are rows of a split."""
        return split in self._set.splits

    def first(self, split: str) -> Table:
        """The first table of a split, for its columns."""
        return self._set.table(split)

    def rows(self, split: str) -> Iterator[tuple[Table, Row]]:
        """The rows of a split, each with the table that it is of."""
        table = self._set.table(split)
        for row in table.rows:
            yield table, row

    def default_columns(self) -> tuple[tuple[str, ...], str]:
        """Text columns and label column where no flag names them; empty where there are none."""
        return self._set.text_columns, self._set.label_column


class MemorySource:
    """The same, from rows in memory.

    Args:
        splits: The cells of each row, by split.
        texts: Columns of the one or two texts.
        label: Column of the label.
        name: Of the task.
    """

    kind = "memory"
    location = "memory"

    def __init__(self, splits: Mapping[str, Sequence[Cells]], texts: tuple[str, ...], label: str, name: str = "texts"):
        self._splits, self._texts, self._label, self.name = splits, texts, label, name

    def has(self, split: str) -> bool:
        """Whether there are rows of a split."""
        return split in self._splits

    def first(self, split: str) -> Table:
        """The rows of a split as a table."""
        rows = (Row(split, number, cells) for number, cells in enumerate(self._splits[split], start=1))
        return Table(split, (*self._texts, self._label), rows)

    def rows(self, split: str) -> Iterator[tuple[Table, Row]]:
        """The rows of a split, each with the table that it is of; `line` counts rows, from 1."""
        table = self.first(split)
        for row in table.rows:
            yield table, row

    def default_columns(self) -> tuple[tuple[str, ...], str]:
        """Text columns and label column."""
        return self._texts, self._label


Source = FileSource | TfdsSource | MemorySource


TEXT_PAIR = "text_pair"  # of what has no columns of its own
_EXPECTED = (
    "expected a file of a table, a pandas.DataFrame, a pair (texts, labels), or a tf.data.Dataset of (text, label)"
)


def is_in_memory(data: Any) -> bool:
    """Whether this is rows, and not where they are."""
    return not isinstance(data, str) and not hasattr(data, "__fspath__")


def memory_source(splits: Mapping[str, Any], settings: DataSettings, name: str = "texts") -> MemorySource:
    """Rows of one or more splits.

    Args:
        splits: Split -> `pandas.DataFrame`; `(texts, labels)`, where texts are strings, pairs of strings, or a tuple of
            two columns of strings; or `tf.data.Dataset` of `(text, label)` or `((text, other), label)`, in batches or
            not.
        settings: Columns of data frames.
        name: Of the task.

    Raises:
        InputError: Something else is given, or texts and labels are not as many; the message names the split.
    """
    cells = {split: list(_rows(split, data, settings)) for split, data in splits.items()}
    columns = _columns(splits["train"], settings)
    if columns is None:
        is_pair = any(TEXT_PAIR in row for row in cells["train"][:1])
        columns = ((TEXT, TEXT_PAIR) if is_pair else (TEXT,)), LABEL
    return MemorySource(cells, *columns, name=name)


def _columns(data: Any, settings: DataSettings) -> tuple[tuple[str, ...], str] | None:
    """Text columns and label column of a data frame."""
    if not isinstance(data, pd.DataFrame):
        return None
    texts = settings.text_column or TEXT, settings.text_pair_column
    label = settings.label_column or LABEL
    for name, column in zip(("text_column", "text_pair_column", "label_column"), (*texts, label), strict=True):
        if column and column not in data.columns:
            known = ", ".join(map(str, data.columns))
            raise InputError(f"{name}={column!r}: no such column in the data frame; expected one of {known}.")
    return tuple(text for text in texts if text), label


def _rows(split: str, data: Any, settings: DataSettings) -> Iterator[Cells]:
    columns = _columns(data, settings)
    if columns is not None:
        names = [*columns[0], columns[1]]
        for values in data[names].itertuples(index=False):
            yield {name: _cell(value) for name, value in zip(names, values, strict=True)}
        return
    if isinstance(data, tf.data.Dataset):
        pairs: Iterable[tuple[Any, Any]] = _elements(split, data)
    elif isinstance(data, tuple) and len(data) == 2:
        pairs = _zipped(split, *data)
    else:
        raise InputError(f"{split}: a {type(data).__name__}; {_EXPECTED}.")
    for text, label in pairs:
        both = (text,) if isinstance(text, str | bytes) else tuple(text) if isinstance(text, Sequence) else (text,)
        if len(both) > 2:
            raise InputError(f"{split}: {len(both)} texts in an example; expected one, or a pair.")
        yield {**{name: _cell(one) for name, one in zip((TEXT, TEXT_PAIR), both, strict=False)}, LABEL: _cell(label)}


def _zipped(split: str, texts: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(texts, str | bytes) or not hasattr(texts, "__len__") or not hasattr(labels, "__len__"):
        raise InputError(f"{split}: ({type(texts).__name__}, {type(labels).__name__}); {_EXPECTED}.")
    # A tuple of two columns; a tuple of texts has strings in it.
    if isinstance(texts, tuple) and len(texts) == 2 and not isinstance(texts[0], str | bytes):
        if len(texts[0]) != len(texts[1]):
            raise InputError(f"{split}: {len(texts[0])} first texts and {len(texts[1])} second ones; expected as many.")
        texts = list(zip(*texts, strict=True))
    if len(texts) != len(labels):
        raise InputError(f"{split}: {len(texts)} texts and {len(labels)} labels; expected as many.")
    return zip(texts, labels, strict=True)


def _elements(split: str, data: tf.data.Dataset) -> Iterator[tuple[Any, Any]]:
    """Text or tuple of texts, and label, of each example."""
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
        yield from zip(zip(*columns, strict=True), np.reshape(label, -1), strict=True)


def _cell(value: Any) -> str | None:
    """A cell's text; of a label that is true or false, the number of its class."""
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, bool) else None if value is pd.NA else cell_text(value)
