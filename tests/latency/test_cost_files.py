import dataclasses
import json

import numpy as np
import pytest
from tiny_bert import tiny_config

from powerbert_tf.latency import cost_files, encoder_costs, timing
from powerbert_tf.latency.costs import NARROWED, PART_NAMES, CostTable
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 23
B = 5
WIDTHS = {"neurons": [7, 14, 29], "heads": [1, 2, 5]}
RATIOS = [[0.1, 0.2, 1 / 7], [0.1, 0.3, 1 / 3], [1.0, 1.0, 1.0]]


@pytest.fixture
def warnings_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(cost_files.logging, "warning", lambda text, *values: messages.append(text % values))
    return messages


@pytest.fixture
def measured(monkeypatch):
    """Stands for measuring; the list of what was measured."""
    seen = []

    def measure(config, max_seq_length, batch_size, jit_compile, kept_in=None):
        seen.append((config, max_seq_length, batch_size, *["XLA"] * jit_compile))
        curves = {name: np.array([0.1, 0.2, 1 / 3]) * len(seen) for name in PART_NAMES}
        rows, device = np.array([1, 7, max_seq_length]), timing.device_name(jit_compile)
        widths = {name: np.array(encoder_costs.known_widths(config)[name]) for name in NARROWED}
        ratios = {
            name: {part: np.array([*RATIOS[: len(widths[name]) - 1], RATIOS[-1]]) for part in parts}
            for name, parts in NARROWED.items()
        }
        return CostTable("ms", device, batch_size, rows, **curves, widths=widths, ratios=ratios)

    monkeypatch.setattr(cost_files, "measure_costs", measure)
    return seen


@pytest.fixture(autouse=True)
def off(monkeypatch):
    """By how much the predictions of a table are off, one after the other; 0 after these. No model is timed."""
    errors = []
    monkeypatch.setattr(cost_files, "prediction_error", lambda *given, jit_compile: errors.pop(0) if errors else 0.0)
    return errors


def assert_same(table, other):
    assert table.to_json() == other.to_json()


def test_costs_are_measured_once(measured, tmp_path, warnings_logged):
    folder = tmp_path / "new" / "folder"
    first = cost_files.load_costs(CONFIG, N, B, folder)
    assert_same(cost_files.load_costs(CONFIG, N, B, folder), first)
    assert measured == [(CONFIG, N, B)]
    assert not warnings_logged
    (path,) = folder.iterdir()
    assert path.name.startswith("costs-")
    stored = json.loads(path.read_text())
    assert stored["device"] == timing.device_name()
    assert (stored["hidden_size"], stored["encoders_chained"], stored["batch_size"]) == (35, 3, B)
    assert "date" in stored


def test_costs_are_measured_for_everything_they_depend_on(measured, tmp_path, monkeypatch):
    def load(max_seq_length=N, batch_size=B, **sizes):
        cost_files.load_costs(dataclasses.replace(CONFIG, **sizes), max_seq_length, batch_size, tmp_path)

    load()
    load(max_seq_length=19)
    load(batch_size=1)
    load(intermediate_size=31)
    load(num_attention_heads=7)
    load(hidden_act="relu")
    load(num_hidden_layers=5)  # a longer chain
    monkeypatch.setattr(cost_files, "device_name", lambda jit_compile: "another")
    load()
    assert len(measured) == len(list(tmp_path.iterdir())) == 8
    load(num_hidden_layers=3, hidden_dropout_prob=0.5)
    assert len(measured) == 8


def test_stacks_longer_than_the_chain_share_a_file(measured, tmp_path):
    for encoders in (5, 7):
        cost_files.load_costs(dataclasses.replace(CONFIG, num_hidden_layers=encoders), N, B, tmp_path)
    assert len(measured) == 1


