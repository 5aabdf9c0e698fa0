"""One reporter for lines of text and progress bars: the command line prints them, Python callers may redirect them."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import keras
import numpy as np
from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15  # if stderr is a file, where each refresh of a bar is a line


def _print(line: str, is_warning: bool) -> None:
    print(line, file=sys.stderr if is_warning else sys.stdout, flush=True)


_take: Callable[[str, bool], None] | None = _print  # None to be silent


def say(line: str, is_warning: bool = False) -> None:
    """Reports a line of progress or results, or several; prints it, a warning to stderr, unless redirected."""
    if _take:
        _take(line, is_warning)


@contextlib.contextmanager
def reporting(verbose: int = 1, take: Callable[[str], None] | None = None) -> Iterator[None]:
    """A block whose reports are silenced or redirected.

    Args:
        verbose: 0 for no lines and no progress bars; 1 for what the surrounding block reports.
        take: Function that takes each line instead of printing it; None to change nothing.
    """
    global _take
    before = _take
    if not verbose:
        _take = None
    elif take and _take:
        _take = lambda line, is_warning: take(line)  # noqa: E731
    try:
        yield
    finally:
        _take = before


def open_bar(**kwargs) -> tqdm:
    """Opens a progress bar on stderr, with the arguments of `tqdm`; in a file, it is a line now and then.

    `disable=None` shows it only on a terminal.
    """
    interactive = sys.stderr.isatty()
    return tqdm(
        dynamic_ncols=True,
        mininterval=0.2 if interactive else _SECONDS_BETWEEN_LINES,
        maxinterval=10 if interactive else 4 * _SECONDS_BETWEEN_LINES,
        file=sys.stderr,
        **{**kwargs, "disable": _take is None or kwargs.get("disable", False)},
    )


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
