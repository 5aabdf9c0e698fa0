"""Plain texts on standard input, one a line; the two of a pair with a tab between."""

from collections.abc import Iterator, Sequence

from powerbert_tf.data.tables.lines import STANDARD_INPUT, Meter, read_lines
from powerbert_tf.data.tables.row import Row, Table, text_problem


def open_text_lines(columns: Sequence[str]) -> Table:
    """Standard input as a table. A blank line is a row, too, so that none is lost without a word.

    Args:
        columns: What the one or two texts of a line are called.
    """
    meter = Meter()
    return Table(STANDARD_INPUT, tuple(columns), _rows(tuple(columns), meter), meter=meter)


def _rows(columns: tuple[str, ...], meter: Meter) -> Iterator[Row]:
    for number, line in read_lines(STANDARD_INPUT, meter=meter):
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        texts = text.split("\t") if len(columns) > 1 else [text]
        if len(texts) != len(columns):
            problem = f"{len(texts) - 1} tabs in the line instead of {len(columns) - 1}"
            yield Row(STANDARD_INPUT, number, {}, problem, text)
            continue
        row = Row(STANDARD_INPUT, number, dict(zip(columns, texts, strict=True)))
        problem = text_problem(text)
        yield row.rejected(problem) if problem else row