def stored_with(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def stored_ratios(values):
    def change(path):
        ratios = json.loads(path.read_text())["ratios"]
        stored_with(ratios={**ratios, "neurons": {**ratios["neurons"], "last": values}})(path)

    return change


def without_rows(path):
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "rows"}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_text(path.read_text()[:-17]), "expected a JSON object: "),
        (lambda path: path.write_bytes(b"\xff\xfe"), "expected a JSON object: "),
        (lambda path: path.write_text("[1, 2]"), "expected a JSON object, found list"),
        (without_rows, "KeyError: 'rows'"),
        (stored_with(device="another"), "it was measured for something else"),
        (stored_with(format=0), "it was measured for something else"),
        (stored_with(rows=[1, 23, 7]), "not increasing"),
        (stored_with(rows=[]), "not increasing"),
        (stored_with(rows=3), "not increasing"),
        (stored_with(attention=[0.1, 0.2]), "expected 3 positive times"),
        (stored_with(outside=[0.1, 0.2, -0.3]), "expected 3 positive times"),
        (stored_with(outside=[0.1, 0.2, float("nan")]), "expected 3 positive times"),
        (stored_with(widths={**WIDTHS, "heads": [1, 3, 5]}), r"expected heads [1, 2, 5], found [1, 3, 5]"),
        (stored_with(widths={"heads": [1, 2, 5]}), "KeyError: 'neurons'"),
        (stored_with(widths=[1, 2, 5]), "AttributeError"),
        (stored_ratios(RATIOS[1:]), "expected ratios of 3 neurons that rise to 1"),
        (stored_ratios([RATIOS[1], RATIOS[0], RATIOS[2]]), "expected ratios of 3 neurons that rise to 1"),
        (stored_ratios([[0.0, 0.1, 0.1], *RATIOS[1:]]), "expected ratios of 3 neurons that rise to 1"),
        (stored_ratios([*RATIOS[:2], [1.0, 1.0, 0.9]]), "expected ratios of 3 neurons that rise to 1"),
        (stored_ratios([["a"] * 3, *RATIOS[1:]]), "ValueError"),
        (stored_with(update=["a", "b", "c"]), "ValueError"),
        (stored_with(update=[{}, [], None]), "Error"),
    ],
)
def test_a_file_that_is_not_usable_is_measured_anew(measured, tmp_path, warnings_logged, damage, reason):
    cost_files.load_costs(CONFIG, N, B, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    second = cost_files.load_costs(CONFIG, N, B, tmp_path)
    assert len(measured) == 2
    assert len(warnings_logged) == 1
    assert str(path) in warnings_logged[0]
    assert reason in warnings_logged[0]
    assert_same(cost_files.load_costs(CONFIG, N, B, tmp_path), second)
    assert len(measured) == 2


def test_a_file_of_an_earlier_format_is_measured_anew(measured, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(cost_files, "FORMAT", 2)
        cost_files.load_costs(CONFIG, N, B, tmp_path)
    cost_files.load_costs(CONFIG, N, B, tmp_path)
    assert len(measured) == 2


def test_a_table_that_predicts_badly_is_measured_anew(measured, tmp_path, off, warnings_logged):
    off += [0.0, 0.1, 0.2, 0.1]  # new; still good; not any more, new
    first = cost_files.load_costs(CONFIG, N, B, tmp_path)
    assert_same(cost_files.load_costs(CONFIG, N, B, tmp_path), first)
    second = cost_files.load_costs(CONFIG, N, B, tmp_path)
    np.testing.assert_array_equal(second.update, 2 * first.update)
    assert_same(cost_files.load_costs(CONFIG, N, B, tmp_path), second)
    assert len(measured) == 2
    assert not off
    assert not warnings_logged


def test_a_new_table_that_predicts_badly_is_used_but_not_kept(measured, tmp_path, off, warnings_logged):
    off += [0.3, 0.0]
    assert cost_files.load_costs(CONFIG, N, B, tmp_path).unit == "ms"
    assert warnings_logged == [
        "Predicted speed-ups are off by 30 %, perhaps because something else is running; the measured costs are used, "
        "but not kept: the next run measures again."
    ]
    assert not list(tmp_path.iterdir())
    cost_files.load_costs(CONFIG, N, B, tmp_path)
    assert len(measured) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_only_logged(measured, tmp_path, warnings_logged):
    (tmp_path / "file").write_text("")
    table = cost_files.load_costs(CONFIG, N, B, tmp_path / "file" / "folder")
    assert table.unit == "ms"
    assert len(warnings_logged) == 1
    assert "cannot be written" in warnings_logged[0]


def test_without_a_folder_nothing_is_kept(measured, tmp_path, monkeypatch):
    monkeypatch.setenv("POWERBERT_TF_CACHE", str(tmp_path))
    for _ in range(2):
        cost_files.load_costs(CONFIG, N, B, None)
    assert len(measured) == 2
    assert not list(tmp_path.iterdir())


def test_what_xla_compiles_is_measured_by_itself(measured, tmp_path):
    plain = cost_files.load_costs(CONFIG, N, B, tmp_path)
    compiled = cost_files.load_costs(CONFIG, N, B, tmp_path, jit_compile=True)
    assert compiled.device == plain.device + ", XLA"
    assert_same(cost_files.load_costs(CONFIG, N, B, tmp_path), plain)
    assert_same(cost_files.load_costs(CONFIG, N, B, tmp_path, jit_compile=True), compiled)
    assert measured == [(CONFIG, N, B), (CONFIG, N, B, "XLA")]
