"""Progress bars with the time left."""

import sys

import keras
import numpy as np
from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15  # where the console is a file, each refresh is a line


def open_bar(**kwargs) -> tqdm:
    """A bar on stderr; where that is a file, it is a line now and then.

    Args:
        **kwargs: Of `tqdm`.
    """
    interactive = sys.stderr.isatty()
    return tqdm(
        dynamic_ncols=True,
        mininterval=0.2 if interactive else _SECONDS_BETWEEN_LINES,
        maxinterval=10 if interactive else 4 * _SECONDS_BETWEEN_LINES,
        file=sys.stderr,
        **kwargs,
    )


class ProgressBar(keras.callbacks.Callback):
    """Shows the batches of each epoch on stderr, with loss and learning rate.

    Args:
        title: What is being trained.
        done: Steps that another process did before.
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
