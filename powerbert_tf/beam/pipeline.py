"""The pipeline: files of rows in, shards of answers out, the same as `run_glue.py --stage=predict` writes.

A row's number among all rows that can be used tells its shard and its place there, whatever worker answered it. To know
it, the rows of each file are counted first.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from powerbert_tf.beam.handler import SavedModelHandler
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.rejected_rows import bad_rows_message, rejected_line
from powerbert_tf.data.tables import Row
from powerbert_tf.export.signatures import TEXTS
from powerbert_tf.prediction.answers import round_answers
from powerbert_tf.prediction.columns import answer_columns
from powerbert_tf.prediction.shards import shard_name
from powerbert_tf.prediction.source import Place, Source
from powerbert_tf.prediction.writers import open_writer

Numbered = tuple[int, Row]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is read and written; paths are reachable by all workers.

    Attributes:
        saved_model: A version's folder.
        files: Of the rows, in their order.
        texts: Columns of the texts.
        quoted: See `tables.open_table`.
        classes: Of the model; empty for a regression.
        folder: Of the answers.
        form: Theirs, see `writers.open_writer`.
        shard_rows: Rows of each file.
        batch_size: Rows that the model is given at once.
        skips: Whether rows that cannot be used are left out; otherwise they are an error.
    """

    saved_model: str
    files: tuple[str, ...]
    texts: tuple[str, ...]
    quoted: bool
    classes: tuple[str, ...]
    folder: str
    form: str
    shard_rows: int
    batch_size: int
    skips: bool

    def source(self) -> Source:
        """All files.

        Raises:
            InputError: A file or a column is missing, or the columns differ.
        """
        return Source(self.files, self.texts, self.quoted, answer_columns(self.classes), self.form == "jsonl")


def answer(pipeline: apache_beam.Pipeline, job: Job) -> apache_beam.PCollection:
    """Adds the steps; the result are the numbers of the shards that were written."""
    source = job.source()  # checked before anything runs
    schema = source.schema if job.form == "parquet" else None
    numbers = pipeline | "Files" >> apache_beam.Create(range(len(job.files)))
    counts = numbers | "Count" >> apache_beam.Map(_count, job)
    handler = SavedModelHandler(job.saved_model, job.batch_size, TEXTS[: len(job.texts)])
    return (
        numbers
        | "Read" >> apache_beam.FlatMap(_read, job, apache_beam.pvalue.AsDict(counts))
        | "Spread" >> apache_beam.Reshuffle()
        | "Texts" >> apache_beam.Map(_with_texts, job.texts)
        | "Answer" >> RunInference(KeyedModelHandler(handler))
        | "Shard" >> apache_beam.Map(_by_shard, job.shard_rows)
        | "Gather" >> apache_beam.GroupByKey()
        | "Write" >> apache_beam.Map(_write, job, source.columns, schema)
    )


def _rows_of(number: int, job: Job) -> Iterator[Row]:
    return (row for _, row in job.source().rows(Place(number), stop=number + 1))


def _count(number: int, job: Job) -> tuple[int, int]:
    """The rows of a file that can be used; the others are put aside."""
    count = 0
    rejected = rejected_file(job.folder, number)
    rejected.unlink(missing_ok=True)  # of an attempt before
    for row in _rows_of(number, job):
        if not row.problem:
            count += 1
        elif not job.skips:
            raise InputError(bad_rows_message([row]))
        else:
            with rejected.open("a", encoding="ascii") as file:
                file.write(rejected_line(row))
    return number, count


def rejected_file(folder: str, number: int) -> Path:
    """Rows of one file that are left out, as long as the pipeline runs."""
    return Path(folder, f".rejected-{number}.jsonl")


def _read(number: int, job: Job, counts: Mapping[int, int]) -> Iterator[Numbered]:
    """The rows of a file that can be used, each with its number among those of all files."""
    row_number = sum(counts[before] for before in range(number))
    for row in _rows_of(number, job):
        if not row.problem:
            yield row_number, row
            row_number += 1


def _with_texts(numbered: Numbered, texts: Sequence[str]) -> tuple[Numbered, tuple[str, ...]]:
    return numbered, tuple(numbered[1].cells[column] or "" for column in texts)


def _by_shard(answered: tuple[Numbered, np.ndarray], shard_rows: int) -> tuple[int, tuple[int, Row, np.ndarray]]:
    (number, row), values = answered
    return number // shard_rows, (number, row, values)


def _write(
    gathered: tuple[int, Iterable[tuple[int, Row, np.ndarray]]], job: Job, columns: Sequence[str], schema: Any
) -> int:
    shard, answered = gathered
    in_order = sorted(answered, key=lambda one: one[0])
    path = Path(job.folder, shard_name(shard, job.form))
    # Another worker may be at the same shard, where the runner thinks that this one is too slow.
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    writer = open_writer(job.form, partial, columns, answer_columns(job.classes), schema)
    values = np.array([one[2] for one in in_order])
    writer.write([row for _, row, _ in in_order], round_answers(job.classes, values))
    writer.close()
    partial.replace(path)
    return shard
