"""Exports the forms that are compared; those of one runtime share a folder, and a folder that is there is kept."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import first_line
from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.common.reporting import say, without_chatter
from powerbert_tf.export.deployment.forms import FORMS
from powerbert_tf.export.formats import DEFAULT_FORMAT
from powerbert_tf.export.request import ExportRequest
from powerbert_tf.export.runtimes import write_runtime
from powerbert_tf.export.saved_model import write_saved_model
from powerbert_tf.export.settings import ExportSettings

_MARK = "made_from.json"  # in a folder that is whole
_INT8 = "int8"  # key of the mark
VERSION = "1"  # of a SavedModel


def export_forms(
    names: Sequence[str],
    request_of: Callable[[ExportSettings], ExportRequest],
    given: ExportSettings,
    made_from: Mapping[str, Any],
    folder: Path,
    replacing: Callable[[str], AbstractContextManager[Path]],
) -> dict[str, str]:
    """Exports forms into `folder`, unless they are there.

    Args:
        names: Of the forms, in `forms.FORMS`.
        request_of: Makes the request to export with some settings.
        given: The settings of the run's exports.
        made_from: What an export depends on, JSON values.
        folder: Where the folders of the forms are.
        replacing: Gives a folder to write to, which replaces the one of that name when its block ends.

    Returns:
        The reason of each form that cannot be exported.
    """
    problems: dict[str, str] = {}
    for place in dict.fromkeys(FORMS[name].folder for name in names):
        sharing = [name for name in names if FORMS[name].folder == place]
        int8 = [name for name in sharing if FORMS[name].precision == _INT8]
        # Weights of 8 bits may fail where those of 32 do not.
        for some in dict.fromkeys((tuple(sharing), tuple(name for name in sharing if name not in int8))):
            if not some or _is_there(folder / place, made_from, needs_int8=bool({*some} & {*int8})):
                break
            try:
                say(f"  exporting {', '.join(some)}")
                _write(some, request_of, given, made_from, replacing, place)
                break
            except Exception as error:  # of any library: the other forms are measured all the same
                problems |= dict.fromkeys(int8 if int8 and some == tuple(sharing) else some, first_line(error))
    for name, problem in problems.items():
        say(f"  {name}: cannot be exported ({problem})")
    return problems


def _is_there(folder: Path, made_from: Mapping[str, Any], needs_int8: bool) -> bool:
    try:
        mark = read_object(folder / _MARK)
    except (OSError, ValueError):
        return False
    return bool(mark.pop(_INT8, False) or not needs_int8) and mark == made_from


def _write(
    names: tuple[str, ...],
    request_of: Callable[[ExportSettings], ExportRequest],
    given: ExportSettings,
    made_from: Mapping[str, Any],
    replacing: Callable[[str], AbstractContextManager[Path]],
    place: str,
) -> None:
    form = next((FORMS[name] for name in names if FORMS[name].precision == _INT8), FORMS[names[0]])
    request = request_of(form.export_settings(given))
    with replacing(place) as folder, without_chatter():
        if form.format == DEFAULT_FORMAT:
            with write_saved_model(request, folder):
                pass
        else:
            write_runtime(request, folder, form.format)
        write_json(folder / _MARK, {**made_from, _INT8: form.precision == _INT8})


def model_folder(name: str) -> str:
    """Where the model of a form is, relative to the folder of all."""
    form = FORMS[name]
    return f"{form.folder}/{VERSION}" if form.format == DEFAULT_FORMAT else form.folder
