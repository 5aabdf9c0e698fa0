"""Fine-tune BERT, search what each encoder may eliminate, re-train, evaluate, predict, export.

On a GLUE task, or on data of your own:

%s --task=MRPC
%s --task=MRPC --stage=search
%s --train_file=reviews.csv --text_column=review --label_column=stars

And what a trained model answers to files of any size:

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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported; its start-up notes help nobody

from absl import app, flags
from absl import logging as absl_logging

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.common.termination import EXIT_CODE, Terminated, heeding_sigterm
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.prediction.predict import predict_files
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs.config_file import repeated
from powerbert_tf.runs.pipeline import ALL
from powerbert_tf.runs.pipeline import run as run_pipeline
from powerbert_tf.runs.predict_request import read_predict_request
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.settings import FIELDS, GROUPS, STAGES, Settings
from powerbert_tf.training.distribution.processes import in_all
from powerbert_tf.training.distribution.strategies import LOST_EXIT_CODE, ProcessLostError, came_together, distributing

_STAGE = flags.DEFINE_string(
    "stage", ALL, f"{ALL}, or one of {', '.join(STAGES)}; what it needs and is not there runs first."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 1, "Runs with this many seeds, from --seed on, each in a folder of its own; tells mean and spread."
)
_CONFIG = flags.DEFINE_string(
    "config", None, "The config.json of an earlier run, whose flags are taken; those given now go before them."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Run the stage again although its result is there.")


_GO_ON = "finished stages and checkpoints stay; run the command again, without --overwrite, to go on"

_DEFINE: dict[Any, Callable[..., flags.FlagHolder]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def _define_setting(field: dataclasses.Field) -> flags.FlagHolder:
    """A flag that is None unless given, so that the defaults stay in one place."""
    define = _DEFINE[field.type]
    if "Default:" in field.metadata["help"]:  # one that depends on other flags
        default = ""
    elif field.default is not dataclasses.MISSING:
        default = f" Default: {field.default!r}."
    elif field.name == "task":
        default = " Required, unless there is data of your own."
    else:
        default = " Default: the task's published value."
    return define(flag_name(field.name), None, field.metadata["help"] + default)


# Groups of flags: each field with a help text is one.
KINDS = (Settings, *GROUPS.values(), DataSettings, PredictSettings)
SETTINGS = {  # the flag of each setting of a run, by its name
    field.name: _define_setting(field) for field in (*FIELDS.values(), *dataclasses.fields(DataSettings))
}
PREDICT_SETTINGS = {field.name: _define_setting(field) for field in dataclasses.fields(PredictSettings)}


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; what is left of `argv` comes back. A flag that cannot be read ends the process with code 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(error)


def _predicts_files() -> bool:
    """Whether `--predict_file` is given, and what it needs is, too."""
    given = [name for name, flag in PREDICT_SETTINGS.items() if flag.value is not None]
    if given and not PREDICT_SETTINGS["predict_file"].value:
        raise InputError(f"--{given[0]}: is for the prediction of new files; expected --predict_file, too.")
    if given and (_STAGE.value != "predict" or _SEEDS.value != 1):
        raise InputError("--predict_file: expected --stage=predict, with one model that is trained already.")
    return bool(given)


def _predict_settings() -> PredictSettings:
    values = {name: flag.value for name, flag in PREDICT_SETTINGS.items()}
    return PredictSettings(**{name: value for name, value in values.items() if value is not None})


def _fail(error: Exception) -> NoReturn:
    print("error:", *str(error).split(), file=sys.stderr)  # one line, whatever a library put into it
    _leave(2)


def _leave(code: int) -> NoReturn:
    if came_together():
        # The usual way out would wait for the other processes, which may wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: list[str]) -> None:
    """Flags -> settings -> pipeline; what the user can put right is one line and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be no UTF-8; stderr writes them so by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    # TensorFlow's warnings that a function is traced for each new length are no news: so it is meant.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not flags.FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # an export has much to say about itself
    try:
        if len(argv) > 1:
            raise InputError(f"{' '.join(argv[1:])}: expected flags only, such as --task=MRPC.")
        given: dict[str, Any] = {name: flag.value for name, flag in SETTINGS.items()}
        if _predicts_files():
            with heeding_sigterm():
                predict_files(read_predict_request(_predict_settings(), given), _OVERWRITE.value)
            return
        recorded = None
        if _CONFIG.value:
            given, recorded = repeated(_CONFIG.value, given)
        # Processes come together before TensorFlow does anything, as with the data; and before SIGTERM is heeded, as
        # TensorFlow has a handler of its own then.
        with distributing(given["distribution"] or "none", given["tpu"] or ""), heeding_sigterm():
            settings, own = in_all(lambda: read_request(given))
            run_pipeline(settings, _STAGE.value, _OVERWRITE.value, _SEEDS.value, own, recorded)
    except ProcessLostError as error:
        print(f"\nerror: {error}; {_GO_ON} in all processes", file=sys.stderr)
        _leave(LOST_EXIT_CODE)
    except (InputError, OSError) as error:
        _fail(error)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {_GO_ON}", file=sys.stderr)
        _leave(130)
    except Terminated as where:
        print(f"\nterminated: {where}; {_GO_ON}" if str(where) else f"\nterminated: {_GO_ON}", file=sys.stderr)
        _leave(EXIT_CODE)
    except Exception:
        if came_together():
            traceback.print_exc()
            _leave(1)
        raise


def run() -> None:
    """The process of `run_glue.py`, and of the command `powerbert`."""
    # --help tells the flags and the docstring of the script that runs, which has neither.
    sys.modules["__main__"].__doc__ = __doc__
    for flag in flags.FLAGS.get_flags_for_module(__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(main, flags_parser=parse)
