"""A job of the command line, from what it asks for to the exit code of the process. Imports TensorFlow."""

import os
import sys
import traceback
from typing import NoReturn

import keras
import tensorflow as tf

from powerbert_tf.common import native_log
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.termination import EXIT_CODE, Terminated, fail, heeding_sigterm
from powerbert_tf.latency.timing import device_name
from powerbert_tf.prediction.predict import answer_texts, predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.asked import Asked
from powerbert_tf.runs.request import read_predict_request, read_request
from powerbert_tf.training.distribution.launch import LOST_EXIT_CODE, ProcessLostError, came_together, distributing
from powerbert_tf.training.distribution.processes import in_all

_RESUME = "finished stages and checkpoints stay; run the command again, without --overwrite, to resume"


def run_job(asked: Asked, predict: PredictSettings | None, stage: str, overwrite: bool, seeds: int) -> None:
    """Runs it. An error that the user can fix is one line, with exit code 2.

    Args:
        asked: Flags, and those that a run remembers.
        predict: Which new texts to answer; None to run stages.
        stage: `--stage`.
        overwrite: `--overwrite`.
        seeds: `--seeds`.
    """
    try:
        if predict is not None:
            _answer(asked, predict, overwrite)
        else:
            _run_stages(asked, stage, overwrite, seeds)
    except ProcessLostError as error:
        print(f"\nerror: {error}; {_RESUME} in all processes", file=sys.stderr)
        _leave(LOST_EXIT_CODE)
    except (InputError, OSError) as error:
        if came_together():
            print("error:", *str(error).split(), file=sys.stderr)
            _leave(2)
        fail(error)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {_RESUME}", file=sys.stderr)
        _leave(130)
    except Terminated as where:
        print(f"\nterminated: {where}; {_RESUME}" if str(where) else f"\nterminated: {_RESUME}", file=sys.stderr)
        _leave(EXIT_CODE)
    except Exception:
        if came_together():
            traceback.print_exc()
            _leave(1)
        raise


def _answer(asked: Asked, predict: PredictSettings, overwrite: bool) -> None:
    with heeding_sigterm():
        request = read_predict_request(predict, asked.given, asked.root)
        if predict.text:
            answer_texts(request)
        else:
            predict_files(request, overwrite)


def _run_stages(asked: Asked, stage: str, overwrite: bool, seeds: int) -> None:
    distribution = asked.given.get("distribution") or "none"
    # Processes connect before TensorFlow does anything, such as with the data; and before SIGTERM is handled, as
    # TensorFlow then installs a handler of its own.
    with distributing(distribution, asked.given.get("tpu") or ""), heeding_sigterm():
        settings, own = in_all(lambda: read_request(asked.given))
        pipeline.run(settings, stage, overwrite, seeds, own, asked.recorded, root=asked.root)


def describe_device(distribution: str) -> str:
    """What models run on, in a line; empty for a distribution, which says it itself once processes are connected."""
    found = tf.config.list_physical_devices("GPU")  # also where JAX computes: TensorFlow's log is written here
    if distribution != "none":
        return ""
    on_gpu = found if keras.backend.backend() == "tensorflow" else keras.distribution.list_devices("gpu")
    unused = native_log.has_gpu_device() and not on_gpu
    return f"device: {device_name()}{'; this machine has a GPU that cannot be used' if unused else ''}"


def _leave(code: int) -> NoReturn:
    if came_together():
        # A normal exit would wait for the other processes, which may wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
