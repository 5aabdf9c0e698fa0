"""What the documentation shows works, and what it names is there.

A page's fenced blocks are shell commands, one by one, and code. `documented_commands` says of each how it is tried.
"""

import ast
import dataclasses
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from absl import flags
from absl.testing import flagsaver
from conftest import REPOSITORY
from documented_commands import CONFIG, TABLE, Elsewhere, Never, Run
from tiny_bert import random_weights, write_google_checkpoint

import powerbert_tf
from docs.flag_table import flag_table
from powerbert_tf import command_line, serve_check
from powerbert_tf.data.tasks import PUBLISHED
from powerbert_tf.runs.settings import STAGES, Settings, resolve_settings
from powerbert_tf.runs.task_file import read_task_file

DOCS = REPOSITORY / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md")))
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
SHELLS = ("bash", "console", "sh", "shell")
FIRST = ("README.md", "docs/index.md")  # all others are read where these have been followed
ROOMS = [path.parent.name for path in (REPOSITORY / "powerbert_tf").glob("*/__init__.py")]
SOURCES = ("powerbert_tf", "benchmarks", "docs", "examples")
WRITTEN = {"report.md", "pareto.md"}  # by a run
# Names that a process is given before a command: NAME=value.
ASSIGNMENT = re.compile(r"[A-Z_]+=\S+")


@dataclasses.dataclass(frozen=True)
class Shown:
    """A shell command, or a whole block in another language.

    Attributes:
        page: Such as `README.md`.
        line: Where it begins, from 1.
        language: That of the fence; "" for a listing.
        text: A command is on one line, without its comment.
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
        """Its name in the table: a command itself; for code, the last line with a letter."""
        return self.text if self.is_command else [row for row in self.text.splitlines() if re.search("[a-z]", row)][-1]

    @property
    def words(self) -> list[str]:
        """The words of a command."""
        return shlex.split(self.text)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.key}"


def _commands(page: str, line: int, language: str, text: str) -> list[Shown]:
    commands, begun, parts = [], line, []
    for number, row in enumerate(text.splitlines(), start=line):
        if not parts:
            begun = number
        # A comment follows a blank; no command here has "#" inside quotes.
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
    """All commands and code of a page, from top to bottom."""
    content = (REPOSITORY / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(content):
        line, language, text = content[: match.start()].count("\n") + 2, match[2], match[3].rstrip()
        if language in SHELLS:
            found += _commands(page, line, language, text)
        elif language:
            found.append(Shown(page, line, language, text))
    return found


ALL = [one for page in PAGES for one in shown(page)]
TEXTS = {page: (REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES}

# Reads the flags of programs that define theirs where they are run, and runs none of them.
READ_FLAGS = """
import argparse, json, runpy, sys
from absl import app, flags

class Read(Exception):
    pass

def parse_args(parser, *given, of_argparse=argparse.ArgumentParser.parse_args):
    of_argparse(parser, *given)
    raise Read

