"""The command line: flags -> settings -> the pipeline.

Flags are read and checked before TensorFlow is imported, which takes seconds: `main` imports what needs it.
"""

import dataclasses
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from powerbert_tf.common import native_log
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import flag_name
from powerbert_tf.common.termination import fail
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs.asked import Asked, check_stage, check_values, remember
from powerbert_tf.runs.flag_groups import help_text
from powerbert_tf.runs.settings import ALL, FIELDS, STAGES

_STAGE = flags.DEFINE_string(
    "stage", ALL, f"{ALL}, or one of {', '.join(STAGES)}; stages it needs that are missing run first."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 1, "Number of runs, with --seed and the seeds after it, each in its own folder; reports mean and spread."
)
_CONFIG = flags.DEFINE_string(
    "config", None, "The config.json of an earlier run to repeat; flags on the command line win over those in it."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Run the stage again even if its result is there; lists first what will be replaced or removed. Stages that only "
    "read a run never train again.",
)

_DEFINE: dict[Any, Callable[..., flags.FlagHolder]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}
# Instead of absl's, which list everything under the path of the script.
_HELP, _HELP_FULL, _VERSION = ("-h", "-help", "--help", "-?", "--helpshort"), ("--helpfull",), ("--version",)


def _define_setting(field: dataclasses.Field) -> flags.FlagHolder:
    """A flag that is None unless given, so that the defaults stay in one place."""
    define = _DEFINE[field.type]
    if "Default:" in field.metadata["help"] or field.default == "":  # a default that depends on other flags, or none
        default = ""
    elif field.default is not dataclasses.MISSING:
        default = f" Default: {field.default!r}."
    elif field.name == "task":
        default = " Required, unless you give your own data."
    else:
        default = " Default: the task's published value."
    return define(flag_name(field.name), None, field.metadata["help"] + default)


# Flags by the names of their settings; each field with a help text is a flag.
SETTINGS = {field.name: _define_setting(field) for field in (*FIELDS.values(), *dataclasses.fields(DataSettings))}
PREDICT_SETTINGS = {field.name: _define_setting(field) for field in dataclasses.fields(PredictSettings)}


def parse(argv: list[str]) -> list[str]:
    """Parses flags and returns the rest of `argv`. A wrong flag ends the process with code 2."""
    for argument in argv[1:]:
        if argument == "--":
            break
        if argument in (*_HELP, *_HELP_FULL):
            print(help_text(flags.FLAGS, full=argument in _HELP_FULL), end="")
            sys.exit(0)
        if argument in _VERSION:
            print(f"powerbert {sys.modules['powerbert_tf'].__version__}")
            sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        fail(error)


def _predict_settings() -> PredictSettings | None:
    """The settings of a prediction of new texts; None without `--predict_file` or `--text`."""
    given = {name: flag.value for name, flag in PREDICT_SETTINGS.items() if flag.value is not None}
    if not given:
        return None
    if not given.get("predict_file") and not given.get("text"):
        raise InputError(
            f"--{next(iter(given))}: is for the prediction of new texts; expected --predict_file or --text, too."
        )
    if _STAGE.value != "predict" or _SEEDS.value != 1:
        of = "predict_file" if given.get("predict_file") else "text"
        raise InputError(f"--{of}: expected --stage=predict, with one trained model.")
    return PredictSettings(**given)


def _read_flags(argv: Sequence[str]) -> tuple[Asked, PredictSettings | None]:
    """What the flags ask for, checked as far as that needs no TensorFlow."""
    if len(argv) > 1:
        raise InputError(f"{' '.join(argv[1:])}: expected flags only, such as --task=MRPC.")
    check_stage(_STAGE.value, _SEEDS.value)
    given: dict[str, Any] = {name: flag.value for name, flag in SETTINGS.items()}
    if predict := _predict_settings():
        return Asked(given, Path(_CONFIG.value).parent if _CONFIG.value else None), predict
    asked = remember(given, _STAGE.value, _CONFIG.value or "")
    check_values(asked.given)
    return asked, None


def main(argv: list[str]) -> None:
    """Runs what the flags ask for. An error that the user can fix is one line, with exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names that are not UTF-8; stderr does so by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    if not flags.FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # exports log a lot
    try:
        asked, predict = _read_flags(argv)
    except (InputError, OSError) as error:
        fail(error)
    # TensorFlow warns that functions are traced for each new length, which is intended.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with native_log.held():
            from powerbert_tf.runs.job import describe_device, run_job

            device = describe_device(asked.given.get("distribution") or "none")
    except KeyboardInterrupt:
        sys.exit(130)
    if device and not (predict and predict.text):  # nothing but answers is printed there
        print(device, flush=True)
    run_job(asked, predict, _STAGE.value, _OVERWRITE.value, _SEEDS.value)


def start() -> None:
    """Starts the process of `run_glue.py`, or of the command `powerbert`; `powerbert serve` has flags of its own."""
    if sys.argv[1:2] == ["serve"]:
        from powerbert_tf.server import command

        command.start(sys.argv[2:])
    app.run(main, flags_parser=parse)
