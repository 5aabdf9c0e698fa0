"""One reporter for lines of text and progress bars: the command line prints them, Python callers may redirect them."""

import contextlib
import functools
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

_SECONDS_BETWEEN_LINES = 60  # if stderr is no terminal, where each refresh of a bar is a line
_BAR = "{desc} {percentage:3.0f}%|{bar}|{n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"  # fits 80 columns
_LINE = "{desc} {percentage:3.0f}% ({n_fmt}/{total_fmt}) {elapsed}<{remaining}{postfix}"


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


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """A block in which libraries print nothing, and log errors only."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def open_bar(**kwargs: Any) -> Any:
    """Opens a progress bar on stderr, or in a notebook, with the arguments of `tqdm`.

    Where stderr is no terminal, there is no bar, but a line each minute. `disable=None` shows nothing there.
    """
    from tqdm.auto import tqdm  # late: flags are read, and errors in them shown, without it

    in_notebook = "ipykernel" in sys.modules
    if _take is None:
        kwargs["disable"] = True
    if sys.stderr.isatty() or in_notebook:
        shown = {"dynamic_ncols": True, "mininterval": 0.2, "maxinterval": 10, "bar_format": _BAR}
        disable = {"disable": False} if in_notebook and kwargs.get("disable", False) is None else {}
        return tqdm(**{**shown, "file": sys.stderr, **kwargs, **disable})
    seconds = _SECONDS_BETWEEN_LINES
    often = {"delay": seconds, "mininterval": seconds, "maxinterval": 4 * seconds, "bar_format": _LINE}
    return _lines_of_progress()(**{**often, "file": sys.stderr, **kwargs})


@functools.cache
def _lines_of_progress() -> type:
    """The kind of bar for a file: each refresh is a line, and there is none at its end."""
    from tqdm import tqdm

    class LinesOfProgress(tqdm):
        @staticmethod
        def status_printer(file: Any) -> Callable[[str], None]:
            def show(line: str) -> None:
                file.write(f"{line}\n")
                file.flush()

            return show

        def close(self) -> None:
            if not self.disable:  # type: ignore[has-type]
                self.disable = True
                self._decr_instances(self)

    return LinesOfProgress
