"""What tables, cards and logs show of a narrowed model, and that they show nothing more of another."""

import dataclasses

import pytest
from made_up_points import BASELINES, a_point

from powerbert_tf.latency.costs import GROUPED
from powerbert_tf.reports.acceleration_report import make_report
from powerbert_tf.reports.page import Table
from powerbert_tf.reports.pareto import pareto_table, write_pareto
from powerbert_tf.reports.sections import summary_section
from powerbert_tf.reports.summary import DENSE_SPEEDUPS, format_summary
from powerbert_tf.reports.tensorboard import scalars

NEURONS, HEADS = [17, 29, 7], [5, 2, 3]


def evaluated(**changes):
    """The result of `evaluate` with made-up numbers."""
    adds = {"dense": 3e6, "reduced": 2e6, "saved": 1.5}
    ways = [*(f"dense, {way}" for way in DENSE_SPEEDUPS), f"reduced, {GROUPED}"]
    return {
        "metric": "accuracy",
        **{name: {"metrics": {"accuracy": 0.75}} for name in ("dense", "reduced")},
        "agreement": 0.95,
        "examples": 19,
        "retention_configuration": [0.5, 0.3, 0.1],
        "multiply_adds": {
            **dict.fromkeys(("padded", "unpadded", "padded_to_unpadded"), adds),
            **{"mean_length": 11.0, "kept": [5.0, 3.0, 1.0]},
        },
        "speedup": {
            **dict.fromkeys((*DENSE_SPEEDUPS.values(), "predicted"), 2.0),
            **{"batch_size": 5, "device": "a clock", "milliseconds": dict.fromkeys(ways, 7.0)},
        },
        **changes,
    }


def words_of(text):
    return [line.split() for line in text.splitlines()]


def test_the_closing_table_has_a_column_for_each_narrowed_dimension():
    text = words_of(format_summary("SST-2", "tsv", 23, evaluated(neurons=NEURONS, heads=HEADS)))
    header = ["encoder", "keeps", "(share)", "mean", "tokens", "mean", "tokens", "kept"]
    assert [*header, "neurons", "heads"] in text
    assert ["2", "0.3", "11.0", "3.0", "29", "2"] in text
    for content in (evaluated(), evaluated(neurons=None, heads=None)):
        text = words_of(format_summary("SST-2", "tsv", 23, content))
        assert header in text
        assert ["2", "0.3", "11.0", "3.0"] in text


def test_the_closing_table_fits_a_terminal_and_begins_with_the_verdict():
    lines = format_summary("SST-2", "sample", 512, evaluated()).splitlines()
    assert lines[0] == "SST-2"
    assert "times faster than the fine-tuned model" in lines[1]
    assert lines[3].startswith(("Worth having", "Not worth having"))
    assert max(map(len, lines)) <= 80


def test_the_acceleration_report_tells_widths():
    def lines(**changes):
        return str(make_report(evaluated(**changes), 23, True)).splitlines()

    narrowed = lines(neurons=NEURONS, heads=HEADS)
    at = narrowed.index("keeps 0.5,0.3,0.1 of each example's length")
    assert narrowed[at + 1 : at + 3] == ["neurons of each encoder: 17,29,7", "heads of each encoder: 5,2,3"]
    del narrowed[at + 1 : at + 3]
    assert narrowed == lines()


def test_the_pareto_table_has_all_dimensions_in_one_column(tmp_path):
    points = [a_point(), dataclasses.replace(a_point("narrow"), neurons=(17, 29, 7), heads=(5, 2, 3))]
    expected = ["0.7,0.5,0.3", "0.7,0.5,0.3; neurons 17,29,7; heads 5,2,3"]
    assert list(pareto_table(points)["configuration"]) == expected
    write_pareto(tmp_path, points, BASELINES, "MRPC", "f1", "a clock")
    assert "neurons" not in (tmp_path / "pareto.csv").read_text().splitlines()[0]
    assert "0.7,0.5,0.3<br>neurons 17,29,7<br>heads 5,2,3 |" in (tmp_path / "pareto.md").read_text()


def test_tensorboard_has_a_curve_for_each_encoder():
    row = {"loss": 0.5, "metrics": {}, "neurons": NEURONS, "heads": HEADS}
    found = scalars(row)
    assert [found[f"neurons/encoder_{encoder}"] for encoder in (1, 2, 3)] == NEURONS
    assert [found[f"heads/encoder_{encoder}"] for encoder in (1, 2, 3)] == HEADS
    assert scalars({"loss": 0.5, "metrics": {}}) == {"loss": 0.5}


@pytest.mark.parametrize("widths", [{}, {"neurons": NEURONS, "heads": HEADS}])
def test_the_report_tells_widths_beside_what_is_kept(widths):
    content = {**evaluated(), **widths, "task": "SST-2", "checkpoint": "tiny", "seeds": None, "settings": {"seed": 0}}
    content["weights"] = {"dense": 17_011, "reduced": 11_003}
    content |= {"data": {"source": "tsv"}, "metrics": [{"name": "accuracy", "dense": 0.75, "reduced": 0.75}]}
    (table,) = (block for block in summary_section(content) if isinstance(block, Table))
    names = [name for name, _ in table.rows]
    values = dict(table.rows)
    assert names[2 : names.index("measured on")] == ["keeps", *widths, *(["weights"] if widths else [])]
    if widths:
        assert (values["neurons"], values["heads"]) == ("17, 29, 7", "5, 2, 3")
        assert values["weights"] == "11,003, of 17,011 in the fine-tuned model"
