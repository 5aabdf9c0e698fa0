"""Callbacks of a training that watch its loss, and build its step before it begins."""

import math
from typing import Any

import keras
import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import open_bar, say
from powerbert_tf.models.compilation import compiling
from powerbert_tf.training.state import TrainingState

_WINDOW = 25  # steps: enough that their mean says more than their noise
_RISEN = 1.5  # times the first window's mean
_LEARNED, _FORGOTTEN = 0.6, 0.95  # shares of the first window's mean: below the one, and then above the other


class LossTrend:
    """Detects a loss that rises although it should fall, from the means of windows of steps.

    It diverges if a window's mean is far above the first one's, or is back there after it had been far below, as when
    fine-tuning falls back to guessing.
    """

    def __init__(self):
        self._losses: list[float] = []
        self.first = self.lowest = math.nan

    def add(self, loss: float) -> float | None:
        """Takes the loss of a step; returns the mean of a window that ends with it and diverges, or None."""
        self._losses.append(loss)
        if len(self._losses) < _WINDOW:
            return None
        mean = float(np.mean(self._losses))
        self._losses.clear()
        if math.isnan(self.first):
            self.first = self.lowest = mean
        self.lowest = min(self.lowest, mean)
        forgot = self.lowest < _LEARNED * self.first and mean > _FORGOTTEN * self.first
        return mean if self.first > 0 and (mean > _RISEN * self.first or forgot) else None


class LossWatch(keras.callbacks.Callback):
    """Stops a training whose loss is not finite with an `InputError`, and warns once if it diverges.

    A loss with a penalty that a search raises as it goes is not expected to fall.
    """

    def __init__(self, state: TrainingState):
        super().__init__()
        self.state = state
        self._trend: LossTrend | None = LossTrend()

    def on_epoch_begin(self, epoch, logs=None):
        self._mean: float | None = None

    def on_train_batch_end(self, batch, logs=None):
        title, step = self.state.title, self.state.step + 1
        mean = float(np.asarray(logs["loss"]))  # over the steps of the epoch so far
        if not math.isfinite(mean):
            raise InputError(
                f"{title}: the loss is {mean} at step {step}, at rate {self._rate():.1e}; {self.state.last_saved}; "
                "lower --learning_rate or set --clipnorm=1."
            )
        before, self._mean = self._mean, mean
        steps = self.state.step % self.state.steps_per_epoch  # that were in the mean before
        if self._trend is None or self.model.losses or (steps and before is None):
            return
        diverged = self._trend.add(mean * (steps + 1) - (before or 0.0) * steps)
        if diverged is not None:
            say(
                f"  {title}: the run diverges: a loss of {diverged:.3g} at step {step}, after "
                f"{self._trend.lowest:.3g}; a lower --learning_rate ({self._rate():.1e} now) or --clipnorm=1 may help"
            )
            self._trend = None  # once is enough

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class BuildSteps(keras.callbacks.Callback):
    """Runs a step on each of some batches when `fit` begins, and restores every variable; for TensorFlow only.

    No epoch is then measured together with the compilation of its step. Must be the last callback: others set up what
    the step reads when training begins.

    Args:
        title: Shown in the progress bar.
        batches: A dataset like that of `fit`, with a batch of each shape for which a program is built.
        count: Number of batches.
    """

    def __init__(self, title: str, batches: Any, count: int):
        super().__init__()
        self.title = title
        self.batches = batches
        self.count = count

    def on_train_begin(self, logs=None):
        model, optimizer = self.model, self.model.optimizer
        optimizer.build(model.trainable_variables)
        variables = [*model.variables, *optimizer.variables]
        values = [keras.ops.convert_to_numpy(variable) for variable in variables]
        remaining = iter(self.batches)
        title = f"{self.title}: compile"
        for _ in open_bar(iterable=range(self.count), desc=title, unit="shape", leave=False, disable=None):
            with compiling():
                float(model.train_function(remaining)["loss"])  # waits for the result
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


class ProgressBar(keras.callbacks.Callback):
    """Shows the batches of each epoch on stderr, with loss and learning rate.

    Args:
        title: Text before the number of the epoch.
        done: Steps that an interrupted run did before.
    """

    def __init__(self, title, done=0):
        super().__init__()
        self.title = title
        self.done = done

    def on_epoch_begin(self, epoch, logs=None):
        title = f"{self.title} {epoch + 1}/{self.params['epochs']}"
        steps = self.params["steps"]
        before = min(max(0, self.done - epoch * steps), steps)
        self._bar = open_bar(total=steps, initial=before, desc=title, unit="batch")

    def on_train_batch_end(self, batch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        loss = float(np.asarray(logs["loss"]))
        self._bar.set_postfix_str(f"loss={loss:.4f}, rate={rate:.1e}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()
