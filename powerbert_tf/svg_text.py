"""Figures as SVG: a file, or part of a page that lends them its colours and its font."""

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

# Colours that a page may replace, by the names of its custom properties; in a file they are as they stand here. The
# series are of equal weight on white and on black, and told apart with any colour vision.
INK, LINE = "#1b1b1e", "#c9c9d2"
SERIES = ("#1f77c4", "#d0621b", "#1f9a76", "#b9659d", "#8a7a1a", "#6d6fd1", "#7c7c84")
_PROPERTIES = {INK: "--text", LINE: "--line", **{color: f"--series-{i}" for i, color in enumerate(SERIES)}}


def svg_text(figure: Figure, name: str) -> str:
    """A figure as an SVG file's text, the same for the same figure.

    Args:
        figure: What to draw.
        name: Told to readers of the file; no two figures of a page have the same.
    """
    written = io.StringIO()
    # Text stays text, which can be read aloud and found; neither the date nor random names.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Title": name}, transparent=True)
    return written.getvalue()


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an element of a page: it takes the page's width, colours and font, and has a description.

    Args:
        figure: What to draw.
        name: Begins the ids in it, so that several stand in one page.
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
