"""What a report is made of, whatever it is written as: sections of paragraphs, tables and plots."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        header: A name a column.
        rows: A text a column; the first column says what the row is of.
        caption: What the table tells.
        numbers: Whether the columns but the first hold numbers, which stand on the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    numbers: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Plot:
    """A figure.

    Attributes:
        name: Of its file, without suffix; no two in a report are alike.
        figure: As drawn, see `report_figures`.
        caption: What can be seen in it, for those who cannot see it, too.
    """

    name: str
    figure: Figure
    caption: str


Block = str | Table | Plot  # a text is a paragraph


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
