"""`powerbert serve`: flags -> settings -> the folder of versions, exported first where there is none -> the server."""

import argparse
import dataclasses
import functools
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from powerbert_tf.common import native_log
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.common.reporting import say
from powerbert_tf.common.termination import EXIT_CODE, Terminated, fail, heeding_sigterm
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.runs.config_file import CONFIG_FILE
from powerbert_tf.runs.result_schema import OUT_OF_DATE, RESULT_FILE, result_problem
from powerbert_tf.server.answers import Model
from powerbert_tf.server.settings import ServerSettings
from powerbert_tf.server.version_folders import is_version, newest_version
from powerbert_tf.server.versions import Versions

_USAGE = """Answers texts over HTTP with the exported model of a run. It is for trying a
model out and for small deployments; TensorFlow Serving is for large ones.

The model of a run: the form that --stage=deploy chose, or its export, which
is made first if it is missing:
  powerbert serve runs/reviews
A folder of versions, or one version, on another port:
  powerbert serve runs/reviews/saved_model --port=9000
Then:
  curl -s localhost:8080/predict -d '{"texts": ["A film to remember."]}'
"""
_WIDTH = 80
_PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}
_HELP = ("-h", "-help", "--help", "-?", "--helpshort", "--helpfull")
_EXPORT = "import sys; from powerbert_tf.command_line import start; sys.argv[0] = 'powerbert'; start()"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(InputError(f"{message}; powerbert serve --help lists the flags."))


def help_text() -> str:
    """What `powerbert serve --help` prints."""
    lines = [_USAGE, "Flags:"]
    for field in dataclasses.fields(ServerSettings):
        lines.append(f"  --{field.name}")
        text = f"{field.metadata['help']} Default: {field.default!r}."
        lines.append(textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(lines) + "\n"


def parse(argv: Sequence[str]) -> tuple[Path, ServerSettings]:
    """Reads the folder and the flags; help, and wrong flags, end the process.

    Raises:
        InputError: A value is out of its range.
    """
    if any(argument in _HELP for argument in argv):
        print(help_text(), end="")
        sys.exit(0)
    parser = _Parser(prog="powerbert serve", add_help=False, allow_abbrev=False)
    parser.add_argument("folder")
    for field in dataclasses.fields(ServerSettings):
        parser.add_argument(f"--{field.name}", type=field.type, default=field.default)  # type: ignore[arg-type]
    given = vars(parser.parse_args(argv))
    return Path(given.pop("folder")), ServerSettings(**given)


def versions_folder(folder: Path) -> Path:
    """The folder of versions, or the version, that `folder` means: itself, or that of the run; exported if missing.

    If `--stage=deploy` has chosen a form for the run, it is that version, or the file that describes another runtime.

    Raises:
        InputError: It is none of these, or the export failed; the export has said why.
        Terminated: The process was asked to end while it exported.
    """
    if is_version(folder) or newest_version(folder):
        return folder
    if chosen := _chosen_form(folder):
        return chosen
    exported = folder / EXPORT_FORMATS[DEFAULT_FORMAT].folder
    if newest_version(exported):
        return exported
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{folder}: no exported model; expected the folder of a run, or of exported versions.")
    say(f"{folder} has no exported model: exporting it")
    # In a process of its own, so that the server does not keep the memory of Keras and the data.
    with heeding_sigterm():
        done = subprocess.run([sys.executable, "-c", _EXPORT, f"--task={folder}", "--stage=export"], check=False)
    if done.returncode or not newest_version(exported):
        raise InputError(f"{folder}: cannot be exported; see above.")
    return exported


def _chosen_form(run: Path) -> Path | None:
    """What `--stage=deploy` chose for a run; None if it has not run, chose none, or the run has changed since.

    Raises:
        InputError: Its result is damaged.
    """
    path = run / "deploy" / RESULT_FILE
    if not path.is_file():
        return None
    try:
        result = read_object(path)
        problem = result_problem("deploy", result)
    except ValueError as error:
        problem = f"damaged ({error})"
    if problem:
        raise InputError(f"{path}: {problem}; run --stage=deploy --overwrite.")
    chosen = result.get("chosen")
    if not chosen or OUT_OF_DATE in result:
        say(f"{run}: --stage=deploy chose no form of this model; serving its export")
        return None
    say(f"{run}: serving the form that --stage=deploy chose, {chosen['title']}")
    return run / (chosen["model"] if chosen["format"] == DEFAULT_FORMAT else chosen["serve"])


def _loader(path: Path, signature: str) -> Callable[[Path], Model]:
    """What loads a version, or the form that a file describes; imports TensorFlow only for the former."""
    if path.is_file():
        if signature != ServerSettings.signature:
            raise InputError(f"--signature={signature}: {path} has no signatures; expected the folder of versions.")
        from powerbert_tf.server.deployed import DeployedModel

        return DeployedModel.load
    with native_log.held():
        import tensorflow as tf

        from powerbert_tf.server.saved_model import ServedModel

        tf.config.list_physical_devices("GPU")  # which is logged here, where there is none
    return functools.partial(ServedModel.load, signature=signature)


def start(argv: Sequence[str]) -> NoReturn:
    """Runs the command and ends the process. An error that the user can fix is one line, with exit code 2."""
    try:
        folder, settings = parse(argv)
        missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
        if missing:
            raise InputError(f"{', '.join(missing)} not installed; pip install {' '.join(missing)}.")
        from powerbert_tf.server.process import listen, serve  # needs these packages

        with listen(settings) as listening:
            path = versions_folder(folder)
            serve(listening, Versions(path, _loader(path, settings.signature)), settings)
    except (InputError, OSError) as error:
        fail(error)
    except Terminated:
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
