"""One training stage: epochs over the training split, dev metrics after each, and the weights that are kept."""

import contextlib
import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.encoded_split import EncodedSplit, with_thinned_copies
from powerbert_tf.batches.padded_batches import training_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.common.files import replacing
from powerbert_tf.common.reporting import say
from powerbert_tf.common.termination import at_once
from powerbert_tf.data.kinds import LABELS
from powerbert_tf.data.metrics import compute_metrics, fitted_task, format_metrics, scaled_divergence
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import recorded_compilations
from powerbert_tf.training.callbacks import BuildSteps, LossWatch, ProgressBar
from powerbert_tf.training.distribution.devices import (
    InputWait,
    TrainingStep,
    active_devices,
    deterministic_clock,
    on_jax,
)
from powerbert_tf.training.distribution.processes import is_chief, num_processes, wait_for_all
from powerbert_tf.training.epoch_log import read_log, still_improving
from powerbert_tf.training.evaluation import evaluate_model, predict_logits
from powerbert_tf.training.losses import distillation_loss, task_loss
from powerbert_tf.training.optimizer import BertAdam, WarmupLinearDecay
from powerbert_tf.training.settings import TrainingSettings
from powerbert_tf.training.state import LOG_FILE, WEIGHTS_FILE, TrainingState, fingerprint, fit_resumable

_DISTINCT_TEXTS = 20_000  # of so many, copies included, a reduced model learns its teacher's answers
_PATIENCE = 3  # epochs without a better one that end a training, at least
_LONG_WAIT = 0.05  # share of the training time spent waiting for input that is worth a remark


