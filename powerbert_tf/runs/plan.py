"""Which stages have to run, and which results are out of date once they have."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import FIELDS, Settings, flag_name

_FORMATS = "export_format"  # was recorded with an export's settings once, and is no part of them any more


def plan_stages(run: Run, wanted: Sequence[str], overwrite: bool) -> dict[str, str]:
    """Which stages have to run, and why.

    Args:
        run: What is there and what is asked for.
        wanted: Stages that the user asked for.
        overwrite: Whether these run again, and others that do not fit any more.

    Raises:
        InputError: A stage that is needed is there with other settings, or is damaged, or what it was made from is
            missing; and `overwrite` is not given.
    """
    plan: dict[str, str] = {}

    def need(name: str, why: str) -> None:
        for before in _dependencies(name, run.settings):
            need(before, f"needed for {name}")
        if name in plan:
            return
        where = run.folder.stage(name)
        try:
            result = run.folder.result(name)
        except InputError:
            if not overwrite:
                raise
            plan[name] = f"{why}; the result that is there is damaged"
            return
        renewed = [before for before in _dependencies(name, run.settings) if before in plan]
        differences = "" if result is None else _differences(result, run.settings_of(name))
        begun = run.folder.begun(name)
        if begun == run.settings_of(name):
            plan[name] = f"{why}; an interrupted run of it goes on"
        elif begun is not None and not overwrite and (result is None or differences or renewed):
            raise InputError(
                f"{where}.partial holds a run that was interrupted, with other settings: "
                f"{_differences({'settings': begun}, run.settings_of(name))}. Use the same ones to go on with it, "
                "another --output_dir, or --overwrite to begin anew."
            )
        elif result is None:
            plan[name] = f"{why}, and not there" if name not in wanted else why
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
    before_retrain = ("finetune", "search") if settings.search.searches else ("finetune",)
    return {
        "finetune": (),
        "search": ("finetune",),
        "retrain": before_retrain,
        "evaluate": ("finetune", "retrain"),
        "predict": ("retrain",),
        "export": (settings.export.export_model,),
        "elastic": ("finetune",),
        "pareto": ("finetune",),
        "explain": ("finetune", "retrain"),
        "report": ("finetune", "retrain", "evaluate"),
    }[stage]


def remove_dependents(folder: RunFolder, stage: str, settings: Settings) -> None:
    """Removes results that are out of date now that `stage` has run again; a served model is nobody's to remove."""
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
            say(f"  {later}: removed, it was made from the {stage} before{stays}")


def _written(folder: RunFolder, settings: Settings) -> str:
    """Where an export wrote, as far as that can be read; else, where one with these settings does."""
    try:
        names = (folder.result("export") or {})["formats"]
    except (InputError, KeyError):
        names = settings.export.formats
    return ", ".join(EXPORT_FORMATS[name].folder for name in names)


def _differences(result: dict[str, Any], settings: dict[str, Any]) -> str:
    # What an earlier version had no setting for, it did as the default does today.
    defaults = {flag_name(field.name): field.default for field in FIELDS.values()}
    unset = {name: defaults[name] for name in settings.keys() & defaults if defaults[name] is not dataclasses.MISSING}
    recorded = {**unset, **result["settings"]}
    recorded.pop(_FORMATS, None)
    return "; ".join(
        f"{name} was {recorded.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted(recorded.keys() | settings.keys())
        if recorded.get(name) != settings.get(name)
    )
