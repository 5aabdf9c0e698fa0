"""Fine-tunes BERT, searches what each encoder may eliminate, re-trains, evaluates, predicts and exports.

On a GLUE task, or on data of your own:

%s --task=MRPC
%s --task=MRPC --stage=search
%s --train_file=reviews.csv --text_column=review --label_column=stars

A trained model answers files of any size:

%s --task=runs/reviews/task.json --stage=predict --predict_file=new.csv
"""

import dataclasses
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported, to hide its start-up notes

from absl import app, flags
from absl import logging as absl_logging

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.common.termination import EXIT_CODE, Terminated, heeding_sigterm
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.prediction.predict import predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.config_file import repeated
from powerbert_tf.runs.request import read_predict_request, read_request
from powerbert_tf.runs.settings import FIELDS, GROUPS, STAGES, Settings
from powerbert_tf.training.distribution.launch import LOST_EXIT_CODE, ProcessLostError, came_together, distributing
from powerbert_tf.training.distribution.processes import in_all

_STAGE = flags.DEFINE_string(
    "stage", pipeline.ALL, f"{pipeline.ALL}, or one of {', '.join(STAGES)}; stages it needs that are missing run first."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 1, "Number of runs, with --seed and the seeds after it, each in its own folder; reports mean and spread."
)
_CONFIG = flags.DEFINE_string(
    "config", None, "The config.json of an earlier run to repeat; flags on the command line win over those in it."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Run the stage again even if its result is there.")


_RESUME = "finished stages and checkpoints stay; run the command again, without --overwrite, to resume"

_DEFINE: dict[Any, Callable[..., flags.FlagHolder]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def _define_setting(field: dataclasses.Field) -> flags.FlagHolder:
    """A flag that is None unless given, so that the defaults stay in one place."""
    define = _DEFINE[field.type]
    if "Default:" in field.metadata["help"]:  # a default that depends on other flags
        default = ""
    elif field.default is not dataclasses.MISSING:
        default = f" Default: {field.default!r}."
    elif field.name == "task":
        default = " Required, unless you give your own data."
    else:
        default = " Default: the task's published value."
    return define(flag_name(field.name), None, field.metadata["help"] + default)


# Groups of flags by their headings; each field with a help text is a flag.
FLAG_GROUPS: dict[str, type] = {
    "Task, checkpoint and folders": Settings,
    **{name.capitalize(): group for name, group in GROUPS.items()},
    "Your own data": DataSettings,
    "Prediction of new files": PredictSettings,
}
# Flags by the names of their settings.
SETTINGS = {field.name: _define_setting(field) for field in (*FIELDS.values(), *dataclasses.fields(DataSettings))}
PREDICT_SETTINGS = {field.name: _define_setting(field) for field in dataclasses.fields(PredictSettings)}


def parse(argv: list[str]) -> list[str]:
    """Parses flags and returns the rest of `argv`. A wrong flag ends the process with code 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(error)


def _predict_settings() -> PredictSettings | None:
    """The settings of a prediction of new files; None without `--predict_file`."""
    given = {name: flag.value for name, flag in PREDICT_SETTINGS.items() if flag.value is not None}
    if not given:
        return None
    if not given.get("predict_file"):
        raise InputError(f"--{next(iter(given))}: is for the prediction of new files; expected --predict_file, too.")
    if _STAGE.value != "predict" or _SEEDS.value != 1:
        raise InputError("--predict_file: expected --stage=predict, with one trained model.")
    return PredictSettings(**given)


def _fail(error: Exception) -> NoReturn:
    print("error:", *str(error).split(), file=sys.stderr)  # one line, even if a library wrote several
    _leave(2)


def _leave(code: int) -> NoReturn:
    if came_together():
        # A normal exit would wait for the other processes, which may wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: list[str]) -> None:
    """Runs what the flags ask for. An error that the user can fix is one line, with exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names that are not UTF-8; stderr does so by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    # TensorFlow warns that functions are traced for each new length, which is intended.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not flags.FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # exports log a lot
    try:
        if len(argv) > 1:
            raise InputError(f"{' '.join(argv[1:])}: expected flags only, such as --task=MRPC.")
        given: dict[str, Any] = {name: flag.value for name, flag in SETTINGS.items()}
        if predict_settings := _predict_settings():
            with heeding_sigterm():
                predict_files(read_predict_request(predict_settings, given), _OVERWRITE.value)
            return
        recorded = None
        if _CONFIG.value:
            given, recorded = repeated(_CONFIG.value, given)
        # Processes connect before TensorFlow does anything, such as with the data; and before SIGTERM is handled, as
        # TensorFlow then installs a handler of its own.
        with distributing(given["distribution"] or "none", given["tpu"] or ""), heeding_sigterm():
            settings, own = in_all(lambda: read_request(given))
            pipeline.run(settings, _STAGE.value, _OVERWRITE.value, _SEEDS.value, own, recorded)
    except ProcessLostError as error:
        print(f"\nerror: {error}; {_RESUME} in all processes", file=sys.stderr)
        _leave(LOST_EXIT_CODE)
    except (InputError, OSError) as error:
        _fail(error)
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


def start() -> None:
    """Starts the process of `run_glue.py`, or of the command `powerbert`."""
    # --help prints the docstring and the flags of the script that runs, which has neither.
    sys.modules["__main__"].__doc__ = __doc__
    for flag in flags.FLAGS.get_flags_for_module(__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(main, flags_parser=parse)
