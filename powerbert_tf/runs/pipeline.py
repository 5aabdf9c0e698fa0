"""A run: its stages one after the other, once or for several seeds."""

import contextlib
import functools
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import remove_unfinished, write_json
from powerbert_tf.common.locks import locked
from powerbert_tf.common.reporting import say
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.data.rejected_rows import write_rejected
from powerbert_tf.data.tasks import TASK_FILE
from powerbert_tf.models.precision import computing_in
from powerbert_tf.runs.config_file import OWN_DATA, Recorded, differences, provenance
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.plan import plan_stages, remove_dependents
from powerbert_tf.runs.preparation import check_plan, prepare
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import MAIN_STAGES, STAGES, Settings
from powerbert_tf.runs.stage_runner import run_stage
from powerbert_tf.runs.summaries import print_summary, tell_seeds
from powerbert_tf.runs.task_file import repeat_task
from powerbert_tf.training.distribution.processes import by_chief, in_all, require_same, wait_for_all
from powerbert_tf.training.distribution.strategies import check_batch_size, distributing

ALL = "all"
_ORDER = (*(stage for stage in STAGES if stage != "export"), "export")  # last: it may be of the elastic weights

_ALONE = ("predict", "export", "explain", "report")  # stages that are the chief's, who needs no others for them
_OF_MACHINE = ("data_dir", "output_dir", "cache_dir")  # settings that may differ between processes
_SECONDS_TO_APPEAR = 60  # of a file, on a network file system


def run(
    settings: Settings,
    stage: str = ALL,
    overwrite: bool = False,
    seeds: int = 1,
    own: OwnData | None = None,
    recorded: Recorded | None = None,
) -> None:
    """Runs a stage, or all, and whatever it needs that is not there yet.

    Everything that can be checked is checked before the first training step.

    Args:
        settings: Of the run.
        stage: One of `STAGES`, or `"all"` for all of `MAIN_STAGES`.
        overwrite: Whether `stage` is run again, and stages it needs that have other settings or are damaged are, too.
        seeds: How many runs, with `settings.training.seed` and those after it; with more than one, each has a folder
            `seed-<seed>` of its own, and mean and spread are told at the end.
        own: The user's own data; None for a GLUE task.
        recorded: An earlier run that this one repeats; what is not as it was is told.

    Raises:
        InputError: Bad input, or results with other settings are in the way.
        OSError: Files cannot be written.
    """
    if stage not in (*STAGES, ALL):
        raise InputError(f"--stage={stage}: no such stage; expected one of {', '.join((ALL, *STAGES))}.")
    if stage == "search" and not settings.search.searches:
        raise InputError("--stage=search: --retention_configuration is given, which takes the place of a search.")
    if seeds < 1:
        raise InputError(f"--seeds={seeds}: expected at least 1.")
    left_out = set() if settings.search.searches else {"search"}
    if own is not None:
        say(own.summary)
        if "test" not in own.dataset.splits:
            if stage == "predict":
                raise InputError("--stage=predict: no data to predict; expected --test_file, or --predict_file.")
            left_out.add("predict")
    wanted = [name for name in MAIN_STAGES if name not in left_out] if stage == ALL else [stage]
    root = Path(settings.output_dir) / settings.task
    if settings.training.deterministic:
        # For as long as the process lives. Measured times, and searches that go by them, still vary.
        tf.config.experimental.enable_op_determinism()
    with (
        distributing(settings.training.distribution, settings.training.tpu),
        computing_in(settings.inference.precision),
    ):
        check_batch_size(settings.training.batch_size)
        if seeds == 1:
            _run_once(settings, root, wanted, overwrite, own, recorded)
            return
        folders = {}
        for seed in range(settings.training.seed, settings.training.seed + seeds):
            say(f"seed {seed}")
            of_seed = settings.replace(seed=seed)
            folders[seed] = _run_once(of_seed, root / f"seed-{seed}", wanted, overwrite, own, recorded)
        by_chief(lambda: tell_seeds(settings, root, folders, wanted))


def _run_once(
    settings: Settings,
    root: Path,
    wanted: Sequence[str],
    overwrite: bool,
    own: OwnData | None,
    recorded: Recorded | None,
) -> RunFolder:
    prepared = in_all(lambda: prepare(settings, root, own))
    elsewhere = {name: value for name, value in prepared.resolved().items() if name not in _OF_MACHINE}
    require_same("--", elsewhere)
    with contextlib.ExitStack() as held:
        by_chief(lambda: held.enter_context(locked(root)))
        _run_prepared(prepared, wanted, overwrite, own, recorded)
        wait_for_all()
    return prepared.folder


def _run_prepared(
    prepared: Run, wanted: Sequence[str], overwrite: bool, own: OwnData | None, recorded: Recorded | None
) -> None:
    folder, settings = prepared.folder, prepared.settings
    plan = by_chief(lambda: _begin(prepared, wanted, overwrite, own, recorded))
    in_all(lambda: _require_shared(folder, plan))
    if set(plan) & {"search", "evaluate", "elastic", "pareto"}:
        prepared.share_costs()
    for name in _ORDER:
        if name in plan:
            say(f"{name}: running ({plan[name]})")
            remove = functools.partial(remove_dependents, folder, name, settings)
            of_stage = prepared.exporting(overwrite) if name == "export" else prepared
            stage = functools.partial(run_stage, of_stage, name, remove)
            alone = name in _ALONE or (name == "search" and settings.search.search_method == "calibrate")
            _ = by_chief(stage) if alone else stage()
            say(f"{name}: done, {folder.stage(name)}")
        elif name in wanted:
            say(f"{name}: already there, reused ({folder.stage(name)}); --overwrite runs it again")
    if "evaluate" in wanted:
        print_summary(prepared)


def _begin(
    prepared: Run, wanted: Sequence[str], overwrite: bool, own: OwnData | None, recorded: Recorded | None
) -> dict[str, str]:
    """Which stages have to run, and why; before them, what was complete takes its place, and settings are written."""
    folder, settings = prepared.folder, prepared.settings
    remove_unfinished(folder.root)
    for name in STAGES:
        if folder.is_complete(name):
            say(f"{name}: was complete when its run was interrupted")
            remove_dependents(folder, name, settings)
            folder.publish(name)
    plan = plan_stages(prepared, wanted, overwrite)
    if plan:
        check_plan(prepared, plan, overwrite)
        config = {**prepared.resolved(), **provenance(prepared.checkpoint), OWN_DATA: own is not None}
        for line in differences(recorded.others, config) if recorded else ():
            say(f"--config: {line}")
        write_json(folder.root / "config.json", config)
        if own is not None:
            repeated = repeat_task(prepared.task, settings, own.settings, prepared.lower_case)
            write_json(folder.root / TASK_FILE, repeated)
            write_rejected(folder.root, own.rejected)
    return plan


def _require_shared(folder: RunFolder, plan: Collection[str]) -> None:
    """Checks that what the chief wrote can be read here, where it may take a while to appear."""
    until = time.monotonic() + _SECONDS_TO_APPEAR
    while plan and not (folder.root / "config.json").exists():
        if time.monotonic() > until:
            raise InputError(
                f"--output_dir: {folder.root / 'config.json'}, which the chief wrote, is not here; expected a folder "
                "that all processes see."
            )
        time.sleep(0.1)
