"""Data in whatever container users have it: the path of a table, a data frame, lists, arrays, `tf.data`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labelled_tables import LabelledTables, are_small, find_tables, held, is_in_memory, memory_tables
from powerbert_tf.data.settings import TABLE_FLAGS, DataSettings
from powerbert_tf.data.tables.formats import LABEL

TABLE_SETTINGS = (*TABLE_FLAGS, "quoting")  # settings of tables, which a call takes beside those of a run


class GivenData(NamedTuple):
    """Data that was given.

    Attributes:
        settings: Its columns, and paths of files.
        tables: Its tables.
    """

    settings: DataSettings
    tables: LabelledTables

    @property
    def has_labels(self) -> bool:
        return bool(self.settings.label_column or self.tables.label_column)


def column_settings(
    text_column: str,
    text_pair_column: str,
    label_column: str | Sequence[str],
    label_separator: str = "",
    on_bad_row: str = "error",
    **more: Any,
) -> DataSettings:
    """The settings of tables from the arguments of a call."""
    label = label_column if isinstance(label_column, str) else ",".join(label_column)
    return DataSettings(
        text_column=text_column,
        text_pair_column=text_pair_column,
        label_column=label,
        label_separator=label_separator,
        on_bad_row=on_bad_row,
        **more,
    )


def read_given(given: Mapping[str, Any], settings: DataSettings, name: str = "") -> GivenData:
    """Finds the tables of data.

    Args:
        given: Split -> data: `train`, and `dev` or none.
        settings: Columns of tables.
        name: Name of the task.

    Raises:
        InputError: The data is of no known kind, or one of several is a path and another is not.
    """
    given = {split: data for split, data in given.items() if data is not None}
    in_memory = {split for split, data in given.items() if is_in_memory(data)}
    if len(in_memory) not in (0, len(given)):
        raise InputError("data and dev_data: one is a path, the other is not; expected both of one kind.")
    if in_memory:
        return GivenData(settings, memory_tables(given, settings, name or "texts"))
    dev_file = str(given["dev"]) if "dev" in given else ""
    settings = dataclasses.replace(settings, train_file=str(given["train"]), dev_file=dev_file)
    tables = find_tables(settings)
    if are_small(settings):
        tables = held(tables)
    if not settings.label_column and LABEL in tables.first("train").columns:
        settings = dataclasses.replace(settings, label_column=LABEL)  # as in a data frame
    return GivenData(settings, tables)
