"""What README.md tells a reader to type is there."""

import ast
import re
import shlex

import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import REPOSITORY

import powerbert_tf
from powerbert_tf import command_line
from powerbert_tf.flag_table import flag_table
from powerbert_tf.request import read_request
from powerbert_tf.settings import STAGES
from powerbert_tf.task_file import read_task_file
from powerbert_tf.tasks import PUBLISHED

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DATA = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS + re.findall(r"```(\w+)\n(.*?)```", DATA, flags=re.DOTALL)
    if language == "bash"
    for line in block.splitlines()
    if line
]


@pytest.mark.parametrize("command", [command for command in COMMANDS if "run_glue.py" in command])
def test_run_glue_commands_parse(command):
    _, *argv = shlex.split(command)
    with flagsaver.flagsaver():
        assert command_line.parse(argv) == ["run_glue.py"]
        assert flags.FLAGS.task in PUBLISHED or flags.FLAGS.train_file or flags.FLAGS.task.endswith("task.json")
        assert flags.FLAGS.stage in (*STAGES, "all")


@pytest.mark.parametrize("command", [command for command in COMMANDS if "glue_data/sample" in command])
def test_the_sample_of_own_data_fits_its_flags(command, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    _, *argv = shlex.split(command)
    with flagsaver.flagsaver():
        command_line.parse(argv)
        _, own = read_request({name: flag.value for name, flag in command_line.SETTINGS.items()})
    assert own.task.name == "requests"
    assert len(own.task.classes) == 20


def test_the_settings_of_imdb_can_be_read():
    file = read_task_file(REPOSITORY / "docs" / "imdb.json")
    assert (file.name, file.data["dev_share"], file.settings["max_seq_length"]) == ("IMDB", 0.2, 512)
    assert (file.settings["lambda_"], file.settings["learning_rate_soft_extract"]) == (7e-4, 2e-4)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_commands_have_a_target(command):
    target = command.split()[1]
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_python_blocks_parse_and_use_names_that_exist(code):
    used = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "powerbert_tf"
    }
    assert used <= set(powerbert_tf.__all__)


def test_the_flags_it_names_are_flags():
    table = re.findall(r"^\| (`--.*?) \|", README, flags=re.MULTILINE)
    named = {name for row in table for name in re.findall(r"--(\w+)", row)}
    assert len(named) > 10
    assert named <= set(flags.FLAGS)


def test_the_page_of_flags_is_up_to_date():
    written = (REPOSITORY / "docs" / "flags.md").read_text(encoding="utf-8")
    assert written == flag_table(), "out of date; run: python -m powerbert_tf.flag_table docs/flags.md"


def test_it_names_every_task():
    row = next(line for line in README.splitlines() if line.startswith("| `--task` |"))
    assert row.split("|")[2].split() == [f"{name}," for name in list(PUBLISHED)[:-1]] + [list(PUBLISHED)[-1]]


def test_files_it_points_to_are_there():
    for path in re.findall(r"`((?:docs|powerbert_tf|benchmarks)/[\w./]+)`", README):
        assert (REPOSITORY / path).exists(), path