@dataclasses.dataclass(frozen=True)
class TrainingOutcome:
    """The epoch whose weights were kept.

    Attributes:
        epoch: Its number, from 1; 0 for the weights before training.
        metrics: Its dev metrics.
        held_out: Its metrics on the held-out rows; None if the dev split chose it.
    """

    epoch: int
    metrics: dict[str, float]
    held_out: dict[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """The data and settings that all training stages of a run share.

    Attributes:
        task: Gives loss and metrics.
        train: Training split, with labels.
        dev: Dev split, with labels.
        settings: Batch size, seed and so on.
        inference: How batches are padded and models are evaluated.
        held_out: Training rows that choose the epoch, with labels; None to choose it on dev.
        copies: How often `train` has its rows, see `batches.padded_batches.training_batches`.
    """

    task: Task
    train: EncodedSplit
    dev: EncodedSplit
    settings: TrainingSettings
    inference: InferenceSettings
    held_out: EncodedSplit | None = None
    copies: int = 1

    @property
    def choosing(self) -> EncodedSplit:
        """The rows that the epoch is chosen on."""
        return self.dev if self.held_out is None else self.held_out

    @property
    def label(self) -> str:
        """What these rows are called in the log."""
        return "dev" if self.held_out is None else "held-out"

    def evaluate(self, model: BertClassifier) -> dict[str, float]:
        """Dev metrics, the main one first."""
        return evaluate_model(model, self.task, self.dev, self.inference)

    def result(self, outcome: TrainingOutcome) -> dict[str, Any]:
        """What a training stage writes to `result.json`."""
        return {
            "metric": self.task.metrics[0],
            "metrics": outcome.metrics,
            **({} if outcome.held_out is None else {"held_out_metrics": outcome.held_out}),
            "epoch": outcome.epoch,
            "examples": len(self.dev),
            "train_examples": len(self.train) // self.copies,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What distinguishes one training stage from another.

    Attributes:
        title: Shown in the progress bar and in messages.
        rate: Peak learning rate; None for `--learning_rate`.
        epochs: Number of epochs; None for `--epochs`.
        decays: Whether the rate warms up and decays; a stage that stops by itself keeps it constant.
        loss: Loss of logits against the labels of the training split; None for the task's.
        keep_last: Whether to keep the weights of the last epoch instead of the best one.
        distance: How far the logits `[n, C]` of the rows that choose are from the wanted ones; the nearest epoch is
            kept, and the log has them. None to choose by the main metric.
        keeps_start: Whether to keep the weights from before training if no epoch is better.
        evaluated: Makes the model to evaluate after an epoch; by default the saved one is evaluated.
        callbacks: Further callbacks.
        log: Makes further entries of an epoch's log: JSON values by name.
    """

    title: str
    rate: float | None = None
    epochs: int | None = None
    decays: bool = True
    loss: keras.losses.Loss | None = None
    keep_last: bool = False
    distance: Callable[[np.ndarray], float] | None = None
    keeps_start: bool = False
    evaluated: Callable[[], BertClassifier] | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    log: Callable[[], dict[str, Any]] = dict


def train(
    model: BertClassifier,
    setup: TrainingSetup,
    folder: Path | None,
    recipe: Recipe,
    source: keras.Model | None = None,
) -> TrainingOutcome:
    """Trains a model; writes `log.jsonl` (one object per epoch) and `model.weights.h5` into `folder`, if there is one.

    Keeps the weights of the epoch with the best score on the rows that choose, the earlier one among equals, or those
    of the last epoch if the recipe says so. The log counts the seconds of training and evaluation, without compilation.

    Args:
        model: The model to evaluate and save; holds the kept weights afterwards.
        setup: Data and settings.
        folder: An existing folder; None to write nothing, and to keep weights in memory.
        recipe: What is particular to this stage.
        source: The model to train, which shares the weights; None for the model itself.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    settings, inference = setup.settings, setup.inference
    rate, epochs = recipe.rate or settings.learning_rate, recipe.epochs or settings.epochs
    steps_per_epoch = math.ceil(len(setup.train) // setup.copies / settings.batch_size)
    input_wait = InputWait(deterministic_clock if settings.deterministic else tf.timestamp)

    def make_optimizer() -> BertAdam:
        decaying = WarmupLinearDecay(rate, steps_per_epoch * epochs, settings.warmup_proportion)
        return BertAdam(
            decaying if recipe.decays else rate,
            retention_rate_ratio=settings.learning_rate_soft_extract / rate,
            weight_decay=settings.weight_decay or None,
            global_clipnorm=settings.clipnorm or None,
        )

    step = TrainingStep(
        source=source or model,
        is_wrapped=source is None,
        make_optimizer=make_optimizer,
        loss=recipe.loss or task_loss(setup.task),
        batch_size=settings.batch_size,
        jit_compile=inference.jit_compile,
        input_wait=input_wait,
    )
    trainer = active_devices().trainer(step)
    keeper = _EpochKeeper(model, setup, folder, recipe, epochs, input_wait)
    plan = {
        "title": recipe.title,
        "epochs": epochs,
        "rate": rate,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "examples": len(setup.train),
        "weights": fingerprint(model) if folder else "",
    }
    state = TrainingState(folder, plan, steps_per_epoch, settings, remembering=[*recipe.callbacks, keeper])
    keeper.save_start()
    how = (settings.seed, inference.padding, inference.length_buckets, inference.jit_compile)
    batches = training_batches(setup.train, settings.batch_size, epochs, *how, copies=setup.copies)
    build = keras.callbacks.Callback()
    if not on_jax():
        of_each_shape = batches.of_each_length()
        first = of_each_shape if inference.jit_compile else of_each_shape.select(slice(1))
        build = BuildSteps(recipe.title, trainer.dataset(first), len(first))
    watching = [LossWatch(state), ProgressBar(recipe.title, state.step), *recipe.callbacks]
    fit_resumable(trainer, state, batches, [*trainer.callbacks, *watching, keeper, state], at_first=build)
    wait_for_all()  # for the weights, which the chief writes
    keeper.restore()
    return keeper.outcome()


def retrain_model(
    model: BertClassifier, dense: BertClassifier, setup: TrainingSetup, folder: Path | None, title: str
) -> dict[str, Any]:
    """Trains a reduced model towards the answers of the model it was made from.

    Keeps the weights of the epoch whose answers on the rows that choose are nearest to the teacher's, whatever their
    temperature, or have the best metric without a teacher; or those before training if no epoch is better.

    Args:
        model: The reduced model; holds the kept weights afterwards.
        dense: The fine-tuned model, the teacher, which shares no weights with `model`. With `--distillation`, its
            logits take the place of the training labels.
        setup: Data and settings.
        folder: Gets `model.weights.h5` and `log.jsonl`; None to write nothing.
        title: Shown in the progress bar.

    Returns:
        What `result.json` says.
    """
    settings = setup.settings
    before = setup.evaluate(model)
    say(f"  before re-training: {format_metrics(before)}")
    loss, distance = None, None
    if settings.distillation != "none":
        loss = distillation_loss(settings.distillation, setup.task.kind)
        setup = _with_copies(setup)
        # Computed once, as the teacher does not change.
        labels = predict_logits(dense, setup.train, setup.inference)
        setup = dataclasses.replace(setup, train=dataclasses.replace(setup.train, labels=labels))
        if setup.held_out is not None:
            wanted = predict_logits(dense, setup.held_out, setup.inference)
            distance = functools.partial(scaled_divergence, wanted, kind=setup.task.kind)
    recipe = Recipe(
        title=title,
        rate=settings.learning_rate_retrain,
        epochs=settings.epochs_retrain,
        loss=loss,
        distance=distance,
        keeps_start=True,
    )
    outcome = train(model, setup, folder, recipe)
    if outcome.epoch == 0:
        say("  no epoch is better: the weights stay as they were")
    return {**setup.result(outcome), "metrics_before": before}


def _with_copies(setup: TrainingSetup) -> TrainingSetup:
    """Few texts, and copies of them that lack some tokens: the teacher knows its training texts by heart.

    What it answers for others says more of how it decides.
    """
    settings, count = setup.settings, len(setup.train)
    copies = min(settings.epochs_retrain, _DISTINCT_TEXTS // count)
    if not settings.drop_tokens or copies < 2:
        return setup
    train = with_thinned_copies(setup.train, copies - 1, settings.drop_tokens, settings.seed)
    return dataclasses.replace(setup, train=train, copies=copies)


class _EpochKeeper(keras.callbacks.Callback):
    """Evaluates on the rows that choose after each epoch, writes the log, and saves the weights to keep."""

    def __init__(
        self,
        saved: BertClassifier,
        setup: TrainingSetup,
        folder: Path | None,
        recipe: Recipe,
        epochs: int,
        input_wait: InputWait,
    ):
        super().__init__()
        self.saved = saved
        self.setup = setup
        self.folder = folder
        self.recipe = recipe
        self.epochs = epochs
        self.input_wait = input_wait
        self.epoch, self.metrics = 0, {setup.task.metrics[0]: -math.inf}
        self.score: tuple[float, ...] = (-math.inf,)  # any epoch is better
        # Where there is no folder, the weights to keep and the log.
        self._kept: list[np.ndarray] = []
        self._log: list[dict[str, Any]] = []

    def save_start(self) -> None:
        """Saves the weights as they are if they may turn out best and no better ones are there yet."""
        if not self.recipe.keeps_start:
            return
        self.metrics, self.score = self._evaluate()
        if is_chief() and not (self.folder and (self.folder / WEIGHTS_FILE).exists()):
            self._save()

    def restore(self) -> None:
        """Gives the saved model the weights that were kept."""
        if self.folder:
            self.saved.load_weights(self.folder / WEIGHTS_FILE)
        elif self._kept:
            self.saved.set_weights(self._kept)
            self._kept = []

    def outcome(self) -> TrainingOutcome:
        """The epoch whose weights were kept, which the saved model holds; evaluates it on dev if dev did not choose."""
        setup = self.setup
        if setup.held_out is None:
            return TrainingOutcome(self.epoch, self.metrics)
        if still_improving(read_log(self.folder) if self.folder else self._log, self.epoch):
            say("  the last epoch was clearly better than the one before: more epochs may do better still")
        model, inference = self._evaluated()
        task = setup.task
        if task.kind is LABELS:  # as the run saves them, see `Run.fitted`
            labels = cast(np.ndarray, setup.held_out.labels)
            task = fitted_task(task, labels, predict_logits(model, setup.held_out, inference))
        return TrainingOutcome(self.epoch, evaluate_model(model, task, setup.dev, inference), self.metrics)

    def get_state(self):
        self._waited += self.input_wait.take()
        seconds = time.perf_counter() - self._began
        kept = {"epoch": self.epoch, "metrics": self.metrics, "score": self.score}
        return {**kept, "seconds": seconds, "waited": self._waited}

    def set_state(self, values):
        self.epoch, self.metrics = values["epoch"], values["metrics"]
        # Earlier versions saved no score.
        self.score = tuple(values.get("score", [self.metrics[self.setup.task.metrics[0]]]))
        self._began, self._waited = time.perf_counter() - values["seconds"], values["waited"]

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._waited = time.perf_counter(), 0.0
        self.input_wait.take()  # forget the time before this epoch

    def on_epoch_end(self, epoch, logs=None):
        train_seconds = time.perf_counter() - self._began
        wait_share = (self._waited + self.input_wait.take()) / train_seconds
        # One process alone may be interrupted at any time; several end together, after a step.
        interruptible = at_once() if num_processes() == 1 else contextlib.nullcontext()
        with interruptible, recorded_compilations() as compilations:
            metrics, score = self._evaluate()
        eval_seconds = time.perf_counter() - self._began - train_seconds - compilations.seconds
        more = self.recipe.log()
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": float(np.asarray(logs["loss"])),
            "split": self.setup.label,
            "metrics": metrics,
            **(
                {}
                if self.setup.held_out is None
                else {"distance" if self.recipe.distance else "held_out_loss": -score[-1]}
            ),
            "train_seconds": round(train_seconds, 1),
            "input_wait_share": round(wait_share, 4),
            "eval_seconds": round(eval_seconds, 1),
            **more,
        }
        line = f"  epoch {epoch + 1}: {format_metrics(metrics, self.setup.label)}"
        if "retention_configuration" in more:
            line += f", keeps {format_configuration(more['retention_configuration'])}"
        if wait_share > _LONG_WAIT:
            line += f"; {wait_share:.0%} of the training time waited for input"
        if not self.folder:
            self._log.append(row)
        elif is_chief():
            with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
        say(line)
        if self.recipe.keep_last or score > self.score:
            self.epoch, self.metrics, self.score = epoch + 1, metrics, score
            if is_chief():
                self._save()
        elif self.setup.held_out is not None and epoch + 1 - self.epoch >= self._patience:
            say(f"  no epoch since epoch {self.epoch} was better: training ends here")
            self.model.stop_training = True
        self._began, self._waited = time.perf_counter(), 0.0

    @property
    def _patience(self) -> float:
        """Epochs without a better one that end the training.

        A quarter of all; of re-training half, whose start is good already, and left while the rate is high.
        """
        return max(_PATIENCE, self.epochs / (4 if self.recipe.distance is None else 2))

    def _evaluate(self) -> tuple[dict[str, float], tuple[float, ...]]:
        """Metrics and score on the rows that choose: the distance, or the main metric, and among equals the loss."""
        setup, rows = self.setup, self.setup.choosing
        model, inference = self._evaluated()
        logits, labels = predict_logits(model, rows, inference), cast(np.ndarray, rows.labels)
        metrics = compute_metrics(setup.task, labels, logits)
        if self.recipe.distance is not None:
            return metrics, (-self.recipe.distance(logits),)
        if setup.held_out is None:
            return metrics, (metrics[setup.task.metrics[0]],)
        loss = float(keras.ops.convert_to_numpy(task_loss(setup.task)(labels, logits)))
        return metrics, (metrics[setup.task.metrics[0]], -loss)

    def _evaluated(self) -> tuple[BertClassifier, InferenceSettings]:
        """The model to evaluate, and how: compiling one that is new each time would take longer than running it."""
        if self.recipe.evaluated is None:
            return self.saved, self.setup.inference
        return self.recipe.evaluated(), self.setup.inference.in_plain_graph()

    def _save(self):
        if not self.folder:
            # The last weights are in the model; others are kept until training ends.
            self._kept = [] if self.recipe.keep_last else self.saved.get_weights()
            return
        with replacing(self.folder / WEIGHTS_FILE, suffix=".weights.h5") as partial:
            self.saved.save_weights(partial)
