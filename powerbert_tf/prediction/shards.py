"""A folder of answers: shards that appear whole, rows that were left out, and the progress.

`progress.json` is written after each shard. What it does not record is made again, so a run can be stopped at any
moment: the next one resumes after the last shard and leaves the same files.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sync, write_json
from powerbert_tf.common.locks import exclusive
from powerbert_tf.data.rejected_rows import REJECTED_FILE, rejected_line
from powerbert_tf.data.tables import Row
from powerbert_tf.prediction.answers import Answers
from powerbert_tf.prediction.input_rows import Place
from powerbert_tf.prediction.settings import PREDICT_FORMATS
from powerbert_tf.prediction.writers import AnswerTable, Writer

PROGRESS_FILE = "progress.json"
SHARD_NAME = re.compile(rf"part-[0-9]{{5,}}\.({'|'.join(PREDICT_FORMATS)})")
_UNFINISHED = (".part-", f".{PROGRESS_FILE}.")  # what a killed run leaves; the latter is from `files.replacing`


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a folder holds.

    Attributes:
        shards: Number of finished shards.
        rows: Number of answers in them.
        rejected: Number of rows that were left out up to there.
        rejected_bytes: Size of `rejected.jsonl` up to there.
        place: Where the input continues.
        lengths: Lengths to which batches are padded; empty until they are chosen.
        complete: Whether all rows are answered.
    """

    shards: int = 0
    rows: int = 0
    rejected: int = 0
    rejected_bytes: int = 0
    place: Place = dataclasses.field(default_factory=Place)
    lengths: tuple[int, ...] = ()
    complete: bool = False


def shard_name(number: int, form: str) -> str:
    """Name of a file of answers, counted from 0."""
    return f"part-{number:05d}.{form}"


class ShardFolder:
    """A folder of answers, see `open_folder`.

    Attributes:
        progress: What is finished.
        lengths: Recorded in `progress` with the next shard.
    """

    def __init__(self, folder: Path, table: AnswerTable, request: Mapping[str, Any], progress: Progress):
        self.folder = folder
        self.progress = progress
        self.lengths = progress.lengths
        self._table = table
        self._request = request
        self._writer: Writer | None = None
        self._rows = 0  # of the open shard
        self._rejected = progress.rejected
        self._rejected_bytes = progress.rejected_bytes

    def reject(self, rows: Sequence[Row]) -> None:
        """Records rows that are left out."""
        with (self.folder / REJECTED_FILE).open("a", encoding="ascii") as file:
            file.writelines(map(rejected_line, rows))
            file.flush()
            self._rejected_bytes = file.tell()
        self._rejected += len(rows)

    def write(self, rows: Sequence[Row], answers: Answers) -> None:
        """Adds answers to the open shard."""
        if self._writer is None:
            self._writer = self._table.open(self._partial)
        self._writer.write(rows, answers)
        self._rows += len(rows)

    @property
    def _partial(self) -> Path:
        return self.folder / f".{shard_name(self.progress.shards, self._table.form)}"

    def end_shard(self, place: Place, complete: bool = False) -> None:
        """Gives the open shard, if there is one, its final name, and records the place where the input continues."""
        shards = self.progress.shards
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            sync(self._partial)
            self._partial.replace(self.folder / shard_name(shards, self._table.form))
            shards += 1
        if self._rejected_bytes:
            sync(self.folder / REJECTED_FILE)
        rows = self.progress.rows + self._rows
        self.progress = Progress(shards, rows, self._rejected, self._rejected_bytes, place, self.lengths, complete)
        self._rows = 0
        self.record()

    def close(self) -> None:
        """Leaves the open shard, if there is one, unfinished."""
        if self._writer is not None:
            self._writer.close()

    def record(self) -> None:
        """Writes `progress.json`."""
        write_json(self.folder / PROGRESS_FILE, {**dataclasses.asdict(self.progress), "request": self._request})


@contextlib.contextmanager
def open_folder(
    folder: Path, table: AnswerTable, request: Mapping[str, Any], overwrite: bool, resumes: bool
) -> Iterator[ShardFolder]:
    """A folder of answers for one process, as an earlier run left it, or empty.

    Args:
        folder: The folder, which is created if it is missing.
        table: Format and columns of the shards.
        request: Everything that the answers depend on, ready for JSON.
        overwrite: Whether existing answers are removed.
        resumes: Whether an interrupted run can be resumed.

    Raises:
        InputError: The folder holds something else, the answers to another request, or an interrupted run that cannot
            be resumed; or another process writes into it.
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "writes answers into"):
        progress = _read_progress(folder, table.form, request, overwrite, resumes)
        shards = ShardFolder(folder, table, request, progress)
        if not progress.complete:
            shards.record()  # first, so that it never records what is not there
            _clear(folder, table.form, progress)
        try:
            yield shards
        finally:
            shards.close()


def _read_progress(folder: Path, form: str, request: Mapping[str, Any], overwrite: bool, resumes: bool) -> Progress:
    path = folder / PROGRESS_FILE
    again = "pass --overwrite to start again, or another --predict_dir"
    if not path.exists():
        others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(_UNFINISHED))
        if others:
            raise InputError(
                f"--predict_dir={folder}: holds {others[0]} but no {PROGRESS_FILE}, so it is not a folder of answers; "
                "expected another --predict_dir, which is empty or missing."
            )
        return Progress()
    if overwrite:
        return Progress()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = found.pop("request")
        progress = Progress(**{**found, "place": Place(**found["place"]), "lengths": tuple(found["lengths"])})
        wanted = json.loads(json.dumps(request))
        differ = [key for key in sorted({*wanted, *before}) if wanted.get(key) != before.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error}); {again}.") from None
    if differ and not progress.shards:
        return Progress()  # of a run that ended before anything was answered, such as at a row that it named
    if differ:
        raise InputError(f"{folder}: holds answers to another request ({', '.join(differ)} differ); {again}.")
    if not resumes:
        state = "is there already" if progress.complete else "was interrupted; standard input cannot be resumed"
        raise InputError(f"{folder}: a prediction of standard input {state}; {again}.")
    for name in (shard_name(number, form) for number in range(progress.shards)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing; {again}.")
    rejected = folder / REJECTED_FILE
    if progress.rejected_bytes > (rejected.stat().st_size if rejected.exists() else 0):
        raise InputError(f"{rejected}: missing, or shorter than it was; {again}.")
    return progress


def _clear(folder: Path, form: str, progress: Progress) -> None:
    """Removes what is not recorded."""
    finished = {shard_name(number, form) for number in range(progress.shards)}
    for path in folder.iterdir():
        is_shard = SHARD_NAME.fullmatch(path.name) and path.name not in finished
        if is_shard or path.name.startswith(_UNFINISHED):
            path.unlink()
    if progress.rejected_bytes:
        os.truncate(folder / REJECTED_FILE, progress.rejected_bytes)
    else:
        (folder / REJECTED_FILE).unlink(missing_ok=True)
