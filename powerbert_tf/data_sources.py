"""Where the rows of a user's splits come from: files, or TensorFlow Datasets."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from powerbert_tf.data_settings import DataSettings
from powerbert_tf.errors import InputError
from powerbert_tf.tables import Cells, Row, Table, find_files, open_table
from powerbert_tf.tables.class_folders import LABEL, TEXT
from powerbert_tf.tfds_text import TfdsText


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