argparse.ArgumentParser.parse_args = parse_args
app.run = lambda main: flags.FLAGS(sys.argv)
for name, *arguments in json.loads(sys.argv[1]):
    there = set(flags.FLAGS)
    sys.argv = [name, *arguments]
    try:
        if name.endswith(".py"):
            runpy.run_path(name, run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__")
    except Read:
        pass
    for flag in set(flags.FLAGS) - there:
        delattr(flags.FLAGS, flag)
"""


def row_of(one: Shown):
    """Its row in the table; a name that ends in a star is the beginning of several."""
    rows = TABLE.get(one.page, {})
    fitting = [name for name in rows if name.endswith("*") and one.key.startswith(name[:-1])]
    assert one.key in rows or fitting, f"{one}: not in tests/documented_commands.py; it says how each is tried"
    return rows[one.key] if one.key in rows else rows[max(fitting, key=len)]


def words_of(one: Shown) -> list[str]:
    """The words of a command, behind what is assigned."""
    words = one.words
    while ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return words


def test_each_has_a_row_and_each_row_is_of_one():
    for one in ALL:
        row_of(one)
    for page, rows in TABLE.items():
        keys = [one.key for one in ALL if one.page == page]
        for name in rows:
            found = [key for key in keys if key == name or (name.endswith("*") and key.startswith(name[:-1]))]
            assert found, f"{page} no longer has {name}"


@pytest.mark.parametrize("page", PAGES)
def test_a_listing_holds_no_commands(page):
    """Without a language, a block shows output and files; what a reader types or copies has one, and is run."""
    for match in _BLOCK.finditer(TEXTS[page]):
        if not match[2]:
            typed = re.findall(r"^(?:\$|python|pip|make|powerbert|import) .*", match[3], flags=re.MULTILINE)
            assert not typed, f"{page}: {typed[0]}: in a block without a language"


def test_what_is_not_run_here_has_a_reason():
    reasons = []
    for one in ALL:
        row = row_of(one)
        if isinstance(row, Elsewhere):
            module, _, name = row.test.partition("::")
            found = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob(f"{module}.py")]
            assert any(f"\ndef {name}(" in code for code in found), f"{one}: no test {row.test}"
            reasons.append(f"{one}\n    {row.why}: {row.test}")
        elif isinstance(row, Never):
            reasons.append(f"{one}\n    {row.why}")
    print("\n".join(reasons))
    assert len(reasons) < len(ALL)


def parse_run_glue(argv: list[str]) -> None:
    """Flags, and settings where these depend on no data."""
    with flagsaver.flagsaver():
        assert command_line.parse(["run_glue.py", *argv]) == ["run_glue.py"]
        assert flags.FLAGS.stage in (*STAGES, "all")
        given = {name: flag.value for name, flag in command_line.SETTINGS.items()}
        if given["task"] in PUBLISHED:
            settings = {name: value for name, value in given.items() if name in Settings.__annotations__}
            resolve_settings(settings.pop("task"), **settings)
        else:
            task = str(given["task"])
            named = (given["train_file"], flags.FLAGS.config, task.endswith("task.json"), task.startswith("runs/"))
            assert any(named), f"--task={given['task']}: expected a task of GLUE, a run, a task.json, or data"


@pytest.mark.parametrize("one", [one for one in ALL if "run_glue.py" in one.text], ids=str)
def test_flags_of_run_glue_are_read(one):
    words = words_of(one)
    assert words[:2] == ["python", "run_glue.py"]
    parse_run_glue(words[2:])


def in_the_text() -> list[list[str]]:
    """Words of commands that stand inside of sentences, whole."""
    found = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
        found += [shlex.split(each) for each in re.findall(r"`(python [^`…]+)`", text)]
    return found


@pytest.mark.slow
def test_flags_of_other_programs_are_read(run_python):
    commands = [words_of(one) for one in ALL if one.is_command] + in_the_text()
    programs = []
    for program, *words in commands:
        if program != "python" or words[0] == "run_glue.py" or "--help" in words or "powerbert_tf.beam" in words:
            continue  # Beam's flags are read by Beam
        programs.append(words[1:] if words[0] == "-m" else words)
    assert {"benchmarks.paper", "benchmarks.reliability.kill", "powerbert_tf.serve_check"} < {
        name for name, *_ in programs
    }
    programs = [words for words in programs if words[0] != "docs.flag_table"]  # it has none
    run_python(READ_FLAGS, json.dumps(programs))


@pytest.mark.parametrize("one", [one for one in ALL if one.is_command], ids=str)
def test_files_and_targets_that_commands_name_are_there(one):
    words = words_of(one)
    if words[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE)
    for word in words:
        if re.fullmatch(r"(requirements\S*\.txt|tests/\S+\.py|examples/\S+\.py|run_glue\.py)", word):
            assert (REPOSITORY / word).is_file()
    if words[0] == "pip" and "==" in words[-1]:
        assert words[-1] in (REPOSITORY / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("one", [one for one in ALL if not one.is_command], ids=str)
def test_code_can_be_read(one):
    read = {"python": ast.parse, "json": json.loads, "yaml": lambda text: list(yaml.safe_load_all(text))}
    assert one.language in read
    tree = read[one.language](one.text)
    if one.language == "python":
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "powerbert_tf"
        }
        assert used <= set(powerbert_tf.__all__)


def recipe_of(target: str) -> str:
    """The command of a target of the Makefile that has one."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    return recipe.strip().replace("$(BIN)/python", "python")


def execute(one: Shown, row: Run, folder: Path) -> None:
    """Does what a reader would, in `folder`."""
    names = row.first(folder) or {}
    text = one.text
    for old, new in row.instead.items():
        if one.language == "json":
            (folder / new).parent.mkdir(exist_ok=True)
            (folder / new).write_text(text, encoding="utf-8")
        else:
            assert old in text
            text = text.replace(old, new)
    if one.language == "python":
        exec(compile(text, str(one), "exec"), names)
    elif one.is_command:
        words = words_of(one)
        if words[0] == "make":
            words = shlex.split(recipe_of(words[1]))
        words += shlex.split(row.more)
        if row.alone:
            environment = dict(word.split("=", 1) for word in one.words if ASSIGNMENT.fullmatch(word))
            environment = {name: value.replace("$PWD", str(folder)) for name, value in environment.items()}
            words = [sys.executable, str(REPOSITORY / words[1]), *words[2:]]
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
            done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stdout + done.stderr
        elif words[:2] == ["python", "run_glue.py"]:
            with flagsaver.flagsaver():
                command_line.main(command_line.parse(words[1:]))
        elif words[:3] == ["python", "-m", "powerbert_tf.serve_check"]:
            assert serve_check.main(words[3:]) == 0
        else:
            subprocess.run(words, cwd=folder, check=True, timeout=60)
    for name in row.leaves:
        assert list(folder.glob(name)), f"left no {name}"


def follow(page: str, folder: Path) -> int:
    """Runs a page from top to bottom; returns how many of its commands and blocks."""
    ran = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for one in shown(page):
            row = row_of(one)
            if isinstance(row, Run):
                try:
                    execute(one, row, folder)
                except (Exception, SystemExit) as error:
                    raise AssertionError(f"{one}: {error!r}") from error
                ran += 1
    return ran


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder of a reader who has followed the first pages; GLUE's data is that of the sample."""
    folder = tmp_path_factory.mktemp("reader")
    write_google_checkpoint(folder / "checkpoint", CONFIG, random_weights(CONFIG, None))
    (folder / "glue_data").mkdir()
    (folder / "docs").symlink_to(REPOSITORY / "docs")
    for name in ("sample", "sample/MRPC", "sample/SST-2"):
        (folder / "glue_data" / Path(name).name).symlink_to(REPOSITORY / "glue_data" / name)
    assert sum(follow(page, folder) for page in FIRST) >= 10
    return folder


@pytest.mark.slow
def test_the_first_page(followed):
    """It is followed in a fixture, with the one after it, as all others are read where these have been followed."""
    assert (followed / "runs" / "MRPC" / "report" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in TABLE if page not in FIRST and any(isinstance(row, Run) for row in TABLE[page].values())]
)
def test_a_page(page, followed):
    assert follow(page, followed) > 0


