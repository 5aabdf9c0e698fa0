"""Which stages a run needs, and running them."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from powerbert_tf.checkpoints import Checkpoint, find_checkpoint
from powerbert_tf.curves import MAX_LOSS, average_pareto
from powerbert_tf.datasets import load_dataset
from powerbert_tf.determinism import make_deterministic
from powerbert_tf.distribution import check_batch_size, distributing
from powerbert_tf.errors import InputError
from powerbert_tf.export_formats import DEFAULT_FORMAT, EXPORT_FORMATS, load_function
from powerbert_tf.files import remove_unfinished, write_json
from powerbert_tf.labels import balanced_weights
from powerbert_tf.length_proposal import propose_length
from powerbert_tf.metrics import with_metrics
from powerbert_tf.own_data import OwnData
from powerbert_tf.precision import computing_in
from powerbert_tf.processes import by_chief, in_all, require_same, wait_for_all
from powerbert_tf.provenance import differences, provenance
from powerbert_tf.rejected import write_rejected
from powerbert_tf.report import RunSummary, format_summary
from powerbert_tf.report_stage import tell_spread
from powerbert_tf.retention import parse_configuration
from powerbert_tf.run import Run
from powerbert_tf.run_config import OWN_DATA, Recorded
from powerbert_tf.run_folder import RunFolder
from powerbert_tf.run_lock import locked
from powerbert_tf.seeds import format_seeds, summarize_seeds
from powerbert_tf.settings import MAIN_STAGES, STAGES, TRAINING_STAGES, Settings, flag_name
from powerbert_tf.stages import run_stage
from powerbert_tf.task_file import TASK_FILE, repeat_task
from powerbert_tf.tasks import ChoiceTask, GlueTask, Task, get_task
from powerbert_tf.tokenization import Tokenizer
from powerbert_tf.tokenizer_files import load_tokenizer

ALL = "all"
_ORDER = (*(stage for stage in STAGES if stage != "export"), "export")  # last: it may be of the elastic weights

# Two that stay and one that is being written, each the weights, Adam's two moments, and those of the best epoch.
_CHECKPOINTS = 3 * 4

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
        seeds: How many runs, with `settings.seed` and those after it; with more than one, each has a folder
            `seed-<seed>` of its own, and mean and spread are told at the end.
        own: The user's own data; None for a GLUE task.
        recorded: An earlier run that this one repeats; what is not as it was is told.

    Raises:
        InputError: Bad input, or results with other settings are in the way.
        OSError: Files cannot be written.
    """
    if stage not in (*STAGES, ALL):
        raise InputError(f"--stage={stage}: no such stage; expected one of {', '.join((ALL, *STAGES))}.")
    if stage == "search" and not settings.searches:
        raise InputError("--stage=search: --retention_configuration is given, which takes the place of a search.")
    if seeds < 1:
        raise InputError(f"--seeds={seeds}: expected at least 1.")
    left_out = set() if settings.searches else {"search"}
    if own is not None:
        print(own.summary, flush=True)
        if "test" not in own.dataset.splits:
            if stage == "predict":
                raise InputError("--stage=predict: no data to predict; expected --test_file, or --predict_file.")
            left_out.add("predict")
    wanted = [name for name in MAIN_STAGES if name not in left_out] if stage == ALL else [stage]
    root = Path(settings.output_dir) / settings.task
    if settings.deterministic:
        make_deterministic()
    with distributing(settings.distribution, settings.tpu), computing_in(settings.precision):
        check_batch_size(settings.batch_size)
        if seeds == 1:
            _run_once(settings, root, wanted, overwrite, own, recorded)
            return
        folders = {}
        for seed in range(settings.seed, settings.seed + seeds):
            print(f"seed {seed}", flush=True)
            of_seed = dataclasses.replace(settings, seed=seed)
            folders[seed] = _run_once(of_seed, root / f"seed-{seed}", wanted, overwrite, own, recorded)
        by_chief(lambda: _summarize(settings, root, folders, wanted))


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
            print(f"{name}: running ({plan[name]})", flush=True)
            remove = functools.partial(_remove_dependents, folder, name, settings)
            stage = functools.partial(run_stage, prepared, name, remove)
            alone = name in _ALONE or (name == "search" and settings.search_method == "calibrate")
            _ = by_chief(stage) if alone else stage()
            print(f"{name}: done, {folder.stage(name)}", flush=True)
        elif name in wanted:
            print(f"{name}: already there, reused ({folder.stage(name)}); --overwrite runs it again", flush=True)
    if "evaluate" in wanted:
        _print_summary(prepared)


