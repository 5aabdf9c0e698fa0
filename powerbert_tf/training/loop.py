"""One training stage: epochs over the training split, the dev metrics after each, the chosen weights kept."""

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

from powerbert_tf.batches.batching import Batches, EncodedSplit, prediction_batches, training_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.common.files import replacing
from powerbert_tf.common.reporting import ProgressBar, say
from powerbert_tf.common.scratch import new_array
from powerbert_tf.common.termination import at_once
from powerbert_tf.data.metrics import compute_metrics, format_metrics
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import compiled_once, recorded_compilations
from powerbert_tf.training.callbacks import BuildSteps, InputWait, LossWatch, deterministic_clock
from powerbert_tf.training.distribution.jax_devices import JaxTrainer, on_jax, predict_on_layout
from powerbert_tf.training.distribution.processes import is_chief, wait_for_all
from powerbert_tf.training.distribution.replicas import ReplicaTrainer, predict_on_replicas
from powerbert_tf.training.distribution.strategies import active_layout, active_strategy
from powerbert_tf.training.losses import REDUCTION, WeightedCrossEntropy
from powerbert_tf.training.optimizer import BertAdam, WarmupLinearDecay
from powerbert_tf.training.settings import TrainingSettings
from powerbert_tf.training.state import LOG_FILE, WEIGHTS_FILE, TrainingState, fingerprint, fit_on

_LONG_WAIT = 0.05  # a share of the time that is worth telling


@dataclasses.dataclass(frozen=True)
class TrainingOutcome:
    """The epoch whose weights were kept.

    Attributes:
        epoch: Its number, from 1; 0 for the weights as they were before training.
        metrics: Dev metrics, the main one first.
    """

    epoch: int
    metrics: dict[str, float]


def predict_logits(model: keras.Model, encoded: EncodedSplit, inference: InferenceSettings) -> np.ndarray:
    """Logits `[n, C]` in the order of the split."""
    batches = prediction_batches(
        encoded, inference.eval_batch_size, inference.padding, inference.length_buckets, fill=inference.jit_compile
    )
    if strategy := active_strategy():
        return predict_on_replicas(model, batches, inference.eval_batch_size, strategy)
    if layout := active_layout():
        return predict_on_layout(model, batches, inference.eval_batch_size, layout)
    function = compiled_once(model, inference.jit_compile)
    dataset = batches.dataset(with_labels=False)
    logits: np.ndarray | None = None
    for inputs, rows in zip(dataset.as_numpy_iterator() if on_jax() else dataset, batches.rows, strict=True):
        found = keras.ops.convert_to_numpy(function(inputs))[: len(rows)]  # without what the batch was filled up with
        if logits is None:
            logits = new_array((len(encoded), *found.shape[1:]), found.dtype)
        logits[rows] = found
    return cast(np.ndarray, logits)


def evaluate_model(
    model: BertClassifier, task: Task, split: EncodedSplit, inference: InferenceSettings
) -> dict[str, float]:
    """The task's metrics on a split with labels, the main one first."""
    logits = predict_logits(model, split, inference)
    return compute_metrics(task, cast(np.ndarray, split.labels), logits)


def task_loss(task: Task) -> keras.losses.Loss:
    """Loss of logits `[B, C]` against labels `[B]`."""
    if task.is_regression:
        return keras.losses.MeanSquaredError(reduction=REDUCTION)
    if task.class_weights:
        return WeightedCrossEntropy(task.class_weights, reduction=REDUCTION)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=REDUCTION)