def test_pages_are_those_of_the_site():
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(entries: list) -> list[str]:
        under = [value for entry in entries for value in entry.values()]
        return [name for value in under for name in ([value] if isinstance(value, str) else pages(value))]

    named = pages(site["nav"])
    assert len(named) == len(set(named))
    assert set(named) == {path.name for path in DOCS.glob("*.md")}
    assert set(site["exclude_docs"].split()) >= {path.name for path in DOCS.glob("*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    folders = r"`((?:docs|tests|benchmarks|powerbert_tf|examples|notebooks)/[\w./-]*\w)`"
    for path in re.findall(folders, TEXTS[page]):
        assert (REPOSITORY / path).exists(), path
    sources = {path.name for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.*")}
    here = sources | {path.name for path in REPOSITORY.iterdir()} | WRITTEN
    assert set(re.findall(r"`(\w+\.(?:py|md|cfg|toml))`", TEXTS[page])) <= here
    of_rooms = re.findall(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)", TEXTS[page])
    of_package = re.findall(r"\bpowerbert_tf(?:\.\w+)+", TEXTS[page])
    for name in [*(f"powerbert_tf.{name}" for name in of_rooms), *of_package]:
        pkgutil.resolve_name(name)


def test_the_settings_of_imdb_can_be_read():
    file = read_task_file(REPOSITORY / "docs" / "imdb.json")
    assert (file.name, file.data["dev_share"], file.settings["max_seq_length"]) == ("IMDB", 0.2, 512)
    assert (file.settings["lambda_"], file.settings["learning_rate_soft_extract"]) == (7e-4, 2e-4)


def test_the_flags_of_the_page_of_targets_are_flags():
    table = re.findall(r"^\| (`--.*?) \|", TEXTS["docs/targets.md"], flags=re.MULTILINE)
    named = {name for row in table for name in re.findall(r"--(\w+)", row)}
    assert len(named) > 10
    assert named <= set(flags.FLAGS)


def test_the_page_of_flags_is_up_to_date():
    assert TEXTS["docs/flags.md"] == flag_table(), "out of date; run: python -m docs.flag_table docs/flags.md"


def test_the_page_to_start_with_names_every_task():
    (names,) = re.findall(r"^Tasks: (.*?)\.", TEXTS["docs/index.md"], flags=re.MULTILINE)
    assert names.split(", ") == list(PUBLISHED)
