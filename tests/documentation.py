"""What the pages show in fenced blocks: shell commands, one by one, and Python."""

import dataclasses
import re
import shlex

from conftest import REPOSITORY

PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")))
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
SHELLS = ("bash", "console", "sh", "shell")


@dataclasses.dataclass(frozen=True)
class Shown:
    """A command of the shell, or a whole block in another language.

    Attributes:
        page: Such as `README.md`.
        line: Where it begins, from 1.
        language: As the fence says; "" of a listing.
        text: A command is on one line, without remark.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def is_command(self) -> bool:
        """Whether a shell runs it."""
        return self.language in SHELLS

    @property
    def key(self) -> str:
        """What it is called in the table: a command itself, of code the last line that has a letter."""
        return self.text if self.is_command else [row for row in self.text.splitlines() if re.search("[a-z]", row)][-1]

    @property
    def words(self) -> list[str]:
        """Of a command."""
        return shlex.split(self.text)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.key}"


def _commands(page: str, line: int, language: str, text: str) -> list[Shown]:
    commands, begun, parts = [], line, []
    for number, row in enumerate(text.splitlines(), start=line):
        if not parts:
            begun = number
        # A remark stands behind a blank; "#" inside quotes is none, and no command here has one.
        parts.append(re.sub(r"(^|\s)#.*$", "", row).strip())
        if parts[-1].endswith("\\"):
            parts[-1] = parts[-1].removesuffix("\\").strip()
            continue
        command = " ".join(part for part in parts if part).removeprefix("$ ")
        if command:
            commands.append(Shown(page, begun, language, command))
        parts = []
    return commands


def shown(page: str) -> list[Shown]:
    """All that is shown on a page, from top to bottom, listings left out."""
    content = (REPOSITORY / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(content):
        line, language, text = content[: match.start()].count("\n") + 2, match[2], match[3].rstrip()
        if language in SHELLS:
            found += _commands(page, line, language, text)
        elif language:
            found.append(Shown(page, line, language, text))
    return found
