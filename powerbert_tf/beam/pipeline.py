"""The pipeline: files of rows in, shards of answers out, the same as `run_glue.py --stage=predict` writes.

The number of a row among all usable rows determines its shard and its place there, whichever worker answers it. So the
rows of each file are counted first.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.rejected_rows import bad_rows_message, rejected_line
from powerbert_tf.data.tables import Row, TableFormat
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.expected_answers import TEXT
from powerbert_tf.export.signatures import TEXTS
from powerbert_tf.prediction.answers import round_answers
from powerbert_tf.prediction.input_rows import InputRows, Place
from powerbert_tf.prediction.shards import shard_name
from powerbert_tf.prediction.writers import AnswerTable

_AT_ONCE = 16  # batches, among which rows are grouped by length

Numbered = tuple[int, Row]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is read and written; all workers must reach the paths.

    Attributes:
        saved_model: A version's folder.
        files: Files of the rows, in their order.
        texts: Columns of the texts.
        table_format: See `tables.open_table`.
        task: Task of the model, with its thresholds if it has some.
        folder: Folder of the answers.
        form: Format of the answers, see `writers.AnswerTable`.
        shard_rows: Rows in each file of answers.
        batch_size: Rows in a batch of the model.
        skips: Whether rows that cannot be used are left out; otherwise they are an error.
    """

    saved_model: str
    files: tuple[str, ...]
    texts: tuple[str, ...]
    table_format: TableFormat
    task: Task
    folder: str
    form: str
    shard_rows: int
    batch_size: int
    skips: bool

    def source(self) -> InputRows:
        """The rows of all files.

        Raises:
            InputError: A file or a column is missing, or the columns differ.
        """
        return InputRows(self.files, self.texts, self.table_format, self.task.classes, self.form)


class SavedModelHandler(ModelHandler):
    """Answers one or two texts with the probabilities of the classes `[C]`, or with `[1]` for a regression.

    Args:
        path: A version's folder.
        batch_size: Rows in a batch of the model.
        inputs: Names of the texts in its signature.
    """

    def __init__(self, path: str, batch_size: int, inputs: Sequence[str]):
        super().__init__()
        self._path = path
        self._batch_size = batch_size
        self._inputs = tuple(inputs)

    def load_model(self) -> Any:
        """Loads the exported model."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - the tokenizer's operations

        return tf.saved_model.load(self._path)

    def run_inference(self, batch: Sequence[tuple[str, ...]], model: Any, inference_args=None) -> Iterable[np.ndarray]:
        """Answers in the order of the texts."""
        import tensorflow as tf

        signature = model.signatures[TEXT]
        order = sorted(range(len(batch)), key=lambda row: sum(map(len, batch[row])))
        answers: list[Any] = [None] * len(batch)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            columns = zip(*(batch[row] for row in rows), strict=True)
            texts = {name: tf.constant(column) for name, column in zip(self._inputs, columns, strict=True)}
            found = signature(**texts)
            values = found["probabilities"] if "probabilities" in found else found["scores"][:, None]
            for row, value in zip(rows, values.numpy(), strict=True):
                answers[row] = value
        return answers

    def batch_elements_kwargs(self) -> dict[str, Any]:
        return {"min_batch_size": self._batch_size, "max_batch_size": _AT_ONCE * self._batch_size}


def answer(pipeline: apache_beam.Pipeline, job: Job) -> apache_beam.PCollection:
    """Adds the steps; the result is the numbers of the shards that were written."""
    table = job.source().table  # checks the input before anything runs
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
        | "Write" >> apache_beam.Map(_write, job, table)
    )


def _rows_of(number: int, job: Job) -> Iterator[Row]:
    return (row for _, row in job.source().rows(Place(number), stop=number + 1))


def _count(number: int, job: Job) -> tuple[int, int]:
    """Counts the usable rows of a file, and records the others."""
    count = 0
    rejected = rejected_file(job.folder, number)
    rejected.unlink(missing_ok=True)  # of an earlier attempt
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
    """The file for the rows of one input file that are left out, while the pipeline runs."""
    return Path(folder, f".rejected-{number}.jsonl")


def _read(number: int, job: Job, counts: Mapping[int, int]) -> Iterator[Numbered]:
    """Yields the usable rows of a file, each with its number among those of all files."""
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


def _write(gathered: tuple[int, Iterable[tuple[int, Row, np.ndarray]]], job: Job, table: AnswerTable) -> int:
    shard, answered = gathered
    in_order = sorted(answered, key=lambda one: one[0])
    path = Path(job.folder, shard_name(shard, job.form))
    # Another worker may write the same shard, if the runner thinks that this one is too slow.
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    writer = table.open(partial)
    values = np.array([one[2] for one in in_order])
    writer.write([row for _, row, _ in in_order], round_answers(job.task, values))
    writer.close()
    partial.replace(path)
    return shard
