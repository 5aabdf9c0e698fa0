"""What a report is made of, and a report written as a page, one file without a network, or as Markdown."""

import dataclasses
import importlib.resources
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from powerbert_tf.common.files import replacing
from powerbert_tf.common.markdown import markdown_table
from powerbert_tf.reports.figures import inline_svg, svg_text

PAGE, _FIGURES = "index.html", "figures"
_WIDE = 8.0  # inches from which a figure is scrolled, not shrunk, on a narrow screen


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        header: Names of the columns.
        rows: One text per column; the first names the row.
        caption: What the table shows.
        numbers: Whether all columns but the first hold numbers, which are aligned to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    numbers: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Plot:
    """A figure.

    Attributes:
        name: Of its file, without suffix; unique in a report.
        figure: As drawn, see `figures`.
        caption: What it shows, also for those who cannot see it.
    """

    name: str
    figure: Figure
    caption: str


@dataclasses.dataclass(frozen=True)
class Hero:
    """The result, to read first.

    Attributes:
        figures: Large numbers, each with what it says.
        sentence: The verdict.
        is_good: Whether it is a good one; None if that is unknown.
    """

    figures: Sequence[tuple[str, str]]
    sentence: str
    is_good: bool | None


@dataclasses.dataclass(frozen=True)
class Caution:
    """What a reader must know before believing the numbers."""

    text: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines to copy.

    Attributes:
        text: The lines.
        language: For Markdown, such as `python`.
        caption: What they do.
    """

    text: str
    language: str
    caption: str


Block = str | Table | Plot | Hero | Caution | Code  # a text is a paragraph


@dataclasses.dataclass(frozen=True)
class Section:
    """Part of a report.

    Attributes:
        name: Of its anchor.
        title: Its heading.
        blocks: What it holds, in order.
    """

    name: str
    title: str
    blocks: Sequence[Block]


def report_page(title: str, sections: Sequence[Section]) -> str:
    """The page as HTML, complete in itself and without scripts."""
    template = importlib.resources.files("powerbert_tf.reports").joinpath("report_page.html")
    links = "\n".join(f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections)
    body = "\n".join(_section(one) for one in sections)
    parts = {"TITLE": escape(title), "LINKS": links, "SECTIONS": body}
    text = template.read_text(encoding="utf-8")
    return re.sub("__(TITLE|LINKS|SECTIONS)__", lambda found: parts[found.group(1)], text)


def report_markdown(title: str, sections: Sequence[Section], figures: str) -> str:
    """The same as Markdown; `figures` is the folder of `<name>.svg`, relative to the file."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_markdown(block, figures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def write_pages(folder: Path, title: str, sections: Sequence[Section], markdown: str) -> None:
    """Writes both: `index.html`, and Markdown under the name `markdown` with `figures/*.svg`; each file appears whole.

    Raises:
        OSError: A file cannot be written.
    """
    plots = [block for section in sections for block in section.blocks if isinstance(block, Plot)]
    texts = {
        PAGE: report_page(title, sections),
        markdown: report_markdown(title, sections, _FIGURES),
        **{f"{_FIGURES}/{plot.name}.svg": svg_text(plot.figure, plot.name) for plot in plots},
    }
    (folder / _FIGURES).mkdir(exist_ok=True)
    for name, text in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _section(section: Section) -> str:
    blocks = "\n".join(_html(block) for block in section.blocks)
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">\n'
        f'<h2 id="{section.name}-title">{escape(section.title)}</h2>\n{blocks}\n</section>'
    )


def _html(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Hero):
        return _hero(block)
    if isinstance(block, Caution):
        return f'<p class="warning"><strong>Mind:</strong> {escape(block.text)}</p>'
    # The keyboard must reach whatever scrolls.
    scrolled = f' tabindex="0" role="group" aria-label="{escape(block.caption)}"'
    if isinstance(block, Table):
        return f'<div class="scroll"{scrolled}>{_table(block)}</div>'
    if isinstance(block, Code):
        return f'<p>{escape(block.caption)}:</p>\n<div class="scroll"{scrolled}><pre>{escape(block.text)}</pre></div>'
    kind = "wide" if block.figure.get_figwidth() > _WIDE else "narrow"
    svg = inline_svg(block.figure, block.name, block.caption)
    return (
        f'<figure class="{kind}"><div class="scroll"{scrolled if kind == "wide" else ""}>{svg}</div>'
        f"<figcaption>{escape(block.caption)}.</figcaption></figure>"
    )


def _hero(hero: Hero) -> str:
    kind = {True: " good", False: " bad", None: ""}[hero.is_good]
    figures = "\n".join(
        f"<li><strong>{escape(value)}</strong> <span>{escape(text)}</span></li>" for value, text in hero.figures
    )
    return f'<div class="hero{kind}"><p>{escape(hero.sentence)}</p>\n<ul>\n{figures}\n</ul></div>'


def _table(table: Table) -> str:
    number = ' class="number"' if table.numbers else ""

    def row(texts: Sequence[str], tag: str, scope: str) -> str:
        first, *others = map(escape, texts)
        attributes = (' scope="col"' if tag == "th" else "") + number
        return (
            f'<tr><th scope="{scope}">{first}</th>{"".join(f"<{tag}{attributes}>{one}</{tag}>" for one in others)}</tr>'
        )

    rows = "\n".join(row(texts, "td", "row") for texts in table.rows)
    return (
        f"<table><caption>{escape(table.caption)}</caption><thead>{row(table.header, 'th', 'col')}</thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _markdown(block: Block, figures: str) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Hero):
        lines = [f"- **{_plain(value)}** {_plain(text)}" for value, text in block.figures]
        return "\n".join([f"**{_plain(block.sentence)}**", "", *lines])
    if isinstance(block, Caution):
        return f"> **Mind:** {_plain(block.text)}"
    if isinstance(block, Plot):
        return f"![{_plain(block.caption)}]({figures}/{block.name}.svg)"
    if isinstance(block, Code):
        return f"{_plain(block.caption)}:\n\n```{block.language}\n{block.text}\n```"
    header, *rows = [[_plain(text).replace("|", "\\|") for text in row] for row in (block.header, *block.rows)]
    return f"{_plain(block.caption)}:\n\n{markdown_table(header, rows, block.numbers)}"


def _plain(text: str) -> str:
    """Escapes whatever Markdown would not take for plain text."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", text)
