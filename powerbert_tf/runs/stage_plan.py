"""Which stages have to run, and which results are out of date once they have."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.export.formats import EXPORT_FORMATS
from powerbert_tf.runs.deployment import why_again
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.result_schema import OUT_OF_DATE, RESULT_FILE
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import READING_STAGES, STAGES, Settings
from powerbert_tf.runs.task_file import RUN_FLAGS

_FORMATS = "export_format"  # an earlier version recorded it with the settings of an export


def plan_stages(run: Run, wanted: Sequence[str], overwrite: bool) -> dict[str, str]:
    """Plans which stages have to run, and why.

    `overwrite` runs the stages wanted again, and the stages they need if their results have other settings. Where only
    stages are wanted that read a run, it never trains again what is there.

    Raises:
        InputError: Without `overwrite`: the result of a stage that is needed has other settings, is damaged, or was
            made from a result that is missing. With it: that of a training that stages read.
    """
    plan: dict[str, str] = {}
    reads = {*wanted} <= {*READING_STAGES}

    def need(name: str, why: str) -> None:
        dependencies = _dependencies(name, run.settings)
        for before in dependencies:
            need(before, f"needed for {name}")
        if name in plan:
            return
        where = run.folder.stage(name)
        settings = run.settings_of(name)
        is_kept = reads and name not in READING_STAGES
        replaces = overwrite and not is_kept
        try:
            result = run.folder.result(name)
        except InputError:
            if not replaces:
                raise
            plan[name] = f"{why}; the result that is there is damaged"
            return
        renewed = [before for before in dependencies if before in plan]
        differences = "" if result is None else _differences(result["settings"], settings)
        begun = run.folder.begun(name)
        if begun == settings:
            plan[name] = f"{why}; resumes an interrupted run"
        elif begun is not None and not replaces and (result is None or differences or renewed):
            raise InputError(
                f"{where}.partial holds a run that was interrupted, with other settings: "
                f"{_differences(begun, settings)}. Use the same ones to resume it, or another --output_dir; "
                f"--stage={name} --overwrite starts again."
            )
        elif result is None:
            plan[name] = why if name in wanted else f"{why}, and not there"
        elif replaces and (name in wanted or differences or renewed):
            plan[name] = f"{why}; what is there is overwritten"
        elif differences:
            raise InputError(
                f"{where} was made with other settings: {differences}. {_advice(run, name, wanted, is_kept)}"
            )
        elif renewed:
            raise InputError(
                f"{where} is there, but not the {renewed[0]} that it was made from; --stage={name} --overwrite makes "
                f"both again{_losses(run, renewed[0])}."
            )
        elif reason := result.get(OUT_OF_DATE):
            plan[name] = f"{why}; out of date, as {reason}"
        elif name == "export" and (missing := set(run.settings.export.formats) - run.exported().keys()):
            plan[name] = f"{why}; {', '.join(sorted(missing))} not there yet"
        elif name == "deploy" and (reason := why_again(run, result)):
            plan[name] = f"{why}; {reason}"

    for name in wanted:
        need(name, "asked for")
    return plan


def _advice(run: Run, name: str, wanted: Sequence[str], is_kept: bool) -> str:
    """What to do about a result with other settings, the harmless first."""
    same = f"Leave these flags out: --task={run.folder.root} takes the run's own settings; or use another --output_dir"
    if is_kept:
        return f"{same}, which trains a run of its own."
    stage = "" if [*wanted] == [name] else f"--stage={name} "
    return f"{same}. {stage}--overwrite runs {name} again{_losses(run, name)}."


def _losses(run: Run, name: str) -> str:
    """What running a stage again removes, as the end of a sentence."""
    lost = [other for other in _dependents(name, run.settings) if _is_there(run.folder, other)]
    return f" and removes {', '.join(lost)}" if lost and name not in _MARKS else ""


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
        "deploy": (settings.export.export_model,),
    }[stage]


# Stages after which what was made from an earlier result is marked as out of date, and not removed.
_MARKS = (*READING_STAGES, "pareto")


def _dependents(stage: str, settings: Settings) -> tuple[str, ...]:
    """Stages whose results are out of date when `stage` has run again."""
    last = ("evaluate", "predict", "export", "explain", "report", "deploy")
    dependents: dict[str, tuple[str, ...]] = {
        "finetune": ("search", "retrain", *last, "elastic", "pareto"),
        "search": ("retrain", *last),
        "retrain": last,
        "evaluate": ("report",),
        "pareto": ("report",),
        "elastic": ("pareto", "export") if settings.export.export_model == "elastic" else ("pareto",),
    }
    return dependents.get(stage, ())


def _is_there(folder: RunFolder, stage: str) -> bool:
    return (folder.stage(stage) / RESULT_FILE).exists()


def consequences(folder: RunFolder, plan: Collection[str], settings: Settings) -> list[str]:
    """What will be replaced, removed or out of date once the stages of a plan have run, in a line each."""
    replaced = [name for name in plan if _is_there(folder, name)]
    later = {name: [other for other in _dependents(name, settings) if other not in plan] for name in plan}

    def found(by: Collection[str]) -> list[str]:
        return [name for name in STAGES if any(name in later[one] for one in by) and _is_there(folder, name)]

    removed = found([name for name in plan if name not in _MARKS])
    expired = [name for name in found([name for name in plan if name in _MARKS]) if name not in removed]
    lines = [
        ("will be replaced", replaced, ""),
        ("will be removed, as they were made from what is replaced", removed, _stays(folder, removed, settings)),
        ("will be out of date", expired, ""),
    ]
    return [f"{folder.root}: {', '.join(names)} {what}{more}" for what, names, more in lines if names]


def _stays(folder: RunFolder, removed: Collection[str], settings: Settings) -> str:
    return f"; what the export wrote to {_written(folder, settings)} stays" if "export" in removed else ""


def settle_dependents(folder: RunFolder, stage: str, settings: Settings) -> None:
    """Removes results that are out of date now that `stage` has run again, but never an exported model.

    After a stage that trains nothing, they are only marked.
    """
    for later in _dependents(stage, settings):
        if stage in _MARKS:
            if folder.expire(later, f"{stage} ran again"):
                say(f"  {later}: out of date now; --stage={later} makes it again")
            continue
        was_there = _is_there(folder, later)
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
