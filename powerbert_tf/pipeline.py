"""Which stages a run needs, and running them."""

from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import Checkpoint, find_checkpoint
from powerbert_tf.datasets import load_dataset
from powerbert_tf.errors import InputError
from powerbert_tf.report import RunSummary, format_summary
from powerbert_tf.retention import parse_configuration
from powerbert_tf.run_folder import RunFolder, write_json
from powerbert_tf.settings import STAGES, Settings
from powerbert_tf.stages import Run, run_stage
from powerbert_tf.tasks import Task
from powerbert_tf.tokenization import Tokenizer, is_cased, read_vocabulary

ALL = "all"


def run(settings: Settings, stage: str = ALL, overwrite: bool = False) -> None:
    """Runs a stage, or all, and whatever it needs that is not there yet.

    Everything that can be checked is checked before the first training step.

    Args:
        settings: Of the run.
        stage: One of `STAGES`, or `"all"`.
        overwrite: Whether `stage` is run again, and earlier stages with other settings are, too.

    Raises:
        InputError: Bad input, or results with other settings are in the way.
    """
    if stage not in (*STAGES, ALL):
        raise InputError(f"--stage={stage}: no such stage; expected one of {', '.join((ALL, *STAGES))}.")
    if stage == "search" and not settings.searches:
        raise InputError("--stage=search: --retention_configuration is given, which takes the place of a search.")
    prepared = _prepare(settings)
    plan = plan_stages(prepared, stage, overwrite)
    folder = prepared.folder
    write_json(folder.root / "config.json", {**settings.to_json(), "data": prepared.dataset.source})
    wanted = STAGES if stage == ALL else (stage,)
    for name in STAGES:
        if name in plan:
            why = "" if name in wanted else f" (needed for {stage}, and not there)"
            print(f"{name}: running{why}", flush=True)
            run_stage(prepared, name)
            for later in _dependents(name):
                if later not in plan and folder.stage(later).exists():
                    print(f"  {later}: removed, it was made from the {name} before", flush=True)
                    folder.remove(later)
            print(f"{name}: done, {folder.stage(name)}", flush=True)
        elif name in wanted and folder.result(name) is not None:
            print(f"{name}: already there, reused ({folder.stage(name)}); --overwrite runs it again", flush=True)
    _print_summary(prepared)


def plan_stages(run: Run, stage: str, overwrite: bool) -> set[str]:
    """Which stages have to run.

    Raises:
        InputError: A stage that is needed is there with other settings, and `overwrite` is not given.
    """
    plan: set[str] = set()
    wanted = [name for name in STAGES if name != "search" or run.settings.searches] if stage == ALL else [stage]

    def need(name: str, requested: bool) -> None:
        for before in _dependencies(name, run.settings):
            need(before, requested=False)
        if name in plan:
            return
        again = requested and overwrite
        outdated = any(before in plan for before in _dependencies(name, run.settings))
        if again or outdated or _is_missing(run, name):
            plan.add(name)
            return
        differences = _differences(run.folder.result(name) or {}, run.settings_of(name))
        if differences and not overwrite:
            raise InputError(
                f"{run.folder.stage(name)} was made with other settings: {differences}. Use the same ones, another "
                "--output_dir, or --overwrite to run it again."
            )
        if differences:
            plan.add(name)

    for name in wanted:
        need(name, requested=True)
    return plan


def _is_missing(run: Run, stage: str) -> bool:
    result = run.folder.result(stage)
    if result is None:
        return True
    # An export's own files lie beside its result.
    return stage == "export" and not (run.folder.root / str(result["path"])).is_dir()


def _dependencies(stage: str, settings: Settings) -> tuple[str, ...]:
    """The stages whose files `stage` reads."""
    before_retrain = ("finetune", "search") if settings.searches else ("finetune",)
    return {
        "finetune": (),
        "search": ("finetune",),
        "retrain": before_retrain,
        "evaluate": ("finetune", "retrain"),
        "predict": ("retrain",),
        "export": ("retrain",),
    }[stage]


def _dependents(stage: str) -> tuple[str, ...]:
    """The stages whose results are out of date once `stage` has run again."""
    last = ("evaluate", "predict", "export")
    return {"finetune": ("search", "retrain", *last), "search": ("retrain", *last), "retrain": last}.get(stage, ())


def _differences(result: dict[str, Any], settings: dict[str, Any]) -> str:
    recorded = result.get("settings", {})
    return "; ".join(
        f"{name} was {recorded.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted(recorded.keys() | settings.keys())
        if recorded.get(name) != settings.get(name)
    )


def _prepare(settings: Settings) -> Run:
    """Finds and checks everything that the stages will need, cheapest first."""
    task = settings.task_row
    checkpoint = find_checkpoint(settings.checkpoint)
    config = checkpoint.config
    if settings.max_seq_length > config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length={settings.max_seq_length}: {checkpoint.name} has position embeddings for "
            f"{config.max_position_embeddings} word-pieces; expected at most that."
        )
    if not settings.searches:
        parse_configuration(settings.retention_configuration, config.num_hidden_layers, settings.max_seq_length)
    tokenizer = _make_tokenizer(settings, task, checkpoint)
    folder = RunFolder(Path(settings.output_dir) / task.name)
    folder.require_writable(_needed_bytes(checkpoint))
    dataset = load_dataset(task, settings.data_dir)
    return Run(settings, task, checkpoint, tokenizer, dataset, folder)


def _make_tokenizer(settings: Settings, task: Task, checkpoint: Checkpoint) -> Tokenizer:
    vocabulary = read_vocabulary(checkpoint.vocabulary_path)
    if len(vocabulary) != checkpoint.config.vocab_size:
        raise InputError(
            f"{checkpoint.vocabulary_path}: {len(vocabulary)} word-pieces; expected {checkpoint.config.vocab_size}, "
            "the vocab_size of the checkpoint's configuration."
        )
    lowest = 2 + task.is_pair  # special tokens
    if settings.max_seq_length <= lowest:
        raise InputError(
            f"--max_seq_length={settings.max_seq_length}: leaves no room for words; expected at least {lowest + 1}."
        )
    cased = is_cased(vocabulary) if settings.case == "auto" else settings.case == "cased"
    return Tokenizer(vocabulary, lower_case=not cased)


def _needed_bytes(checkpoint: Checkpoint) -> int:
    """Room for the weights of three training stages (each once more while it replaces another) and an export."""
    config = checkpoint.config
    embeddings = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * config.hidden_size
    encoder = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return 5 * 4 * (embeddings + (config.num_hidden_layers + 1) * encoder) + 16 * 2**20


def _print_summary(run: Run) -> None:
    finetuned, evaluated = run.folder.result("finetune"), run.folder.result("evaluate")
    if finetuned is None or evaluated is None:
        return
    summary = RunSummary(
        task=run.task.name,
        data=run.dataset.source,
        metrics_before=evaluated["dense"]["metrics"],
        metrics_after=evaluated["reduced"]["metrics"],
        configuration=evaluated["retention_configuration"],
        max_seq_length=run.settings.max_seq_length,
        cost=evaluated["multiply_adds"],
    )
    print(f"\n{format_summary(summary)}", flush=True)
