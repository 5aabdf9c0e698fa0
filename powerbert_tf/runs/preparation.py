"""Finds and checks what a run needs, before the first training step."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import cast

import keras
import numpy as np

from powerbert_tf.batches.encoded_split import propose_length
from powerbert_tf.checkpoints import Checkpoint, find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.common.wording import counted
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.kinds import CLASSES
from powerbert_tf.data.labels import balanced_weights
from powerbert_tf.data.metrics import with_metrics
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.data.tasks import ChoiceTask, GlueTask, OwnTask, Task, get_task
from powerbert_tf.elimination.reduction import WIDTHS, parse_widths
from powerbert_tf.elimination.retention import parse_configuration
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.export.writers import check_format
from powerbert_tf.runs.deployment import check_deployment
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.results import MemoryResults, Results
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import TRAINING_STAGES, Settings, retraining_factor
from powerbert_tf.search.settings import SEARCH_METHODS
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.word_pieces import Tokenizer

# Sizes of the checkpoints of a stage, in weights: two, each with the weights, Adam's two moments, and the weights of
# the best epoch.
_CHECKPOINTS = 2 * 4
_HELD_OUT_SHARE = 0.1
_PUBLISHED_SIZE = 768  # hidden size of the models that learning rates are published for


def prepare(
    settings: Settings,
    root: Path | None,
    own: OwnData | None = None,
    checkpoint: Checkpoint | None = None,
    adopts: bool = False,
) -> Run:
    """Finds and checks what the stages need, cheapest first; writes nothing into the folder `root`.

    Args:
        settings: Settings of the run.
        root: Its folder; None to keep results in memory.
        own: The user's own data; None for a GLUE task.
        checkpoint: A checkpoint that has been found already; None to find the one that the settings name.
        adopts: Whether the checkpoint is a trained classifier that is taken as it is; without labels it always is.

    Raises:
        InputError: Something is missing, or does not fit.
    """
    task = with_metrics(own.task if own else get_task(settings.task), settings.metric)
    if settings.class_weights == "balanced" and task.kind is not CLASSES:
        raise InputError(
            f"--class_weights=balanced: {task.name} is a {task.kind.title}, without classes; expected none."
        )
    checkpoint = checkpoint or find_checkpoint(settings.checkpoint)
    if task.is_pair and checkpoint.architecture.tells_segments and checkpoint.config.type_vocab_size < 2:
        raise InputError(f"--task={task.name}: pairs of texts need 2 segments; {checkpoint.name} has 1.")
    results = MemoryResults() if root is None else RunFolder(root)
    data_folder = Path(settings.data_dir) / task.folder if isinstance(task, GlueTask | ChoiceTask) else None
    if root and data_folder and root.resolve() == data_folder.resolve():
        raise InputError(f"--output_dir={settings.output_dir}: results in {root} would mix with the data there.")
    tokenizer = load_tokenizer(checkpoint, settings.inputs.case, settings.inputs.truncation)
    if settings.inputs.max_seq_length:
        _check_length(settings, task, checkpoint, tokenizer)
    dataset = own.dataset if own else load_dataset(cast(GlueTask | ChoiceTask, task), settings.data_dir)
    train = dataset.splits["train"]
    if not settings.inputs.max_seq_length:
        proposed, reason = propose_length(train, tokenizer, checkpoint.config.max_length)
        say(f"  {reason}")
        settings = settings.replace(max_seq_length=proposed)
        _check_length(settings, task, checkpoint, tokenizer)
    settings = _fitting_settings(settings, task, checkpoint, results)
    if settings.class_weights == "balanced":
        weights = balanced_weights(cast(np.ndarray, train.labels), len(task.classes))
        task = dataclasses.replace(task, class_weights=weights)
    adopts = adopts or (isinstance(task, OwnTask) and task.is_unlabelled)
    return Run(settings, task, checkpoint, tokenizer, dataset, results, adopts)


def _fitting_settings(settings: Settings, task: Task, checkpoint: Checkpoint, results: Results) -> Settings:
    """Rates and the held-out share that are not given: those of the fine-tuning that is there, or fitting ones."""
    try:
        finetuned = results.result("finetune")
    except InputError:  # damaged: whoever needs it says so
        finetuned = None
    there = {} if finetuned is None else finetuned["settings"]
    share, rate = settings.inputs.held_out_share, settings.training.learning_rate
    if share < 0:
        share = 0.0 if settings.search.search_method == "paper" else _HELD_OUT_SHARE
        if finetuned is not None:
            share = there.get("held_out_share", 0.0)  # earlier versions held nothing out
    if not rate:
        rate = there.get("learning_rate") or task.learning_rate * _PUBLISHED_SIZE / checkpoint.config.hidden_size
    again = settings.training.learning_rate_retrain or retraining_factor(settings.training.distillation) * rate
    return settings.replace(held_out_share=share, learning_rate=rate, learning_rate_retrain=again)


def _check_length(settings: Settings, task: Task, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """Checks N against the checkpoint, the special tokens, and `--retention_configuration`."""
    config, length = checkpoint.config, settings.inputs.max_seq_length
    if length > config.max_length:
        raise InputError(
            f"--max_seq_length={length}: {checkpoint.name} has position embeddings for {config.max_length} tokens; "
            "expected at most that."
        )
    search = settings.search
    if search.retention_configuration:
        parse_configuration(search.retention_configuration, config.num_hidden_layers, length)
    try:
        neurons, heads = (parse_widths(name, getattr(search, name)) for name in WIDTHS)
        dataclasses.replace(config, neurons=neurons, heads=heads)
    except InputError as error:
        raise InputError(f"--{error}") from None
    lowest = tokenizer.num_special_tokens(1 + task.is_pair)
    if length <= lowest:
        raise InputError(f"--max_seq_length={length}: leaves no room for words; expected at least {lowest + 1}.")


def check_plan(run: Run, plan: Collection[str], overwrite: bool = False) -> None:
    """Checks what only the stages of a plan need; with `overwrite`, they may replace results.

    Raises:
        InputError: The folder cannot be written, a target is out of reach, or a stage cannot use the data.
    """
    search = run.settings.search
    if run.task.choices > 1:
        others = set(run.settings.export.formats) - {DEFAULT_FORMAT}
        multiple_choice = f"{run.task.name} is multiple choice; expected"
        if "explain" in plan:
            raise InputError(f"--stage=explain: {multiple_choice} single texts or pairs.")
        if "export" in plan and others:
            raise InputError(f"--export_format={','.join(sorted(others))}: {multiple_choice} {DEFAULT_FORMAT}.")
    if "export" in plan:
        _check_formats(run.exporting(overwrite), overwrite)
    if "deploy" in plan:
        check_deployment(run)
    bad_rows = sum(split.bad_rows for name, split in run.dataset.splits.items() if name.startswith("test"))
    if "predict" in plan and bad_rows:
        raise InputError(
            f"{run.dataset.location}: {counted(bad_rows, 'row')} of the test split cannot be read (see the log); a "
            "GLUE submission needs all. Fix the file, or run the other stages one by one."
        )
    weights = 4 * run.checkpoint.config.num_weights
    training = [stage for stage in TRAINING_STAGES if stage in plan]
    exports = 2 * len(run.settings.export.formats) if "export" in plan else 0
    exports += 2 * len(run.settings.deploy.forms) if "deploy" in plan else 0
    targets = len(search.pareto_targets()) if "pareto" in plan else 0
    saves = run.settings.training.checkpoint_minutes or run.settings.training.checkpoint_steps
    checkpoints = _CHECKPOINTS * weights if saves and (training or targets) else 0
    needed = weights * (len(training) + exports + targets) + checkpoints
    run.results.require_writable(needed + 16 * 2**20, checkpoints)  # some to spare
    if "search" in plan and SEARCH_METHODS[search.search_method].has_target:
        run.target_speedup()  # raises if it is out of reach
    if "elastic" in plan or "pareto" in plan:
        run.pareto_targets()


def _check_formats(run: Run, overwrite: bool) -> None:
    """Checks that the formats of an export can be written, and that nothing is in their way."""
    backend = keras.backend.backend()
    selection = None if run.settings.export.export_model == "finetune" else run.settings.search.selection
    for name in run.settings.export.formats:
        form = EXPORT_FORMATS[name]
        if form.of_tensorflow and backend != "tensorflow":
            raise InputError(
                f"--export_format={name}: KERAS_BACKEND is {backend}; expected tensorflow. Both read the same weights: "
                "run --stage=evaluate so, and --stage=export on the same folder with KERAS_BACKEND=tensorflow."
            )
        place = run.folder.root / form.folder
        if place.exists() and not form.versioned and not overwrite:
            raise InputError(f"{place} is there already; pass --overwrite to replace it, or move it away.")
        check_format(name, run.settings.export, run.checkpoint.config, selection)
