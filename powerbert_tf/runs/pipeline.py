"""The pipeline: the stages of a run one after the other, once or for several seeds."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, remove_unfinished, write_json
from powerbert_tf.common.locks import locked
from powerbert_tf.common.reporting import reporting, say
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.data.rejected_rows import write_rejected
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.models.precision import computing_in
from powerbert_tf.runs.asked import check_stage
from powerbert_tf.runs.config_file import CONFIG_FILE, OWN_DATA, Recorded, changes, provenance
from powerbert_tf.runs.deployment import forget_measurements
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.preparation import check_plan, prepare
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import ALL, GROUPS, MAIN_STAGES, ONE_OFF, READING_STAGES, STAGES, Settings
from powerbert_tf.runs.stage_plan import consequences, plan_stages, settle_dependents
from powerbert_tf.runs.stage_runner import run_stage
from powerbert_tf.runs.stages.search import drop_searched_weights
from powerbert_tf.runs.summaries import print_found, print_summary, report_seeds, say_next
from powerbert_tf.runs.task_file import repeat_task
from powerbert_tf.search.settings import SEARCH_METHODS
from powerbert_tf.training.distribution.devices import check_batch_size
from powerbert_tf.training.distribution.launch import distributing
from powerbert_tf.training.distribution.processes import by_chief, in_all, require_same, wait_for_all

_ORDER = (*(stage for stage in STAGES if stage != "export"), "export")  # last: it may export the elastic weights
_CHIEF_ONLY = ("predict", "export", "explain", "report", "deploy")  # stages that the chief runs alone
_OF_MACHINE = ("data_dir", "output_dir", "cache_dir")  # settings that may differ between processes
_SECONDS_TO_APPEAR = 60  # of a file, on a network file system


def run(
    settings: Settings,
    stage: str = ALL,
    overwrite: bool = False,
    seeds: int = 1,
    own: OwnData | None = None,
    recorded: Recorded | None = None,
    verbose: int = 1,
    root: Path | None = None,
) -> None:
    """Runs a stage, or all, and whatever it needs that is not there yet.

    Everything that can be checked is checked before the first training step.

    Args:
        settings: Settings of the run.
        stage: One of `STAGES`, or `"all"` for all of `MAIN_STAGES`.
        overwrite: Whether `stage` runs again, and so do the stages it needs if they have other settings or are damaged.
        seeds: Number of runs, with `settings.training.seed` and those after it. With more than one, each has a folder
            `seed-<seed>` of its own, and mean and spread are reported at the end.
        own: The user's own data; None for a GLUE task.
        recorded: An earlier run that this one repeats; changes in data, checkpoint and versions are reported.
        verbose: 0 for no output, 1 for lines and progress bars.
        root: The folder of the run; None for `<output_dir>/<task>`.

    Raises:
        InputError: Bad input, or results with other settings are in the way.
        OSError: Files cannot be written.
    """
    check_stage(stage, seeds)
    if stage == "search" and not settings.search.searches:
        raise InputError("--stage=search: --retention_configuration is given, which replaces a search.")
    left_out = set() if settings.search.searches else {"search"}
    if own is not None and "test" not in own.dataset.splits:
        if stage == "predict":
            raise InputError("--stage=predict: no data to predict; expected --test_file, or --predict_file.")
        left_out.add("predict")
    wanted = [name for name in MAIN_STAGES if name not in left_out] if stage == ALL else [stage]
    root = root or Path(settings.output_dir) / settings.task
    if settings.training.deterministic:
        # As long as the process lives. Measured times, and searches that depend on them, still vary.
        tf.config.experimental.enable_op_determinism()
    run_once = functools.partial(_run_once, wanted=wanted, overwrite=overwrite, own=own, recorded=recorded)
    with (
        reporting(verbose),
        distributing(settings.training.distribution, settings.training.tpu),
        computing_in(settings.inference.precision),
    ):
        if own is not None:
            say(own.summary)
        check_batch_size(settings.training.batch_size)
        if seeds == 1:
            run_once(settings, root)
            return
        folders = {}
        for seed in range(settings.training.seed, settings.training.seed + seeds):
            say(f"seed {seed}")
            folders[seed] = run_once(settings.replace(seed=seed), root / f"seed-{seed}")
        by_chief(lambda: report_seeds(settings, root, folders, wanted))


def _run_once(
    settings: Settings,
    root: Path,
    wanted: Sequence[str],
    overwrite: bool,
    own: OwnData | None,
    recorded: Recorded | None,
) -> RunFolder:
    run = in_all(lambda: prepare(settings, root, own))
    require_same("--", {name: value for name, value in run.resolved().items() if name not in _OF_MACHINE})
    with contextlib.ExitStack() as held:
        by_chief(lambda: held.enter_context(locked(root)))
        plan = by_chief(lambda: _begin(run, wanted, overwrite, own, recorded))
        in_all(lambda: _require_shared(run.folder, plan))
        if set(plan) & {"search", "evaluate", "elastic", "pareto"}:
            run.share_costs()
        for name in _ORDER:
            if name in plan:
                say(f"{name}: running ({plan[name]})")
                _run_stage(run, name, overwrite)
                if name == "search" and "evaluate" not in plan:
                    print_found(run)
                say(f"{name}: done, {_written(run.folder, name)}")
            elif name in wanted:
                say(f"{name}: already there, reused ({run.folder.stage(name)}); --overwrite runs it again")
        if {"search", "retrain"} <= {*wanted}:  # the whole run; one stage alone may be followed by another try
            by_chief(lambda: drop_searched_weights(run))
        if "evaluate" in wanted:
            print_summary(run)
            say_next(run)
        wait_for_all()
    return run.folder


def _written(folder: RunFolder, stage: str) -> Path:
    """The page that a stage wrote, to open; else its folder."""
    result = folder.result(stage) if stage in _CHIEF_ONLY else None
    return folder.stage(stage) / (result or {}).get("file", "")


def _run_stage(run: Run, name: str, overwrite: bool) -> None:
    if name == "deploy" and overwrite:
        by_chief(lambda: forget_measurements(run))
    remove = functools.partial(settle_dependents, run.folder, name, run.settings)
    stage = functools.partial(run_stage, run.exporting(overwrite) if name == "export" else run, name, remove)
    if name in _CHIEF_ONLY or (name == "search" and not SEARCH_METHODS[run.settings.search.search_method].trains):
        by_chief(stage)
    else:
        stage()


def _begin(
    run: Run, wanted: Sequence[str], overwrite: bool, own: OwnData | None, recorded: Recorded | None
) -> dict[str, str]:
    """Plans the stages and writes the settings; first publishes stages that were complete when interrupted."""
    folder = run.folder
    remove_unfinished(folder.root)
    for name in STAGES:
        if folder.is_complete(name):
            say(f"{name}: was complete when its run was interrupted")
            settle_dependents(folder, name, run.settings)
            folder.publish(name)
    plan = plan_stages(run, wanted, overwrite)
    if plan:
        check_plan(run, plan, overwrite)
        for line in consequences(folder, plan, run.settings):
            say(line)
        write_settings(run, own, {*plan} <= {*READING_STAGES}, recorded)
    return plan


def write_settings(run: Run, own: OwnData | None, reads: bool = False, recorded: Recorded | None = None) -> None:
    """Writes `config.json`, and of a user's own data `task.json` and the rows that were left out.

    Args:
        run: A run with a folder.
        own: The user's own data; None for a GLUE task.
        reads: Whether only stages run that read what is there, whose settings stay.
        recorded: An earlier run that this one repeats; changes in data, checkpoint and versions are reported.
    """
    folder = run.folder
    config = {**run.resolved(), **provenance(run.checkpoint), OWN_DATA: own is not None}
    if reads:
        config |= _one_off_settings(folder.root / CONFIG_FILE)
    for line in changes(recorded.provenance, config) if recorded else ():
        say(f"--config: {line}")
    write_json(folder.root / CONFIG_FILE, config)
    if own is not None:
        repeated = repeat_task(run.task, run.settings, own.settings, run.tokenizer.lower_case)
        write_json(folder.root / TASK_FILE, repeated)
        write_rejected(folder.root, own.rejected)


def _one_off_settings(path: Path) -> dict[str, Any]:
    """Settings of the run that flags of a page or an export do not change; none if there is no run yet."""
    try:
        before = read_object(path)
    except (OSError, ValueError):
        return {}
    names = [field.name for group in ONE_OFF for field in dataclasses.fields(GROUPS[group])]
    return {name: before[name] for name in names if name in before}


def _require_shared(folder: RunFolder, plan: Collection[str]) -> None:
    """Checks that this process sees what the chief wrote, which may take a while to appear."""
    until = time.monotonic() + _SECONDS_TO_APPEAR
    while plan and not (folder.root / CONFIG_FILE).exists():
        if time.monotonic() > until:
            raise InputError(
                f"--output_dir: {folder.root / CONFIG_FILE}, which the chief wrote, is not here; expected a folder "
                "that all processes see."
            )
        time.sleep(0.1)
