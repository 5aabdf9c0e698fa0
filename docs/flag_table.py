"""Writes all flags as a page of the documentation: `python -m docs.flag_table docs/flags.md`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from powerbert_tf import command_line  # noqa: F401 - defines the flags
from powerbert_tf.common.files import replacing
from powerbert_tf.runs.flag_groups import flag_groups, full_help

_TITLE = """# Flags

The flags of the command `powerbert` and of `run_glue.py`, as `--helpfull` prints them; `--help` prints the first group.
This page is generated. A flag that is not given has its default, or the task's published value.
"""


def flag_table() -> str:
    """The page as Markdown, with a table for each group of flags."""
    return "\n".join([_TITLE, *(_group(heading, names) for heading, names in flag_groups().items())])


def _group(heading: str, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        text = full_help(flags.FLAGS[name]).replace("|", "\\|").replace("<", "\\<")
        rows.append(f"| `--{name}` | {text} |")
    return "\n".join([f"## {heading}\n", "| flag | meaning |", "| --- | --- |", *rows, ""])


def main(argv: Sequence[str]) -> None:
    """Writes the page to the given path."""
    if len(argv) != 2:
        sys.exit("expected one path, such as docs/flags.md")
    with replacing(Path(argv[1])) as path:
        path.write_text(flag_table(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv)
