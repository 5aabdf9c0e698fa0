"""`python -m powerbert_tf.beam`: flags -> job -> pipeline."""

import argparse
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from powerbert_tf.beam.pipeline import Job, answer, rejected_file
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.rejected_rows import REJECTED_FILE
from powerbert_tf.data.settings import ON_BAD_ROW, QUOTING, TABLE_FLAGS, DataSettings
from powerbert_tf.data.tables import find_files
from powerbert_tf.data.tasks import TASK_FILE, TASKS
from powerbert_tf.prediction.settings import PREDICT_FORMATS, PredictSettings
from powerbert_tf.prediction.shards import SHARD_NAME
from powerbert_tf.runs.task_file import described_task, read_task_file

_INPUT_ERROR = re.compile(r"InputError: (.*?)(?: \[while running|\n|$)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m powerbert_tf.beam",
        description="Answers files with an exported model on any Beam runner. Other flags go to Beam.",
    )
    parser.add_argument("--saved_model", required=True, help="A version's folder, such as runs/reviews/saved_model/1.")
    parser.add_argument("--predict_file", required=True, help="See run_glue.py; standard input is not supported.")
    parser.add_argument("--predict_dir", required=True, help="Folder of the answers; must be empty or missing.")
    parser.add_argument("--predict_format", default=PredictSettings.predict_format, choices=PREDICT_FORMATS)
    parser.add_argument("--predict_shard_rows", type=int, default=PredictSettings.predict_shard_rows)
    parser.add_argument("--text_column", default="", help="Default: the column used in training, for data of your own.")
    parser.add_argument("--text_pair_column", default="")
    parser.add_argument("--quoting", default="minimal", choices=QUOTING)
    for name in TABLE_FLAGS:
        parser.add_argument(f"--{name}", default="", help="See run_glue.py.")
    parser.add_argument("--on_bad_row", default="error", choices=ON_BAD_ROW)
    parser.add_argument("--eval_batch_size", type=int, default=64, help="Rows in a batch of the model.")
    return parser


def read_job(given: argparse.Namespace) -> Job:
    """Resolves flags.

    Raises:
        InputError: A flag or the exported model is wrong.
    """
    PredictSettings(predict_format=given.predict_format, predict_shard_rows=given.predict_shard_rows)
    data = DataSettings(**{name: getattr(given, name) for name in ("quoting", *TABLE_FLAGS)})
    path = Path(given.saved_model, TASK_FILE)
    if not path.is_file():
        raise InputError(f"--saved_model={given.saved_model}: has no {TASK_FILE}; expected a version's folder.")
    file = read_task_file(path)
    task = described_task(file)
    if task.is_multi_label and not task.thresholds:
        raise InputError(f"{path}: lacks thresholds; expected the file that an export writes.")
    is_pair = TASKS[task.name].is_pair if task.name in TASKS else task.is_pair
    names = ("text_column", "text_pair_column")[: 1 + is_pair]
    return Job(
        saved_model=os.path.abspath(given.saved_model),
        files=tuple(os.path.abspath(one) for one in find_files(given.predict_file, "predict_file")),
        texts=tuple(getattr(given, name) or file.data.get(name, "") for name in names),
        table_format=data.table_format,
        task=task,
        folder=os.path.abspath(given.predict_dir),
        form=given.predict_format,
        shard_rows=given.predict_shard_rows,
        batch_size=given.eval_batch_size,
        skips=given.on_bad_row == "skip",
    )


def main(argv: Sequence[str]) -> None:
    """Runs the pipeline and waits for it.

    Raises:
        InputError: A flag or a file is wrong, or the folder holds answers already.
        OSError: Files cannot be written.
    """
    given, of_beam = _parser().parse_known_args(argv)
    job = read_job(given)
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(SHARD_NAME.fullmatch(entry.name) for entry in folder.iterdir()):
        raise InputError(f"--predict_dir={given.predict_dir}: holds answers already; expected another folder.")
    try:
        with apache_beam.Pipeline(options=PipelineOptions(list(of_beam), save_main_session=False)) as pipeline:
            answer(pipeline, job)
    except RuntimeError as error:  # of a worker, with its traceback
        of_user = _INPUT_ERROR.search(str(error))
        if of_user is None:
            raise
        raise InputError(of_user[1]) from None
    _gather_rejected(folder, len(job.files))
    written = sum(bool(SHARD_NAME.fullmatch(entry.name)) for entry in folder.iterdir())
    print(f"{folder}: {counted(written, 'file')}", flush=True)


def _gather_rejected(folder: Path, num_files: int) -> None:
    """Joins the rejected rows of all files, in order."""
    parts = [path for path in (rejected_file(str(folder), number) for number in range(num_files)) if path.exists()]
    if not parts:
        return
    with (folder / REJECTED_FILE).open("wb") as gathered:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, gathered)
    for part in parts:
        part.unlink()
