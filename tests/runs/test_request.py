"""Flags and task.json: which goes first, what either may say, and that one travels with the model."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.task_file import describe_task, described_task, read_task_file, repeat_task


@pytest.fixture
def reviews(tmp_path):
    rows = [(f"text {number}", "good" if number % 3 else "bad") for number in range(31)]
    pd.DataFrame(rows, columns=["review", "stars"]).to_csv(tmp_path / "reviews.csv", index=False)
    return tmp_path / "reviews.csv"


def task_file(folder: Path, **content) -> str:
    path = folder / "task.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_flags_alone(reviews):
    settings, own = read_request(
        {"train_file": str(reviews), "text_column": "review", "label_column": "stars", "seed": 3}
    )
    assert settings.task == own.task.name == "reviews"
    assert (
        settings.training.seed,
        settings.inputs.max_seq_length,
        settings.training.epochs,
        settings.training.batch_size,
    ) == (3, 0, 50, 32)


def test_a_task_json_says_the_same_and_flags_go_first(reviews):
    path = task_file(
        reviews.parent, name="mine", train_file="reviews.csv", text_column="review", label_column="stars",
        classes=["good", "bad"], max_seq_length=48, learning_rate=1, dev_share=0.3,
    )  # fmt: skip
    settings, own = read_request({"task": path, "epochs": 7, "dev_share": None, "max_seq_length": 24})
    assert own.task.name == settings.task == "mine"
    assert own.task.classes == ("good", "bad")
    assert (settings.inputs.max_seq_length, settings.training.learning_rate, settings.training.epochs) == (24, 1.0, 7)
    assert len(own.dataset.splits["dev"]) == 9


def test_what_a_run_writes_can_be_run_again_and_what_is_exported_names_no_file(reviews, tmp_path):
    flags = {"train_file": str(reviews), "text_column": "review", "label_column": "stars", "max_seq_length": 32}
    settings, own = read_request(flags)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    again = task_file(folder, **repeat_task(own.task, settings, own.settings, lower_case=True))
    settings_again, own_again = read_request({"task": again})
    assert own_again.task == own.task
    assert own_again.dataset.fingerprint() == own.dataset.fingerprint()
    assert settings_again.inputs.max_seq_length == 32
    described = describe_task(own.task, settings.inputs, lower_case=True)
    assert described == {
        "name": "reviews", "classes": ["bad", "good"], "regression": False, "text_column": "review",
        "label_column": "stars", "metric": "accuracy,mcc", "max_seq_length": 32, "truncation": "head",
        "case": "uncased",
    }  # fmt: skip
    read_task_file(task_file(folder, **described))
    # What an export says of a model's probabilities is read again by whoever answers with it.
    scaled = describe_task(dataclasses.replace(own.task, temperature=1.7), settings.inputs, lower_case=True)
    assert scaled == {**described, "temperature": 1.7}
    assert described_task(read_task_file(task_file(folder, **scaled))).temperature == 1.7
    assert described_task(read_task_file(task_file(folder, **described))).temperature == 1.0


def test_a_glue_task_has_no_data_of_its_own():
    settings, own = read_request({"task": "MRPC", "epochs": None})
    assert own is None
    assert settings == resolve_settings("MRPC")
    with pytest.raises(InputError, match=r"--text_column: is for data of your own; expected --train_file"):
        read_request({"task": "MRPC", "text_column": "x"})
    with pytest.raises(InputError, match=r"--task: missing; expected a GLUE task.*or --train_file"):
        read_request({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"text_colum": "x"}, "no such key: text_colum; did you mean text_column?"),
        ({"xyzzy": 1}, "no such key: xyzzy; expected one of batch_size,"),
        ({"task": "x"}, "no such key: task"),
        ({"epochs": 2.5}, "epochs is 2.5; expected a whole number"),
        ({"epochs": True}, "epochs is true; expected a whole number"),
        ({"regression": "yes"}, 'regression is "yes"; expected true or false'),
        ({"classes": ["a"]}, "classes are a; expected two or more different ones"),
        ({"classes": "a,b"}, "classes are 'a,b'; expected a list of names"),
        ({"classes": ["a", " b"]}, "expected a list of names"),
        ({"name": 3}, "name is 3; expected a text"),
        ({"train_file": "a\0"}, "expected a text without the character NUL"),
        ({"learning_rate": 10**400}, "expected a number"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0"),
        ({"temperature": "1"}, "temperature is '1'; expected a number above 0"),
    ],
)
def test_keys_and_values_that_are_none(tmp_path, content, message):
    with pytest.raises(InputError) as caught:
        read_task_file(task_file(tmp_path, **content))
    assert f"--task={tmp_path / 'task.json'}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "expected a JSON object: Expecting"), ("[]", "object, found list")]
)
def test_files_that_are_no_task(tmp_path, text, message):
    path = tmp_path / "task.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_task_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_task_file(tmp_path / "none.json")
