"""Predicts files of any size; only a few windows of rows are in memory."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from powerbert_tf.batches.encoded_split import encode_split
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256
from powerbert_tf.common.reporting import open_bar, say
from powerbert_tf.common.wording import counted
from powerbert_tf.data.rejected_rows import REJECTED_FILE, RejectedRows, bad_rows_message, name_rows, read_rejected
from powerbert_tf.data.settings import TABLE_FLAGS, DataSettings
from powerbert_tf.data.splits import Split, texts_of_lines
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import Configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.precision import computing_in
from powerbert_tf.prediction.answers import Answerer, choose_lengths
from powerbert_tf.prediction.input_rows import InputRows, find_input
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.prediction.shards import PROGRESS_FILE, Progress, ShardFolder, open_folder
from powerbert_tf.prediction.windows import Window, cut_windows, encode_windows, prefetch
from powerbert_tf.tokenizers.word_pieces import Tokenizer

FOLDER = "predict"  # in the folder of a run
_EARLIER_FOLDER = "predictions"


@dataclasses.dataclass(frozen=True, eq=False)
class PredictRequest:
    """A trained model and the files that it answers.

    Attributes:
        load_model: Reads the model.
        weights: File of its weights, whose hash identifies the model.
        retention_configuration: Retention configuration of the model.
        task: Task of the model.
        tokenizer: Tokenizer of the model.
        max_seq_length: N.
        truncation: How long texts are truncated.
        inference: How the model runs.
        root: Parent of the folder of answers, unless `settings` name one.
        settings: What is read and written.
        data: How tables are quoted, and what happens to rows that cannot be used.
        texts: Columns of the texts; an empty name for one that no flag gives.
        widths: Neurons and heads of the model, by `reduction.WIDTHS`, where they were removed.
    """

    load_model: Callable[[], BertClassifier]
    weights: Path
    retention_configuration: Configuration
    task: Task
    tokenizer: Tokenizer
    max_seq_length: int
    truncation: str
    inference: InferenceSettings
    root: Path
    settings: PredictSettings
    data: DataSettings
    texts: tuple[str, ...]
    widths: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)

    def identify(self, source: InputRows) -> dict[str, Any]:
        """Everything that the answers to some rows depend on, ready for JSON."""
        return {
            "files": source.describe(),
            "text columns": list(source.texts),
            "quoting": self.data.quoting,
            **{name: value for name in TABLE_FLAGS if (value := getattr(self.data, name))},
            "predict_format": self.settings.predict_format,
            "predict_shard_rows": self.settings.predict_shard_rows,
            "model": sha256(self.weights),
            "retention_configuration": list(self.retention_configuration),
            **{name: list(own) for name, own in self.widths.items()},
            **({"predict_columns": list(kept)} if (kept := self.settings.kept_columns) else {}),
            "tokenizer": self.tokenizer.fingerprint,
            "classes": list(self.task.classes),
            **({"thresholds": list(self.task.thresholds)} if self.task.thresholds else {}),
            **({"temperature": self.task.temperature} if self.task.temperature != 1 else {}),
            "max_seq_length": self.max_seq_length,
            "truncation": self.truncation,
            **dataclasses.asdict(self.inference),
        }


def predict_files(request: PredictRequest, overwrite: bool = False) -> Path:
    """Answers `--predict_file`, from the beginning or from where an earlier run was interrupted.

    Writes `part-00000.<format>` and so on: the input's columns, the prediction and the probabilities, in the order of
    the input; `rejected.jsonl` if rows were left out; and `progress.json`. A run that is interrupted and resumed leaves
    the same bytes as one that is not interrupted. With `overwrite`, existing answers are replaced.

    Returns:
        The folder of the answers.

    Raises:
        InputError: A file is wrong, a row cannot be used and such rows are errors, or the folder holds answers to
            another request.
        OSError: Files cannot be written.
    """
    settings = request.settings
    source = InputRows(
        find_input(settings.predict_file),
        request.texts,
        request.data.table_format,
        request.task.classes,
        settings.predict_format,
        settings.kept_columns,
    )
    folder = Path(settings.predict_dir) if settings.predict_dir else _default_folder(request.root, source.name)
    with (
        computing_in(request.inference.precision),
        open_folder(
            folder, source.table, request.identify(source), overwrite, resumes=not source.from_standard_input
        ) as shards,
    ):
        if shards.progress.complete:
            say(f"{folder}: already there, reused; --overwrite predicts again")
            return folder
        if source.read_as:
            say(f"{source.paths[0]} read as: {source.read_as}")
        if source.from_standard_input:
            say("standard input: a run that is interrupted cannot be resumed")
        if shards.progress.shards:
            say(f"{folder}: {counted(shards.progress.rows, 'row')} answered before; resuming after them")
        began, before = time.perf_counter(), shards.progress.rows
        _answer(request, source, shards)
        done, seconds = shards.progress, time.perf_counter() - began
    speed = f", {(done.rows - before) / seconds:,.0f} rows/s" if done.rows > before else ""
    say(f"{folder}: {counted(done.rows, 'row')} in {counted(done.shards, 'file')}{speed}")
    if done.rejected:
        path = folder / REJECTED_FILE
        left_out = counted(done.rejected, "row")
        say(f"  {left_out} left out, in {path}: {name_rows(read_rejected(path), done.rejected)}")
    return folder


def _default_folder(root: Path, name: str) -> Path:
    """Where the answers to a file go; an earlier version put them elsewhere, where they are then continued."""
    folder, earlier = root / FOLDER / name, root / _EARLIER_FOLDER / name
    return earlier if (earlier / PROGRESS_FILE).is_file() and not folder.exists() else folder


def answer_texts(request: PredictRequest) -> None:
    """Prints what the model answers to each line of `--text`: the answer, its probability, and the text.

    Raises:
        InputError: A line does not hold one text, or one pair.
    """
    texts = texts_of_lines("text", request.settings.text, request.task.is_pair)
    with computing_in(request.inference.precision):
        encoded = encode_split(Split(texts, None, None), request.tokenizer, request.max_seq_length)
        lengths = choose_lengths(encoded, request.inference)
        answers = Answerer(request.load_model(), request.task, request.inference, lengths).answer(encoded)
    for row, answer in enumerate(answers.predictions):
        found = answer if isinstance(answer, str) else f"{answer:.3f}"
        likely = f"\t{answers.probabilities[row].max():.3f}" if answers.probabilities.shape[1] else ""
        say("\t".join([f"{found}{likely}", *(column[row] for column in texts)]))


def _all_rejected(source: InputRows, window: Window) -> tuple[RejectedRows, int]:
    """Rows that cannot be used, of a window and of all of the input after it, if that can be read; and of how many."""
    rejected, count = RejectedRows(), len(window.rows) + len(window.rejected)
    for row in window.rejected:
        rejected.append(row)
    if not source.from_standard_input:
        for _, row in source.rows(window.end):
            count += 1
            if row.problem:
                rejected.append(row)
    return rejected, count


def _answer(request: PredictRequest, source: InputRows, shards: ShardFolder) -> None:
    model = request.load_model()
    answerer: Answerer | None = None
    place = shards.progress.place
    windows = cut_windows(source.rows(place), request.settings.predict_shard_rows)
    encoded = encode_windows(windows, source.texts, request.tokenizer, request.max_seq_length)
    with contextlib.closing(_Bar(source.total_bytes, shards.progress)) as bar:
        for window in prefetch(encoded):
            bar.begin(window)
            if window.rejected:
                if request.data.on_bad_row == "error":
                    raise InputError(bad_rows_message(*_all_rejected(source, window)))
                shards.reject(window.rejected)
            if window.encoded is not None:
                if answerer is None:
                    shards.lengths = shards.lengths or tuple(choose_lengths(window.encoded, request.inference))
                    answerer = Answerer(model, request.task, request.inference, shards.lengths)
                shards.write(window.rows, answerer.answer(window.encoded, bar.move))
            place = window.end
            if window.ends_shard:
                shards.end_shard(place)
    shards.end_shard(place, complete=True)


class _Bar:
    """Shows rows per second and, if the size of the input is known, the time left."""

    def __init__(self, total_bytes: int | None, progress: Progress):
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}" if total_bytes else "{desc}{postfix}"
        # What an earlier run did took no time in this one, so it says nothing about the time left.
        initial = progress.place.read_bytes if total_bytes else 0
        self._bar = open_bar(total=total_bytes, initial=initial, desc="predict", bar_format=form)
        self._began = time.perf_counter()
        self._before = self._rows = progress.rows
        self._window: Window | None = None
        self._done = 0  # rows of the window
        self._at = progress.place.read_bytes  # where the window begins

    def begin(self, window: Window) -> None:
        """Starts a window."""
        if self._window is not None:
            self._at = self._window.end.read_bytes
        self._window, self._done = window, 0

    def move(self, count: int) -> None:
        """Counts further answered rows of the window."""
        window = cast(Window, self._window)
        self._done += count
        self._rows += count
        rate = (self._rows - self._before) / (time.perf_counter() - self._began)
        self._bar.set_postfix_str(f"{self._rows:,} rows, {rate:,.0f} rows/s", refresh=False)
        at = self._at + (window.end.read_bytes - self._at) * self._done // len(window.rows)
        self._bar.update(at - self._bar.n if self._bar.total else count)

    def close(self) -> None:
        self._bar.close()
