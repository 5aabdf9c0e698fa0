"""Predicts files of any size: what is held in memory is a few windows of rows."""

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256
from powerbert_tf.common.reporting import open_bar, say
from powerbert_tf.data.rejected_rows import bad_rows_message
from powerbert_tf.models.precision import computing_in
from powerbert_tf.prediction.answers import Answerer, choose_lengths, encoded_windows
from powerbert_tf.prediction.columns import answer_columns
from powerbert_tf.prediction.request import PredictRequest
from powerbert_tf.prediction.shards import Progress, ShardFolder, open_folder
from powerbert_tf.prediction.source import Source, find_input
from powerbert_tf.prediction.windows import Window, cut_windows, made_ahead

PREDICTIONS = "predictions"


def predict_files(request: PredictRequest, overwrite: bool = False) -> Path:
    """Answers `--predict_file`, from the beginning or from where an earlier run was interrupted.

    Writes `part-00000.<format>` and so on: the input's columns, the prediction, the probabilities, in the order of the
    input; `rejected.jsonl` where rows were left out; and `progress.json`. A run that is interrupted and gone on with
    leaves the same bytes as one that is not.

    Args:
        request: Model, files and flags.
        overwrite: Whether answers that are there go.

    Returns:
        The folder of the answers.

    Raises:
        InputError: A file, a row where bad rows are errors, or answers to another request are in the way.
        OSError: Files cannot be written.
    """
    settings = request.settings
    source = Source(
        find_input(settings.predict_file),
        request.texts,
        request.data.quoting == "minimal",
        answer_columns(request.task.classes),
        any_keys=settings.predict_format == "jsonl",
    )
    schema = source.schema if settings.predict_format == "parquet" else None
    folder = Path(settings.predict_dir) if settings.predict_dir else request.root / PREDICTIONS / source.name
    asked = _describe(request, source)
    with (
        computing_in(request.inference.precision),
        open_folder(folder, settings.predict_format, asked, overwrite, not source.from_standard_input) as shards,
    ):
        if shards.progress.complete:
            say(f"{folder}: already there, reused; --overwrite predicts again")
            return folder
        if source.from_standard_input:
            say("standard input: a run that is interrupted cannot be resumed")
        if shards.progress.shards:
            say(f"{folder}: {shards.progress.rows:,} rows are there; going on behind them")
        began, before = time.perf_counter(), shards.progress.rows
        _answer(request, source, schema, shards)
        _report(folder, shards.progress, shards.progress.rows - before, time.perf_counter() - began)
    return folder


def _answer(request: PredictRequest, source: Source, schema: Any, shards: ShardFolder) -> None:
    columns = answer_columns(request.task.classes)
    model = request.load_model()
    answerer: Answerer | None = None
    windows = cut_windows(source.rows(shards.progress.place), request.settings.predict_shard_rows)
    encoded = encoded_windows(windows, source.texts, request.tokenizer, request.max_seq_length)
    place = shards.progress.place
    with _Bar(source, shards.progress) as bar:
        for window in made_ahead(encoded):
            bar.begin(window)
            if window.rejected:
                if request.data.on_bad_row == "error":
                    raise InputError(bad_rows_message(window.rejected))
                shards.reject(window.rejected)
            if window.encoded is not None:
                if answerer is None:
                    shards.lengths = shards.lengths or tuple(choose_lengths(window.encoded, request.inference))
                    answerer = Answerer(model, request.task, request.inference, shards.lengths)
                shards.write(window.rows, answerer.answer(window.encoded, bar.move), source.columns, columns, schema)
            place = window.end
            if window.ends_shard:
                shards.end_shard(place)
    shards.end_shard(place, complete=True)


class _Bar:
    """Rows a second, and, where the size of the input is known, the time left."""

    def __init__(self, source: Source, progress: Progress):
        self._total = source.total_bytes
        self._before = progress.rows
        self._rows = progress.rows
        self._window: Window | None = None
        self._done = 0  # rows of the window
        self._at = progress.place.read_bytes  # where it begins

    def __enter__(self) -> "_Bar":
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}" if self._total else "{desc}{postfix}"
        # What an earlier run did took this one no time, and says nothing about the time left.
        initial = self._at if self._total else 0
        self._bar = open_bar(total=self._total, initial=initial, desc="predict", bar_format=form)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def begin(self, window: Window) -> None:
        """Tells which window is answered."""
        if self._window is not None:
            self._at = self._window.end.read_bytes
        self._window, self._done = window, 0

    def move(self, count: int) -> None:
        """Tells that so many more rows of the window are answered."""
        window = cast(Window, self._window)
        self._done += count
        self._rows += count
        rate = (self._rows - self._before) / (time.perf_counter() - self._began)
        self._bar.set_postfix_str(f"{self._rows:,} rows, {rate:,.0f} rows/s", refresh=False)
        at = self._at + (window.end.read_bytes - self._at) * self._done // len(window.rows)
        self._bar.update(at - self._bar.n if self._total else count)


def _describe(request: PredictRequest, source: Source) -> dict[str, Any]:
    """All that the answers depend on."""
    settings = request.settings
    return {
        "files": source.describe(),
        "text columns": list(source.texts),
        "quoting": request.data.quoting,
        "predict_format": settings.predict_format,
        "predict_shard_rows": settings.predict_shard_rows,
        "model": sha256(request.weights),
        "retention_configuration": list(request.retention_configuration),
        "tokenizer": request.tokenizer.fingerprint,
        "classes": list(request.task.classes),
        "max_seq_length": request.max_seq_length,
        "truncation": request.truncation,
        **dataclasses.asdict(request.inference),
    }


def _report(folder: Path, progress: Progress, rows: int, seconds: float) -> None:
    left_out = f"; {progress.rejected:,} rows left out, rejected.jsonl names each of them" if progress.rejected else ""
    speed = f", {rows / seconds:,.0f} rows/s" if rows else ""
    say(f"{folder}: {progress.rows:,} rows in {progress.shards} files{speed}{left_out}")