def _optimizer(settings: TrainingSettings, rate: float, num_steps: int, decays: bool) -> BertAdam:
    return BertAdam(
        WarmupLinearDecay(rate, num_steps, settings.warmup_proportion) if decays else rate,
        retention_rate_ratio=settings.learning_rate_soft_extract / rate,
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clipnorm or None,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training stage does in its own way.

    Attributes:
        title: Of the progress bar.
        rate: Peak learning rate.
        epochs: How many.
        decays: Whether the rate warms up and decays; else it stays, for a stage that ends by itself.
        loss: Of logits against the labels of the training split.
        keep_last: Whether the weights of the last epoch are kept, and not those of the best.
        start: Dev metrics before training, where weights that training does not improve are to stay; else None.
        evaluated: What to evaluate after an epoch; the model itself where there is none.
        callbacks: Further callbacks.
        log: More to write into the log after an epoch: JSON values by name.
    """

    title: str
    rate: float
    epochs: int
    decays: bool = True
    loss: keras.losses.Loss
    keep_last: bool = False
    start: dict[str, float] | None = None
    evaluated: Callable[[], BertClassifier] | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    log: Callable[[], dict[str, Any]] = dict


def train(
    model: BertClassifier,
    task: Task,
    train_split: EncodedSplit,
    dev_split: EncodedSplit,
    settings: TrainingSettings,
    inference: InferenceSettings,
    folder: Path,
    recipe: Recipe,
    trainer: keras.Model | None = None,
) -> TrainingOutcome:
    """Trains a model; writes `log.jsonl` (an object an epoch) and `model.weights.h5` into `folder`.

    The seconds in the log are of training and evaluating alone: what is compiled is so before, or is subtracted.

    Kept are the weights of the best dev epoch by the task's main metric, the earlier one among equals, or those of the
    last epoch, as the recipe says.

    Args:
        model: What is evaluated and saved; afterwards it holds the kept weights.
        task: Loss and metrics.
        train_split: With labels.
        dev_split: With labels.
        settings: Batch size, seed and so on.
        inference: How batches are padded, and how the model is evaluated.
        folder: An existing folder.
        recipe: Of this stage.
        trainer: What is trained, a model that shares the weights; None for the model itself.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    steps_per_epoch = math.ceil(len(train_split) / settings.batch_size)
    input_wait = InputWait(deterministic_clock if settings.deterministic else tf.timestamp)
    engine = _engine(
        settings, inference.jit_compile, recipe, steps_per_epoch * recipe.epochs, input_wait, model, trainer
    )
    keeper = _EpochKeeper(model, task, dev_split, inference, folder, recipe, input_wait)
    state = TrainingState(
        folder,
        {
            "title": recipe.title,
            "epochs": recipe.epochs,
            "rate": recipe.rate,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "examples": len(train_split),
            "weights": fingerprint(model),
        },
        title=recipe.title,
        steps_per_epoch=steps_per_epoch,
        epochs=recipe.epochs,
        minutes=settings.checkpoint_minutes,
        every=settings.checkpoint_steps,
        remembering=[*recipe.callbacks, keeper],
    )
    keeper.save_start()
    batches = training_batches(
        train_split,
        settings.batch_size,
        recipe.epochs,
        settings.seed,
        inference.padding,
        inference.length_buckets,
        fill=inference.jit_compile,
    )
    of_each_shape = batches.of_each_length()
    to_build = engine.batches(of_each_shape if inference.jit_compile else of_each_shape.first(1))
    build = keras.callbacks.Callback() if on_jax() else BuildSteps(recipe.title, to_build)
    watching = [LossWatch(recipe.title, state), ProgressBar(recipe.title, state.step), *recipe.callbacks]
    fit_on(
        engine.model,
        state,
        batches,
        engine.measured_batches,
        [*engine.callbacks, *watching, keeper, state],
        at_first=build,
        fit=engine.fit,
    )
    wait_for_all()  # for the weights, which the chief writes
    model.load_weights(folder / WEIGHTS_FILE)
    return keeper.outcome


def _engine(
    settings: TrainingSettings,
    jit_compile: bool,
    recipe: Recipe,
    num_steps: int,
    input_wait: InputWait,
    model: BertClassifier,
    trainer: keras.Model | None,
) -> "OneDevice | ReplicaTrainer | JaxTrainer":
    """What runs the steps: Keras on one device, ours on several."""
    make_optimizer = functools.partial(_optimizer, settings, recipe.rate, num_steps, recipe.decays)

    def head(of: keras.Model) -> keras.Model:
        # The model itself stays without an optimizer, whose state would be saved with its weights.
        return keras.Model(of.input, of.output, name=of.name) if trainer is None else of

    if strategy := active_strategy():
        return ReplicaTrainer(
            trainer or model, head, strategy, make_optimizer, recipe.loss, settings.batch_size, input_wait.add
        )
    if on_jax():
        return JaxTrainer(trainer or model, head, active_layout(), make_optimizer, recipe.loss, settings.batch_size)
    of_one = head(trainer or model)
    of_one.compile(make_optimizer(), recipe.loss, jit_compile=jit_compile)
    return OneDevice(of_one, input_wait)


class OneDevice:
    """Training by Keras; it has what `replicas.ReplicaTrainer` has.

    Attributes:
        model: Compiled.
        callbacks: None.
        fit: The model's own.

    Args:
        model: See there.
        input_wait: Of the batches.
    """

    def __init__(self, model: keras.Model, input_wait: InputWait):
        self.model = model
        self.callbacks: list[keras.callbacks.Callback] = []
        self.fit = model.fit
        self._input_wait = input_wait

    def batches(self, batches: Batches) -> tf.data.Dataset:
        """With labels."""
        return batches.dataset(with_labels=True)

    def measured_batches(self, batches: Batches) -> tf.data.Dataset:
        """What `fit` takes."""
        return self._input_wait.measured(self.batches(batches))


class _EpochKeeper(keras.callbacks.Callback):
    """Evaluates on dev after each epoch, logs, and saves the weights to keep."""

    def __init__(
        self,
        saved: BertClassifier,
        task: Task,
        dev_split: EncodedSplit,
        inference: InferenceSettings,
        folder: Path,
        recipe: Recipe,
        input_wait: InputWait,
    ):
        super().__init__()
        self.saved = saved
        self.task = task
        self.dev_split = dev_split
        self.inference = inference
        self.folder = folder
        self.recipe = recipe
        self.input_wait = input_wait
        self.outcome = TrainingOutcome(0, recipe.start or {task.metrics[0]: -math.inf})  # any epoch is better

    def save_start(self) -> None:
        """Keeps the weights as they are, where those may be the best, and no better ones are there yet."""
        if self.recipe.start and is_chief() and not (self.folder / WEIGHTS_FILE).exists():
            self._save()

    def get_state(self):
        self._waited += self.input_wait.take()
        seconds = time.perf_counter() - self._began
        return {**dataclasses.asdict(self.outcome), "seconds": seconds, "waited": self._waited}

    def set_state(self, values):
        self.outcome = TrainingOutcome(values["epoch"], values["metrics"])
        self._began, self._waited = time.perf_counter() - values["seconds"], values["waited"]

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._waited = time.perf_counter(), 0.0
        self.input_wait.take()  # what came before is not of this epoch

    def on_epoch_end(self, epoch, logs=None):
        train_seconds = time.perf_counter() - self._began
        wait_share = (self._waited + self.input_wait.take()) / train_seconds
        with at_once(), recorded_compilations() as compilations:
            if self.recipe.evaluated:  # a new model each time: compiling it would take longer than running it
                metrics = evaluate_model(
                    self.recipe.evaluated(), self.task, self.dev_split, self.inference.in_plain_graph()
                )
            else:
                metrics = evaluate_model(self.saved, self.task, self.dev_split, self.inference)
        eval_seconds = time.perf_counter() - self._began - train_seconds - compilations.seconds
        main = self.task.metrics[0]
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": float(np.asarray(logs["loss"])),
            "metrics": metrics,
            "train_seconds": round(train_seconds, 1),
            "input_wait_share": round(wait_share, 4),
            "eval_seconds": round(eval_seconds, 1),
        }
        more = self.recipe.log()
        line = f"  epoch {epoch + 1}: {format_metrics(metrics)}"
        if "retention_configuration" in more:
            line += f", keeps {format_configuration(more['retention_configuration'])}"
        if wait_share > _LONG_WAIT:
            line += f"; {wait_share:.0%} of the training time waited for input"
        if is_chief():
            with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps({**row, **more}) + "\n")
        say(line)
        if self.recipe.keep_last or metrics[main] > self.outcome.metrics[main]:
            self.outcome = TrainingOutcome(epoch + 1, metrics)
            if is_chief():
                self._save()
        self._began, self._waited = time.perf_counter(), 0.0

    def _save(self):
        with replacing(self.folder / WEIGHTS_FILE, suffix=".weights.h5") as partial:
            self.saved.save_weights(partial)
