"""Running one stage: its function, its folder, its random numbers and what it records."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.models.compilation import recorded_compilations
from powerbert_tf.runs.folder import RESULT_FILE
from powerbert_tf.runs.preparation import explained_memory
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import STAGES
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
from powerbert_tf.training.distribution.processes import is_chief


def run_stage(run: Run, stage: str, before_publishing: Callable[[], None] = lambda: None) -> None:
    """Runs one stage; its folder appears when all of it is written.

    Args:
        run: What the stages share.
        stage: Its name.
        before_publishing: What to do right before that.

    Raises:
        InputError: Something that the user can put right.
    """
    settings = run.settings_of(stage)
    goes_on = run.folder.begun(stage) == settings
    # Each stage draws its own random numbers, whichever stages ran before it in this process.
    keras.utils.set_random_seed(run.settings.training.seed + STAGES.index(stage))
    began = time.perf_counter()
    with (
        run.folder.writing(stage, settings, before_publishing) as folder,
        explained_memory(stage, run.settings, run.checkpoint.config),
        recorded_compilations() as compilations,
    ):
        result = {
            "task": run.task.name,
            "data": run.dataset.source,
            **STAGE_FUNCTIONS[stage](run, folder),
            "seconds": round(time.perf_counter() - began, 1),
            "compilations": compilations.count,
            "compile_seconds": round(compilations.seconds, 1),
            "settings": settings,
            **({"resumed": True} if goes_on else {}),  # so that the seconds are not those of all of it
        }
        if is_chief():
            write_json(folder / RESULT_FILE, result)
    if run.settings.inference.jit_compile and compilations.count:
        say(f"  XLA compiled {compilations.count} times, {compilations.seconds:.0f} s of {result['seconds']:.0f}")


STAGE_FUNCTIONS: dict[str, Callable[[Run, Path], dict[str, Any]]] = {
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
}
