"""Writes all flags as a page of the documentation: `python -m docs.flag_table docs/flags.md`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from powerbert_tf.command_line import FLAG_GROUPS
from powerbert_tf.common.files import replacing
from powerbert_tf.common.flags import flag_name

_TITLE = """# Flags

The flags of `run_glue.py` and of the command `powerbert`, as `--help` prints them. This page is generated.
A flag that is not given has its default, or the task's published value.
"""


def flag_table() -> str:
    """The page as Markdown, with a table for each group of flags."""
    groups = {
        heading: [flag_name(field.name) for field in dataclasses.fields(kind) if "help" in field.metadata]
        for heading, kind in FLAG_GROUPS.items()
    }
    of_settings = {name for names in groups.values() for name in names}
    own = [flag.name for flag in flags.FLAGS.get_flags_for_module("powerbert_tf.command_line")]
    groups = {"Stages and runs": [name for name in own if name not in of_settings], **groups}
    return "\n".join([_TITLE, *(_group(heading, names) for heading, names in groups.items())])


def _group(heading: str, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        flag = flags.FLAGS[name]
        text = str(flag.help).replace("|", "\\|").replace("<", "\\<")
        default = "" if flag.default is None or " Default:" in text else f" Default: {flag.default!r}."
        rows.append(f"| `--{name}` | {text}{default} |")
    return "\n".join([f"## {heading}\n", "| flag | meaning |", "| --- | --- |", *rows, ""])


def main(argv: Sequence[str]) -> None:
    """Writes the page to the given path."""
    if len(argv) != 2:
        sys.exit("expected one path, such as docs/flags.md")
    with replacing(Path(argv[1])) as path:
        path.write_text(flag_table(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv)