def _begin(
    prepared: Run, wanted: Sequence[str], overwrite: bool, own: OwnData | None, recorded: Recorded | None
) -> dict[str, str]:
    """Which stages have to run, and why; before them, what was complete takes its place, and settings are written."""
    folder, settings = prepared.folder, prepared.settings
    remove_unfinished(folder.root)
    for name in STAGES:
        if folder.is_complete(name):
            print(f"{name}: was complete when its run was interrupted", flush=True)
            _remove_dependents(folder, name, settings)
            folder.publish(name)
    plan = plan_stages(prepared, wanted, overwrite)
    if plan:
        check_plan(prepared, plan, overwrite)
        config = {**prepared.resolved(), **provenance(prepared.checkpoint), OWN_DATA: own is not None}
        for line in differences(recorded.others, config) if recorded else ():
            print(f"--config: {line}", flush=True)
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


def _summarize(settings: Settings, root: Path, folders: dict[int, RunFolder], wanted: Sequence[str]) -> None:
    """Mean and spread over seeds, of what the stages that were asked for tell."""

    def results(stage: str) -> dict[int, dict[str, Any]]:
        return {seed: cast(dict[str, Any], folder.result(stage)) for seed, folder in folders.items()}

    def tell(summary: dict[str, Any], file: str, title: str) -> None:
        write_json(root / file, summary)
        print(f"\n{format_seeds(summary, title)}", flush=True)

    if "evaluate" in wanted:
        tell(summarize_seeds(results("evaluate")), "seeds.json", settings.task)
    else:
        for stage in ("search", "retrain"):
            if stage in wanted:
                compared = {seed: _compared(folder, stage) for seed, folder in folders.items()}
                tell(summarize_seeds(compared), f"seeds-{stage}.json", f"{settings.task}, after {stage}")
    if "report" in wanted:
        tell_spread([folder.stage("report") for folder in folders.values()], summarize_seeds(results("evaluate")))
    if "pareto" in wanted:
        average_pareto(root / "pareto", list(results("pareto").values()), settings.task, settings.max_loss or MAX_LOSS)
        print(f"\n{(root / 'pareto' / 'pareto.md').read_text(encoding='utf-8')}", flush=True)


def _compared(folder: RunFolder, stage: str) -> dict[str, Any]:
    """What `evaluate` would say of the weights and the configuration that a stage left."""
    dense, reduced = (cast(dict[str, Any], folder.result(name)) for name in ("finetune", stage))
    return {
        "metric": reduced["metric"],
        "dense": {"metrics": dense["metrics"]},
        "reduced": {"metrics": reduced["metrics"]},
        "speedup": {
            "grouped": reduced.get("measured_speedup"),
            "padded": reduced.get("measured_speedup_over_padded"),
            "predicted": reduced.get("predicted_speedup"),
        },
    }


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

    for name in wanted:
        need(name, "asked for")
    return plan


def _dependencies(stage: str, settings: Settings) -> tuple[str, ...]:
    """The stages whose files `stage` reads."""
    before_retrain = ("finetune", "search") if settings.searches else ("finetune",)
    return {
        "finetune": (),
        "search": ("finetune",),
        "retrain": before_retrain,
        "evaluate": ("finetune", "retrain"),
        "predict": ("retrain",),
        "export": (settings.export_model,),
        "elastic": ("finetune",),
        "pareto": ("finetune",),
        "explain": ("finetune", "retrain"),
        "report": ("finetune", "retrain", "evaluate"),
    }[stage]


