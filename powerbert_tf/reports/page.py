"""A report as a page, one file without a network, and as Markdown with its figures beside it."""

import importlib.resources
import re
from collections.abc import Sequence
from html import escape

from powerbert_tf.reports.blocks import Block, Plot, Section, Table
from powerbert_tf.reports.figures import inline_svg

_WIDE = 8.0  # inches from which a figure is scrolled and not shrunk on a narrow screen


def report_page(title: str, sections: Sequence[Section]) -> str:
    """The page as HTML, all it needs within; there is no script in it.

    Args:
        title: Of the page.
        sections: What it tells.
    """
    template = (
        importlib.resources.files("powerbert_tf.reports").joinpath("report_page.html").read_text(encoding="utf-8")
    )
    links = "\n".join(f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections)
    body = "\n".join(_section(one) for one in sections)
    parts = {"TITLE": escape(title), "LINKS": links, "SECTIONS": body}
    return re.sub("__(TITLE|LINKS|SECTIONS)__", lambda found: parts[found.group(1)], template)


def report_markdown(title: str, sections: Sequence[Section], figures: str) -> str:
    """The same as Markdown.

    Args:
        title: Of the report.
        sections: What it tells.
        figures: Folder of the figures, `<name>.svg`, as seen from the file.
    """
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_markdown(block, figures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    blocks = "\n".join(_html(block) for block in section.blocks)
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">\n'
        f'<h2 id="{section.name}-title">{escape(section.title)}</h2>\n{blocks}\n</section>'
    )


def _html(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Plot):
        kind = "wide" if block.figure.get_figwidth() > _WIDE else "narrow"
        svg = inline_svg(block.figure, block.name, block.caption)
        # What is scrolled must be reached by the keyboard.
        scrolled = f' tabindex="0" role="group" aria-label="{escape(block.caption)}"' if kind == "wide" else ""
        return (
            f'<figure class="{kind}"><div class="scroll"{scrolled}>{svg}</div>'
            f"<figcaption>{escape(block.caption)}.</figcaption></figure>"
        )
    return _table(block)


def _table(table: Table) -> str:
    kinds = ["", *(["number"] if table.numbers else [""]) * (len(table.header) - 1)]

    def cells(tag: str, texts: Sequence[str], attributes: str = "") -> list[str]:
        return [
            f"<{tag}{attributes}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</{tag}>"
            for text, kind in zip(texts, kinds, strict=True)
        ]

    head = "".join(cells("th", table.header, ' scope="col"'))
    rows = []
    for row in table.rows:
        first, *others = cells("td", row)
        first = first.replace("<td", '<th scope="row"', 1).removesuffix("</td>") + "</th>"
        rows.append(f"<tr>{first}{''.join(others)}</tr>")
    # What is scrolled must be reached by the keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{escape(table.caption)}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _markdown(block: Block, figures: str) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Plot):
        return f"![{_plain(block.caption)}]({figures}/{block.name}.svg)"
    align = ["---", *["---:" if block.numbers else "---"] * (len(block.header) - 1)]
    rows = [[_cell(text) for text in row] for row in (block.header, *block.rows)]
    lines = [rows[0], align, *rows[1:]]
    return f"{_plain(block.caption)}:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """A text that Markdown takes for nothing else."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", text)
