"""What to say where memory runs out: what was asked for, what there is, and which flags take less.

What a run needs, found and checked before the first training step.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.length_proposal import propose_length
from powerbert_tf.checkpoints import Checkpoint, find_checkpoint
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.machine import memory_bytes
from powerbert_tf.common.reporting import say
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.labels import balanced_weights
from powerbert_tf.data.metrics import with_metrics
from powerbert_tf.data.own_data import OwnData
from powerbert_tf.data.tasks import ChoiceTask, GlueTask, Task, get_task
from powerbert_tf.elimination.retention import parse_configuration
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS
from powerbert_tf.export.writers import check_format
from powerbert_tf.models.config import BertConfig
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import TRAINING_STAGES, Settings
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_COPIES = 4  # of the weights in training: themselves, the gradient, and Adam's two moments


@contextlib.contextmanager
def explained_memory(stage: str, settings: Settings, config: BertConfig) -> Iterator[None]:
    """A block whose lack of memory is an error of one line with the numbers that matter.

    Raises:
        InputError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        trains = stage in TRAINING_STAGES or stage == "pareto"
        batch = (
            f"--batch_size={settings.training.batch_size}"
            if trains
            else f"--eval_batch_size={settings.inference.eval_batch_size}"
        )
        weights = 4 * config.num_weights * (_COPIES if trains else 1)
        reason = first_line(error)
        raise InputError(
            f"{stage}: out of memory at {batch}, --max_seq_length={settings.inputs.max_seq_length}; the weights take "
            f"{weights / 2**30:.1f} GiB{' in training' if trains else ''}, the machine has "
            f"{memory_bytes() / 2**30:.1f} GiB, and what is left is for batches; expected a smaller batch, or "
            f"shorter inputs ({reason})."
        ) from error


# Two that stay and one that is being written, each the weights, Adam's two moments, and those of the best epoch.
_CHECKPOINTS = 3 * 4


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
    tokenizer = load_tokenizer(checkpoint, settings.inputs.case, settings.inputs.truncation)
    if settings.inputs.max_seq_length:
        _check_length(settings, task, checkpoint, tokenizer)
    dataset = own.dataset if own else load_dataset(cast(GlueTask | ChoiceTask, task), settings.data_dir)
    train = dataset.splits["train"]
    if not settings.inputs.max_seq_length:
        proposed = propose_length(train, tokenizer, checkpoint.config.max_length)
        say(f"  {proposed.reason}")
        settings = settings.replace(max_seq_length=proposed.max_seq_length)
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
    if settings.inputs.max_seq_length > config.max_length:
        raise InputError(
            f"--max_seq_length={settings.inputs.max_seq_length}: {checkpoint.name} has position embeddings for "
            f"{config.max_length} word-pieces; expected at most that."
        )
    if not settings.search.searches:
        parse_configuration(
            settings.search.retention_configuration, config.num_hidden_layers, settings.inputs.max_seq_length
        )
    lowest = tokenizer.num_special_tokens(1 + task.is_pair)
    if settings.inputs.max_seq_length <= lowest:
        raise InputError(
            f"--max_seq_length={settings.inputs.max_seq_length}: leaves no room for words; expected at least "
            f"{lowest + 1}."
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
        _check_formats(run.exporting(overwrite), overwrite)
    bad_rows = sum(split.bad_rows for name, split in run.dataset.splits.items() if name.startswith("test"))
    if "predict" in plan and bad_rows:
        raise InputError(
            f"{run.dataset.location}: {bad_rows} rows of the test split cannot be read (see the log); a GLUE "
            "submission needs all. Mend the file, or run the other stages one by one."
        )
    weights = 4 * run.checkpoint.config.num_weights
    saves = run.settings.training.checkpoint_minutes or run.settings.training.checkpoint_steps
    checkpoints = _CHECKPOINTS * weights if saves and (set(TRAINING_STAGES) | {"pareto"}) & set(plan) else 0
    needed = weights * _num_weights(run, plan) + checkpoints
    run.folder.require_writable(needed + 16 * 2**20, checkpoints)  # some to spare
    if "search" in plan and run.settings.search.search_method != "paper":
        run.target_speedup()  # raises where it is out of reach
    if "elastic" in plan or "pareto" in plan:
        run.pareto_targets()


def _check_choices(run: Run, plan: Collection[str]) -> None:
    """Checks that what is asked for knows of questions with options."""
    if "explain" in plan:
        raise InputError(f"--stage=explain: {run.task.name} is multiple choice; it shows single texts and pairs alone.")
    others = set(run.settings.export.formats) - {DEFAULT_FORMAT}
    if "export" in plan and others:
        raise InputError(
            f"--export_format={','.join(sorted(others))}: {run.task.name} is multiple choice; expected "
            f"{DEFAULT_FORMAT}."
        )


def _check_formats(run: Run, overwrite: bool) -> None:
    """Checks that the formats of an export can be written, and that nothing is in their way."""
    backend = keras.backend.backend()
    selection = None if run.settings.export.export_model == "finetune" else run.settings.search.selection
    for name, form in ((name, EXPORT_FORMATS[name]) for name in run.settings.export.formats):
        if form.of_tensorflow and backend != "tensorflow":
            raise InputError(
                f"--export_format={name}: KERAS_BACKEND is {backend}; expected tensorflow. Weights are the same for "
                "both: run --stage=evaluate so, and --stage=export on the same folder with KERAS_BACKEND=tensorflow."
            )
        place = run.folder.root / form.folder
        if place.exists() and not form.versioned and not overwrite:
            raise InputError(f"{place} is there already; pass --overwrite to replace it, or move it away.")
        check_format(name, run.settings.export, run.checkpoint.config, selection)


def _num_weights(run: Run, plan: Collection[str]) -> int:
    """How many sets of weights the stages will write: of training stages, two a format, of each target."""
    exported = 2 * len(run.settings.export.formats) * ("export" in plan)
    writing = sum(stage in plan for stage in TRAINING_STAGES) + exported
    return writing + ("pareto" in plan) * len(run.settings.search.pareto_targets())
