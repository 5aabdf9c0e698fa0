"""Which stages have to run, and which results are out of date once they have."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import Settings
from powerbert_tf.runs.task_file import RUN_FLAGS

_FORMATS = "export_format"  # an earlier version recorded it with the settings of an export


def plan_stages(run: Run, wanted: Sequence[str], overwrite: bool) -> dict[str, str]:
    """Plans which stages have to run, and why.

    `overwrite` runs the stages wanted again, and the stages they need if their results have other settings.

    Raises:
        InputError: Without `overwrite`: the result of a stage that is needed has other settings, is damaged, or was
            made from a result that is missing.
    """
    plan: dict[str, str] = {}

    def need(name: str, why: str) -> None:
        dependencies = _dependencies(name, run.settings)
        for before in dependencies:
            need(before, f"needed for {name}")
        if name in plan:
            return
        where = run.folder.stage(name)
        settings = run.settings_of(name)
        try:
            result = run.folder.result(name)
        except InputError:
            if not overwrite:
                raise
            plan[name] = f"{why}; the result that is there is damaged"
            return
        renewed = [before for before in dependencies if before in plan]
        differences = "" if result is None else _differences(result["settings"], settings)
        begun = run.folder.begun(name)
        if begun == settings:
            plan[name] = f"{why}; resumes an interrupted run"
        elif begun is not None and not overwrite and (result is None or differences or renewed):
            raise InputError(
                f"{where}.partial holds a run that was interrupted, with other settings: "
                f"{_differences(begun, settings)}. Use the same ones to resume it, another --output_dir, or "
                "--overwrite to start again."
            )
        elif result is None:
            plan[name] = why if name in wanted else f"{why}, and not there"
        elif overwrite and (name in wanted or differences or renewed):
            plan[name] = f"{why}; what is there is overwritten"
        elif differences:
            raise InputError(
                f"{where} was made with other settings: {differences}. Use the same ones, another --output_dir, or "
                "--overwrite to run it again."
            )
        elif renewed:
            raise InputError(
                f"{where} is there, but not the {renewed[0]} that it was made from; pass --overwrite to make both "
                "again."
            )
        elif name == "export" and (missing := set(run.settings.export.formats) - run.exported().keys()):
            plan[name] = f"{why}; {', '.join(sorted(missing))} not there yet"

    for name in wanted:
        need(name, "asked for")
    return plan


def _dependencies(stage: str, settings: Settings) -> tuple[str, ...]:
    """The stages whose files `stage` reads."""
    return {
        "finetune": (),
        "search": ("finetune",),
        "retrain": ("finetune", "search") if settings.search.searches else ("finetune",),
        "evaluate": ("finetune", "retrain"),
        "predict": ("retrain",),
        "export": (settings.export.export_model,),
        "elastic": ("finetune",),
        "pareto": ("finetune",),
        "explain": ("finetune", "retrain"),
        "report": ("finetune", "retrain", "evaluate"),
    }[stage]


def remove_dependents(folder: RunFolder, stage: str, settings: Settings) -> None:
    """Removes results that are out of date now that `stage` has run again, but never an exported model."""
    last = ("evaluate", "predict", "export", "explain", "report")
    dependents = {
        "finetune": ("search", "retrain", *last, "elastic", "pareto"),
        "search": ("retrain", *last),
        "retrain": last,
        "evaluate": ("report",),
        "pareto": ("report",),
        "elastic": ("pareto", "export") if settings.export.export_model == "elastic" else ("pareto",),
    }
    for later in dependents.get(stage, ()):
        was_there = folder.stage(later).exists()
        stays = f"; what it wrote to {_written(folder, settings)} stays" if was_there and later == "export" else ""
        folder.remove(later)
        if was_there:
            say(f"  {later}: removed, as it was made from the previous {stage}{stays}")


def _written(folder: RunFolder, settings: Settings) -> str:
    """Where an export wrote; if its result is damaged, where one with these settings would."""
    try:
        names = (folder.result("export") or {})["formats"]
    except (InputError, KeyError):
        names = settings.export.formats
    return ", ".join(EXPORT_FORMATS[name].folder for name in names)


def _differences(recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Lists settings that differ; those that an earlier version did not have had today's defaults."""
    defaults = {
        name: RUN_FLAGS[name].default
        for name in settings.keys() & RUN_FLAGS
        if RUN_FLAGS[name].default is not dataclasses.MISSING
    }
    before = {**defaults, **recorded}
    before.pop(_FORMATS, None)
    return "; ".join(
        f"{name} was {before.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name)
    )
