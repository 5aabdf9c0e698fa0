"""Watching the loss of a training: one that is no number ends it, one that goes the wrong way is told."""

import math

import keras
import numpy as np

from powerbert_tf.errors import InputError
from powerbert_tf.training_state import TrainingState

_WINDOW = 25  # steps: enough that their mean says more than their noise
_RISEN = 1.5  # times the first window's mean
_LEARNED, _FORGOTTEN = 0.6, 0.95  # shares of the first window's mean: below the one, and then above the other


class LossTrend:
    """Whether a loss that should fall rises: plain arithmetic on the means of windows of steps.

    It diverges where a window's mean is far above the first one's, or is back there after it had been far below, as
    where a fine-tuning falls back to guessing.
    """

    def __init__(self):
        self._sum = 0.0
        self._count = 0
        self.first = self.lowest = math.nan

    def add(self, loss: float) -> float | None:
        """Takes the loss of a step; returns the mean of a window that is complete with it and diverges, or None."""
        self._sum += loss
        self._count += 1
        if self._count < _WINDOW:
            return None
        mean, self._sum, self._count = self._sum / _WINDOW, 0.0, 0
        if math.isnan(self.first):
            self.first = self.lowest = mean
        self.lowest = min(self.lowest, mean)
        forgot = self.lowest < _LEARNED * self.first and mean > _FORGOTTEN * self.first
        return mean if self.first > 0 and (mean > _RISEN * self.first or forgot) else None


class LossWatch(keras.callbacks.Callback):
    """Stops a training whose loss is no finite number, and tells once where it diverges.

    Losses with a penalty that a search raises as it goes are not held to fall.

    Args:
        title: Of the training.
        state: Its state.

    Raises:
        InputError: At the end of a step: its loss, or one before it in the epoch, is not finite.
    """

    def __init__(self, title: str, state: TrainingState):
        super().__init__()
        self.title = title
        self.state = state
        self._trend: LossTrend | None = LossTrend()

    def on_epoch_begin(self, epoch, logs=None):
        self._mean: float | None = None

    def on_train_batch_end(self, batch, logs=None):
        mean = float(np.asarray(logs["loss"]))  # over the steps of the epoch so far
        if not math.isfinite(mean):
            raise InputError(
                f"{self.title}: the loss is {mean} at step {self.state.step + 1}, at rate {self._rate():.1e}; "
                f"{self.state.last_saved}; lower --learning_rate or set --clipnorm=1."
            )
        before, self._mean = self._mean, mean
        steps = self.state.step % self.state.steps_per_epoch  # that were in the mean before
        if self._trend is None or self.model.losses or (steps and before is None):
            return
        diverged = self._trend.add(mean * (steps + 1) - (before or 0.0) * steps)
        if diverged is not None:
            print(
                f"  {self.title}: the run diverges: a loss of {diverged:.3g} at step {self.state.step + 1}, after "
                f"{self._trend.lowest:.3g}; a lower --learning_rate ({self._rate():.1e} now) or --clipnorm=1 may help",
                flush=True,
            )
            self._trend = None  # once is enough

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
