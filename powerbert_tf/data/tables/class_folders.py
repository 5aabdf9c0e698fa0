"""A folder with a folder of text files for each class, as IMDB's `aclImdb/train/{pos,neg}/*.txt`."""

import os
from collections.abc import Iterator
from pathlib import Path

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables.lines import BYTE_ORDER_MARK
from powerbert_tf.data.tables.row import Row, Table, text_problem

TEXT, LABEL = "text", "label"
UNLABELED = "unsup"  # aclImdb's reviews without a label


def open_class_folders(path: str) -> Table:
    """Opens a folder of folders; a file is one row with the columns `text` and `label`, its line 1.

    The folder `unsup`, which IMDB has beside its classes, is no class and left out.

    Raises:
        InputError: There are no text files in folders below.
    """
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name != UNLABELED)
    files = [(name, file) for name in folders for file in sorted(Path(path, name).glob("*.txt"))]
    if not files:
        raise InputError(
            f"{path}: a folder without <class>/*.txt; expected a file, or a folder of text files for each class."
        )
    return Table(path, (TEXT, LABEL), _rows(files))


def _rows(files: list[tuple[str, Path]]) -> Iterator[Row]:
    for label, file in files:
        try:
            text = file.read_bytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
        row = Row(str(file), 1, {TEXT: text, LABEL: label})
        problem = text_problem(text)
        yield row.rejected(problem) if problem else row
