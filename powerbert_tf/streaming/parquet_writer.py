"""Answers as Parquet, a row group a window."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from powerbert_tf.errors import InputError
from powerbert_tf.streaming.answers import Answers
from powerbert_tf.tables import Row


class ParquetWriter:
    """A `writers.Writer`; arguments as of `writers.open_writer`."""

    def __init__(self, path: Path, columns: Sequence[str], answer_columns: Sequence[str], schema: Any):
        self._path = path
        self._typed = schema is not None
        fields = (
            [_plain_field(field) for field in schema] if self._typed else [(name, pyarrow.string()) for name in columns]
        )
        self._fields = pyarrow.schema(fields)
        self._answer_columns = answer_columns
        self._writer: Any = None

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        """Adds rows.

        Raises:
            InputError: A value does not fit the type of its column.
        """
        try:
            arrays = [
                pyarrow.array(
                    [
                        row.values[field.name] if self._typed and row.values else row.cells.get(field.name)
                        for row in rows
                    ],
                    type=field.type,
                )
                for field in self._fields
            ]
        except pyarrow.ArrowException as error:
            raise InputError(
                f"{rows[0].place}: cannot be written as Parquet ({' '.join(str(error).split())[:200]}); expected "
                "--predict_format=jsonl."
            ) from None
        kind = pyarrow.string() if answers.probabilities.shape[1] else pyarrow.float64()
        arrays += [pyarrow.array(answers.predictions, type=kind)]
        arrays += [pyarrow.array(column, type=pyarrow.float64()) for column in answers.probabilities.T]
        table = pyarrow.Table.from_arrays(arrays, names=[*self._fields.names, *self._answer_columns])
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(str(self._path), table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()


def _plain_field(field: Any) -> Any:
    """The field without a dictionary, whose values could differ from file to file."""
    kind = field.type
    return pyarrow.field(field.name, kind.value_type if pyarrow.types.is_dictionary(kind) else kind)