def _remove_dependents(folder: RunFolder, stage: str, settings: Settings) -> None:
    """Removes results that are out of date now that `stage` has run again; a served model is nobody's to remove."""
    last = ("evaluate", "predict", "export", "explain", "report")
    dependents = {
        "finetune": ("search", "retrain", *last, "elastic", "pareto"),
        "search": ("retrain", *last),
        "retrain": last,
        "evaluate": ("report",),
        "pareto": ("report",),
        "elastic": ("pareto", "export") if settings.export_model == "elastic" else ("pareto",),
    }
    for later in dependents.get(stage, ()):
        was_there = folder.stage(later).exists()
        folder.remove(later)
        if was_there:
            written = ", ".join(EXPORT_FORMATS[name].folder for name in settings.export_formats)
            stays = f"; what it wrote to {written} stays" if later == "export" else ""
            print(f"  {later}: removed, it was made from the {stage} before{stays}", flush=True)


def _differences(result: dict[str, Any], settings: dict[str, Any]) -> str:
    # What an earlier version had no setting for, it did as the default does today.
    defaults = {flag_name(field.name): field.default for field in dataclasses.fields(Settings)}
    unset = {name: defaults[name] for name in settings.keys() & defaults if defaults[name] is not dataclasses.MISSING}
    recorded = {**unset, **result["settings"]}
    return "; ".join(
        f"{name} was {recorded.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted(recorded.keys() | settings.keys())
        if recorded.get(name) != settings.get(name)
    )


def prepare(settings: Settings, root: Path, own: OwnData | None = None, checkpoint: Checkpoint | None = None) -> Run:
    """Finds and checks what the stages will need, cheapest first; writes nothing into the folder `root`.

    Args:
        settings: Of the run.
        root: Its folder.
        own: The user's own data; None for a GLUE task.
        checkpoint: Where it has been found before; None to find that of the settings.

    Raises:
        InputError: Something is missing, or does not fit.
    """
    task = with_metrics(own.task if own else get_task(settings.task), settings.metric)
    if settings.class_weights == "balanced" and task.is_regression:
        raise InputError(f"--class_weights=balanced: {task.name} is a regression, without classes; expected none.")
    checkpoint = checkpoint or find_checkpoint(settings.checkpoint)
    _check_pair(task, checkpoint)
    if isinstance(task, GlueTask | ChoiceTask) and root.resolve() == (Path(settings.data_dir) / task.folder).resolve():
        raise InputError(f"--output_dir={settings.output_dir}: results in {root} would mix with the data there.")
    tokenizer = load_tokenizer(checkpoint, settings.case, settings.truncation)
    if settings.max_seq_length:
        _check_length(settings, task, checkpoint, tokenizer)
    dataset = own.dataset if own else load_dataset(cast(GlueTask | ChoiceTask, task), settings.data_dir)
    train = dataset.splits["train"]
    if not settings.max_seq_length:
        proposed = propose_length(train, tokenizer, checkpoint.config.max_length)
        print(f"  {proposed.reason}", flush=True)
        settings = dataclasses.replace(settings, max_seq_length=proposed.max_seq_length)
        _check_length(settings, task, checkpoint, tokenizer)
    if settings.class_weights == "balanced":
        weights = balanced_weights(cast(np.ndarray, train.labels), len(task.classes))
        task = dataclasses.replace(task, class_weights=weights)
    return Run(settings, task, checkpoint, tokenizer, tokenizer.lower_case, dataset, RunFolder(root))


def _check_pair(task: Task, checkpoint: Checkpoint) -> None:
    if task.is_pair and checkpoint.architecture.tells_segments and checkpoint.config.type_vocab_size < 2:
        raise InputError(f"--task={task.name}: pairs of texts need 2 segments; {checkpoint.name} has 1.")


