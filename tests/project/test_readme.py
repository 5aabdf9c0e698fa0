"""What README.md names is there; what it tells a reader to type, `test_documentation` runs."""

import re

from absl import flags
from conftest import REPOSITORY

from docs.flag_table import flag_table
from powerbert_tf.data.tasks import PUBLISHED
from powerbert_tf.runs.task_file import read_task_file

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_settings_of_imdb_can_be_read():
    file = read_task_file(REPOSITORY / "docs" / "imdb.json")
    assert (file.name, file.data["dev_share"], file.settings["max_seq_length"]) == ("IMDB", 0.2, 512)
    assert (file.settings["lambda_"], file.settings["learning_rate_soft_extract"]) == (7e-4, 2e-4)


def test_the_flags_it_names_are_flags():
    table = re.findall(r"^\| (`--.*?) \|", README, flags=re.MULTILINE)
    named = {name for row in table for name in re.findall(r"--(\w+)", row)}
    assert len(named) > 10
    assert named <= set(flags.FLAGS)


def test_the_page_of_flags_is_up_to_date():
    written = (REPOSITORY / "docs" / "flags.md").read_text(encoding="utf-8")
    assert written == flag_table(), "out of date; run: python -m docs.flag_table docs/flags.md"


def test_it_names_every_task():
    row = next(line for line in README.splitlines() if line.startswith("| `--task` |"))
    assert row.split("|")[2].split() == [f"{name}," for name in list(PUBLISHED)[:-1]] + [list(PUBLISHED)[-1]]


def test_files_it_points_to_are_there():
    for path in re.findall(r"`((?:docs|powerbert_tf|benchmarks)/[\w./]+)`", README):
        assert (REPOSITORY / path).exists(), path
