"""Reads one tab-separated GLUE file."""

import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labels import LabelReader
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tables.lines import Text
from powerbert_tf.data.tables.rows import ENCODING, text_problem
from powerbert_tf.data.tasks import Layout

_MAX_BAD_SHARE = 0.01
_MAX_LOGGED = 5


def read_tsv(path: str | os.PathLike, layout: Layout, classes: Sequence[str], labeled: bool) -> Split:
    """Reads one file: UTF-8 with or without a byte-order mark, rows ended by a line feed, no quoting.

    A row that cannot be read (number of columns, label, score) is skipped and logged. An empty text is a text.

    Args:
        path: The file.
        layout: Its columns.
        classes: Class names as the file spells them; empty for a regression.
        labeled: Whether to read labels; otherwise indices are read, if the layout has them.

    Raises:
        InputError: The file is missing, a folder, empty, not UTF-8, its header is too narrow for the layout, or more
            than 1 % of its rows cannot be read.
    """
    if labeled and layout.label is None:
        raise ValueError(f"read_tsv: expected a layout with a label to read labels, received {layout}")
    label_column = layout.label if labeled else None
    index_column = None if labeled else layout.index
    lines = _read_lines(path)
    first_row = 1 if layout.header else 0
    if not lines:
        raise InputError(f"{path}: the file is empty; expected {_describe(layout, classes, labeled, None)}.")
    num_columns = len(lines[0].split("\t")) if layout.header else layout.num_columns
    places = [column for column in (*layout.texts, layout.label, layout.index) if column is not None]
    needed = max(places) + 1 + (min(places) < 0)  # so that no two of the layout's columns coincide
    num_columns = needed if num_columns is None else num_columns
    if num_columns < needed:
        raise InputError(
            f"{path}: the header is misaligned: it has {num_columns} columns, expected at least {needed} "
            f"({_describe(layout, classes, labeled, None)})."
        )
    if len(lines) == first_row:
        raise InputError(f"{path}: a header and no rows; expected {_describe(layout, classes, labeled, num_columns)}.")

    read_label = LabelReader(classes)
    texts: tuple[list[str], ...] = tuple([] for _ in layout.texts)
    labels: list[float] = []
    indices: list[str] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines[first_row:], start=first_row + 1):
        columns = line.split("\t")
        if len(columns) != num_columns:
            bad.append((number, f"the row has {len(columns)} columns instead of {num_columns}"))
            continue
        if label_column is not None:
            label = read_label(columns[label_column])
            if isinstance(label, str):
                bad.append((number, label))
                continue
            labels.append(label)
        if index_column is not None:
            indices.append(columns[index_column])
        for column, text_list in zip(layout.texts, texts, strict=True):
            text_list.append(columns[column])

    if bad:
        _report(path, bad, len(lines) - first_row, _describe(layout, classes, labeled, num_columns))
    return Split(
        texts=texts,
        labels=np.array(labels, read_label.dtype) if labeled else None,
        indices=indices if index_column is not None else None,
        bad_rows=len(bad),
    )


def _read_lines(path: str | os.PathLike) -> list[str]:
    if os.path.isdir(path):
        raise InputError(f"{path}: a folder; expected a tab-separated file.")
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; expected a tab-separated file.")
    lines = []
    for number, line in Text(os.fspath(path), encoding=ENCODING).lines():
        if problem := text_problem(line.replace("\0", "")):  # a NUL is a character like others
            raise InputError(f"{path}:{number}: {problem}; convert the file to UTF-8.")
        lines.append(line.removesuffix("\n").removesuffix("\r"))
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _describe(layout: Layout, classes: Sequence[str], labeled: bool, num_columns: int | None) -> str:
    """Describes what the file should be; columns count from 1, as in an editor."""

    def place(column: int | None) -> str:
        return "the last column" if column == -1 else f"column {(column or 0) + 1}"

    rows = "rows of tab-separated columns" if num_columns is None else f"rows of {num_columns} tab-separated columns"
    parts = [f"the text in {' and '.join(place(column) for column in layout.texts)}"]
    if labeled:
        what = f"the label ({', '.join(classes)})" if classes else "the score (a finite number)"
        parts.append(f"{what} in {place(layout.label)}")
    elif layout.index is not None:
        parts.append(f"the index in {place(layout.index)}")
    header = "a header, then " if layout.header else ""
    return f"{header}{rows}: {', '.join(parts)}"


def _report(path: str | os.PathLike, bad: list[tuple[int, str]], num_rows: int, expected: str) -> None:
    """Logs the rows that are skipped.

    Raises:
        InputError: They are more than 1 % of the rows.
    """
    number, reason = bad[0]
    if len(bad) > _MAX_BAD_SHARE * num_rows:
        raise InputError(
            f"{path}: {len(bad)} of {num_rows} rows cannot be read, at most {_MAX_BAD_SHARE:.0%} may be; the first is "
            f"{path}:{number}: {reason}; expected {expected}."
        )
    for number, reason in bad[:_MAX_LOGGED]:
        logging.warning("%s:%d: row left out: %s.", path, number, reason)
    logging.warning("%s: %d of %d rows left out because they cannot be read.", path, len(bad), num_rows)
