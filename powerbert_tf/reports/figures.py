"""The figures of a report, small enough for a telephone, and SVG: as a file, or as part of a page in its colours."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# A page replaces these colours with its custom properties; a file keeps them. The series have equal weight on white and
# on black, and can be distinguished with any colour vision.
INK, LINE = "#1b1b1e", "#c9c9d2"
SERIES = ("#1f77c4", "#d0621b", "#1f9a76", "#b9659d", "#8a7a1a", "#6d6fd1", "#7c7c84")
_PROPERTIES = {INK: "--text", LINE: "--line", **{color: f"--series-{i}" for i, color in enumerate(SERIES)}}

_WIDTH = 5.4  # inches of 72 points: the width of a telephone, which then shows text at its size here
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", "--", "-.", ":")
_STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.markeredgewidth": 1,
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def drawing(*args, **kwargs):
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawing


def _figure(height: float = 3.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _look(index: int) -> dict[str, Any]:
    """Lines differ in colour, marker and dashes, so that they can be told apart without colour."""
    return {
        "color": SERIES[index % len(SERIES)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


@_styled
def draw_lengths(edges: Sequence[int], histogram: Mapping[str, Sequence[float]]) -> Figure:
    """Shares of examples by number of tokens: of each split one share per bin, between n + 1 edges."""
    figure, axes = _figure(2.6)
    for index, (name, shares) in enumerate(histogram.items()):
        axes.stairs(shares, edges, color=SERIES[index], linestyle=DASHES[index], linewidth=1.8, label=name)
    axes.set_xlabel("tokens")
    axes.set_ylabel("share of examples")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0)
    axes.legend()
    return figure


@_styled
def draw_curves(rows: Sequence[Mapping[str, Any]], metric: str, kept: int | None, start: float | None) -> Figure:
    """Loss and metric by epoch.

    Args:
        rows: Of `log.jsonl`.
        metric: The main metric.
        kept: The epoch whose weights were kept, or None.
        start: The metric before training, or None.
    """
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [row["epoch"] for row in rows]
    above.plot(epochs, [row["loss"] for row in rows], **_look(0))
    above.set_ylabel("training loss")
    values = [row["metrics"][metric] for row in rows]
    if start is not None:
        epochs, values = [0, *epochs], [start, *values]
    below.plot(epochs, values, **_look(1))
    if kept in epochs:
        below.plot(
            [kept], [values[epochs.index(kept)]], "o", color=SERIES[1], markersize=11, fillstyle="none", label="kept"
        )
        below.legend()
    below.set_ylabel(f"{rows[0]['split']} {metric}")
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@_styled
def draw_by_encoder(x: Sequence[float], lines: Sequence[Sequence[float]], x_label: str, y_label: str) -> Figure:
    """One line per encoder: `x` is `[n]`, `lines` is `[L][n]`."""
    figure, axes = _figure(3.2)
    for index, line in enumerate(lines):
        axes.plot(x, line, **_look(index), label=f"encoder {index + 1}")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(0)
    if all(float(value).is_integer() for value in x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=9, ncols=2)
    return figure


@_styled
def draw_kept(kept: Sequence[float], mean_length: float) -> Figure:
    """Mean number of word-vectors that each encoder keeps, `[L]`, and of those that enter the first."""
    figure, axes = _figure(2.6)
    encoders = range(1, len(kept) + 1)
    axes.bar(encoders, kept, color=SERIES[0], width=0.7)
    axes.axhline(mean_length, color=SERIES[1], linestyle="--", label=f"input, {mean_length:.1f}")
    for encoder, value in zip(encoders, kept, strict=True):
        # Above the input's line, not across it.
        place = mean_length if 0.85 * mean_length < value < mean_length else value
        axes.annotate(f"{value:.1f}", (encoder, place), (0, 2), textcoords="offset points", ha="center", fontsize=10)
    axes.set_xlabel("encoder")
    axes.set_ylabel("word-vectors left, mean")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.3 * mean_length)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper right")
    return figure


@_styled
def draw_reliability(models: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy against confidence; `models` holds `reliability()` by the model's name."""
    figure, axes = _figure(3.4)
    lowest = min(min(found["confidence"] + found["accuracy"]) for found in models.values())
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="perfectly calibrated")
    for index, (name, found) in enumerate(models.items()):
        label = f"{name}, error {found['error']:.3f}"
        axes.plot(found["confidence"], found["accuracy"], **_look(index), label=label)
    axes.set_xlim(max(0, lowest - 0.05), 1.02)
    axes.set_ylim(max(0, lowest - 0.05), 1.02)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share that is right")
    axes.legend(fontsize=9)
    return figure