def _check_length(settings: Settings, task: Task, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """Checks N against the checkpoint, the special tokens, and a retention configuration that is given."""
    config = checkpoint.config
    if settings.max_seq_length > config.max_length:
        raise InputError(
            f"--max_seq_length={settings.max_seq_length}: {checkpoint.name} has position embeddings for "
            f"{config.max_length} word-pieces; expected at most that."
        )
    if not settings.searches:
        parse_configuration(settings.retention_configuration, config.num_hidden_layers, settings.max_seq_length)
    lowest = tokenizer.num_special_tokens(1 + task.is_pair)
    if settings.max_seq_length <= lowest:
        raise InputError(
            f"--max_seq_length={settings.max_seq_length}: leaves no room for words; expected at least {lowest + 1}."
        )


def check_plan(run: Run, plan: Collection[str], overwrite: bool = False) -> None:
    """Checks what only the stages that will run need.

    Args:
        run: What is there and what is asked for.
        plan: The stages that will run.
        overwrite: Whether what is there is overwritten.

    Raises:
        InputError: The folder or the target is out of reach, or the data is not fit for it.
    """
    if run.task.choices > 1:
        _check_choices(run, plan)
    if "export" in plan:
        _check_formats(run, overwrite)
    bad_rows = sum(split.bad_rows for name, split in run.dataset.splits.items() if name.startswith("test"))
    if "predict" in plan and bad_rows:
        raise InputError(
            f"{run.dataset.location}: {bad_rows} rows of the test split cannot be read (see the log); a GLUE "
            "submission needs all. Mend the file, or run the other stages one by one."
        )
    weights = 4 * run.checkpoint.config.num_weights
    saves = run.settings.checkpoint_minutes or run.settings.checkpoint_steps
    checkpoints = _CHECKPOINTS * weights if saves and (set(TRAINING_STAGES) | {"pareto"}) & set(plan) else 0
    needed = weights * _num_weights(run, plan) + checkpoints
    run.folder.require_writable(needed + 16 * 2**20, checkpoints)  # some to spare
    if "search" in plan and run.settings.search_method == "soft" and keras.backend.backend() == "jax":
        # A compiled step would take the coefficients of the budget for constants.
        raise InputError("--search_method=soft: KERAS_BACKEND is jax; expected tensorflow, or another method.")
    if "search" in plan and run.settings.search_method != "paper":
        run.target_speedup()  # raises where it is out of reach
    if "elastic" in plan or "pareto" in plan:
        run.pareto_targets()


def _check_choices(run: Run, plan: Collection[str]) -> None:
    """Checks that what is asked for knows of questions with options."""
    if "explain" in plan:
        raise InputError(f"--stage=explain: {run.task.name} is multiple choice; it shows single texts and pairs alone.")
    others = set(run.settings.export_formats) - {DEFAULT_FORMAT}
    if "export" in plan and others:
        raise InputError(
            f"--export_format={','.join(sorted(others))}: {run.task.name} is multiple choice; expected "
            f"{DEFAULT_FORMAT}."
        )


def _check_formats(run: Run, overwrite: bool) -> None:
    """Checks that the formats of an export can be written, and that nothing is in their way."""
    for form in (EXPORT_FORMATS[name] for name in run.settings.export_formats):
        place = run.folder.root / form.folder
        if place.exists() and not form.versioned and not overwrite:
            raise InputError(f"{place} is there already; pass --overwrite to replace it, or move it away.")
        if form.check:
            load_function(form.check)(run)


def _num_weights(run: Run, plan: Collection[str]) -> int:
    """How many sets of weights the stages will write: of training stages, two a format, of each target."""
    exported = 2 * len(run.settings.export_formats) * ("export" in plan)
    writing = sum(stage in plan for stage in TRAINING_STAGES) + exported
    return writing + ("pareto" in plan) * len(run.settings.pareto_targets())


def _print_summary(run: Run) -> None:
    evaluated = run.folder.result("evaluate")
    if evaluated is None:
        return
    summary = RunSummary(
        task=run.task.name,
        data=run.dataset.source,
        metrics_before=evaluated["dense"]["metrics"],
        metrics_after=evaluated["reduced"]["metrics"],
        configuration=evaluated["retention_configuration"],
        max_seq_length=run.settings.max_seq_length,
        cost=evaluated["multiply_adds"],
        speedup=evaluated["speedup"],
        rounding=evaluated.get("rounding"),
    )
    print(f"\n{format_summary(summary)}", flush=True)
