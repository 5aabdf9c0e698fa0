"""Runs one stage: calls its function, and writes its folder and what it recorded."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.machine import memory_bytes
from powerbert_tf.common.reporting import say
from powerbert_tf.models.compilation import recorded_compilations
from powerbert_tf.models.config import BertConfig
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import STAGES, TRAINING_STAGES, Settings
from powerbert_tf.runs.stages.deploy import deploy
from powerbert_tf.runs.stages.elastic import elastic
from powerbert_tf.runs.stages.evaluate import evaluate
from powerbert_tf.runs.stages.explain import explain
from powerbert_tf.runs.stages.export import export
from powerbert_tf.runs.stages.finetune import finetune
from powerbert_tf.runs.stages.pareto import pareto
from powerbert_tf.runs.stages.predict import predict
from powerbert_tf.runs.stages.report import report
from powerbert_tf.runs.stages.retrain import retrain
from powerbert_tf.runs.stages.search import search

_LARGE = 2**23  # weights of a model whose copies are worth collecting
_COPIES = 4  # of the weights in training: themselves, the gradient, and Adam's two moments

Stage = Callable[[Run, Any], dict[str, Any]]  # the folder for files is None for results in memory

STAGE_FUNCTIONS: dict[str, Stage] = {
    "finetune": finetune,
    "search": search,
    "retrain": retrain,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "elastic": elastic,
    "pareto": pareto,
    "explain": explain,
    "report": report,
    "deploy": deploy,
}


def run_stage(
    run: Run, stage: str, before_publishing: Callable[[], None] = lambda: None, function: Stage | None = None
) -> None:
    """Runs one stage; in a folder, its own appears when everything is written and `before_publishing` has returned.

    Args:
        run: The run.
        stage: Name of the stage.
        before_publishing: Called when everything is written.
        function: What finds the result; None for the stage's own.

    Raises:
        InputError: The stage failed for a reason that the user can fix.
    """
    settings = run.settings_of(stage)
    resumes = run.results.begun(stage) == settings
    # Each stage draws its own random numbers, whichever stages ran before it in this process.
    keras.utils.set_random_seed(run.settings.training.seed + STAGES.index(stage))
    began = time.perf_counter()
    with (
        run.results.writing(stage, settings, before_publishing) as folder,
        explained_memory(stage, run.settings, run.checkpoint.config),
        recorded_compilations() as compilations,
    ):
        result = {
            "task": run.task.name,
            "data": run.dataset.source,
            **(function or STAGE_FUNCTIONS[stage])(run, folder),
            "seconds": round(time.perf_counter() - began, 1),
            "compilations": compilations.count,
            "compile_seconds": round(compilations.seconds, 1),
            "settings": settings,
            **({"resumed": True} if resumes else {}),  # the seconds are only those since then
        }
        run.results.record(stage, result)
    if stage in TRAINING_STAGES and run.checkpoint.config.num_weights >= _LARGE:
        gc.collect()  # copies of models and the state of optimizers are in cycles; this takes half a second
    if run.settings.inference.jit_compile and compilations.count:
        say(f"  XLA compiled {compilations.count} times, {compilations.seconds:.0f} s of {result['seconds']:.0f}")


@contextlib.contextmanager
def explained_memory(stage: str, settings: Settings, config: BertConfig) -> Iterator[None]:
    """Turns a lack of memory in its block into an error of one line, with the numbers that matter.

    Raises:
        InputError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        trains = stage in TRAINING_STAGES or stage == "pareto"
        batch = (
            f"--batch_size={settings.training.batch_size}"
            if trains
            else f"--eval_batch_size={settings.inference.eval_batch_size}"
        )
        weights = 4 * config.num_weights * (_COPIES if trains else 1)
        reason = first_line(error)
        raise InputError(
            f"{stage}: out of memory at {batch}, --max_seq_length={settings.inputs.max_seq_length}; the weights take "
            f"{weights / 2**30:.1f} GiB{' in training' if trains else ''}, the machine has "
            f"{memory_bytes() / 2**30:.1f} GiB, and batches get the rest; expected a smaller batch, or shorter inputs "
            f"({reason})."
        ) from error