@_styled
def draw_points(points: Sequence[Sequence[float]]) -> Figure:
    """Numbers of the reduced model against those of the fine-tuned one, `[n][2]`."""
    figure, axes = _figure(3.4)
    before, after = zip(*points, strict=True)
    axes.plot(before, after, "o", color=SERIES[0], markersize=2.5, alpha=0.5, rasterized=False)
    ends = [min(*before, *after), max(*before, *after)]
    axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("fine-tuned")
    axes.set_ylabel("reduced")
    return figure


@_styled
def draw_bars(names: Sequence[str], values: Sequence[float], unit: str, reduced: Sequence[bool] = ()) -> Figure:
    """Bars from top to bottom, with their names, values, and how many times less than the first each is.

    Those of the reduced model, where `reduced` is true, have a colour and a pattern of their own.
    """
    figure, axes = _figure(0.5 + 0.66 * len(values))
    places = range(len(values))
    bars = axes.barh(places, values, color=SERIES[0], height=0.36)
    for bar, is_reduced in zip(bars, reduced, strict=False):
        if is_reduced:
            bar.set(facecolor=SERIES[1], hatch="////", edgecolor=SERIES[1], fill=True)
    for place, name, value in zip(places, names, values, strict=True):
        axes.annotate(name, (0, place - 0.2), (1, 2), textcoords="offset points", va="bottom", fontsize=10.5)
        times = "" if place == 0 else f" ({values[0] / value:.2f}x less)"
        axes.annotate(
            f"{value:.1f}{times}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=10.5
        )
    axes.set_ylim(len(values) - 0.6, -0.75)
    axes.set_xlim(0, 1.35 * max(values))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(unit)
    return figure


@_styled
def draw_times(names: Sequence[str], times: Sequence[Sequence[float]], chosen: int | None, limit: float) -> Figure:
    """Milliseconds of forms from top to bottom: a bar to the median, and a line on to the 90th and 99th percentile.

    Args:
        names: Of the forms.
        times: The three percentiles of each.
        chosen: Number of the form that is recommended, or None.
        limit: Milliseconds that are allowed, at one of the percentiles; 0 for any.
    """
    figure, axes = _figure(0.6 + 0.5 * len(names))
    for place, (name, (middle, high, highest)) in enumerate(zip(names, times, strict=True)):
        is_chosen = place == chosen
        color = SERIES[1] if is_chosen else SERIES[0]
        axes.barh(place, middle, color=color, height=0.3)
        axes.plot([middle, high, highest], [place] * 3, color=color, marker="|", markersize=9, linewidth=1.2)
        text = f"{name}: {middle:.3g}" + ", recommended" * is_chosen
        axes.annotate(text, (0, place - 0.17), (1, 1), textcoords="offset points", va="bottom", fontsize=10)
    if limit:
        axes.axvline(limit, color=INK, linewidth=0.9, linestyle=":", label=f"limit, {limit:g} ms")
        axes.legend(fontsize=9, loc="upper right")
    axes.set_ylim(len(names) - 0.6, -0.8)
    axes.set_xlim(0, 1.06 * max([limit, *(one[-1] for one in times)]))
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("milliseconds a call: median, then 90th and 99th percentile")
    return figure


def svg_text(figure: Figure, name: str) -> str:
    """A figure as the text of an SVG file, the same for the same figure; `name` is its title, unique in a page."""
    written = io.StringIO()
    # Text stays text, which can be read aloud and found; no date and no random names.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Title": name}, transparent=True)
    return written.getvalue()


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an element of a page, with the page's width, colours and font.

    Args:
        figure: What to draw.
        name: Begins the ids in it, so that a page can hold several figures.
        description: For those who cannot see it.
    """
    text = svg_text(figure, name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text)
    for color, custom in _PROPERTIES.items():
        text = text.replace(color, f"var({custom})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    head = (
        f'<svg role="img" aria-label="{escape(description, quote=True)}" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view.group(1) if view else ""}">'
    )
    return re.sub(r"<svg\b[^>]*>", lambda _: head, text, count=1)
