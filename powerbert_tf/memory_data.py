"""Labelled texts in memory as a source of rows: data frames, lists and arrays, `tf.data` sets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from powerbert_tf.data_settings import DataSettings
from powerbert_tf.data_sources import MemorySource
from powerbert_tf.errors import InputError
from powerbert_tf.tables import Cells
from powerbert_tf.tables.row import cell_text

TEXT, TEXT_PAIR, LABEL = "text", "text_pair", "label"  # of what has no columns of its own
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
