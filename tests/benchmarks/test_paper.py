"""The paper's experiments, from a run to a report."""

import json

import numpy as np
import pytest
from tiny_task import CONFIG, NUM_ROWS

from benchmarks.paper.experiments import STRATEGIES, Options, measure
from benchmarks.paper.published_results import CLAIMS, ROWS
from benchmarks.paper.report import plot, to_markdown
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import TASKS


@pytest.fixture(scope="module")
def run_folder(tiny_run, tmp_path_factory):
    """A run with a fine-tuned model, and what a search would have measured."""
    return tiny_run.copy(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def command(run_folder, tiny_run, tmp_path):
    """Runs an experiment; returns what it found of the first run, and its Markdown."""

    def run(experiment, run=(run_folder,), **given):
        options = Options(checkpoint=str(tiny_run.checkpoint), **given)
        report = {
            "experiment": experiment,
            "results": [measure(experiment, folder, options) for folder in run],
            "epochs": options.epochs,
            **dict.fromkeys(("command", "date", "python", "device"), "some"),
            "packages": {"tensorflow": "2", "keras": "3"},
        }
        report = json.loads(json.dumps(report))
        text, figure = to_markdown(report, experiment), plot(report)
        assert CLAIMS[experiment] in text
        assert (figure is not None) == (f"]({experiment}.png)" in text)
        if figure is not None:
            figure.savefig(tmp_path / "drawn.png")
        return report["results"][0], text

    return run


def test_figure2(command):
    found, text = command("figure2")
    assert len(found["cosine"]) == CONFIG["num_hidden_layers"] + 1
    assert all(-1 <= value <= 1 for value in found["cosine"])
    assert ("disagrees" in text) != (": agrees" in text)


def test_figure5(command):
    found, text = command("figure5")
    assert np.shape(found["information"]) == (CONFIG["num_hidden_layers"] - 1, len(found["ranks"]))
    assert np.all(np.array(found["information"]) <= np.array(found["entropy"]) + 1e-9)
    assert found["examples"] == sorted(found["examples"], reverse=True)
    assert found["examples"][0] <= NUM_ROWS["dev"]
    assert f"k = {found['ranks'][-1]}" in text


@pytest.mark.slow
def test_table4_and_its_longer_half(command):
    found, text = command("table4", retention="0.5,0.0001")
    assert [row["strategy"] for row in found["rows"]] == ["fine-tuned", *STRATEGIES]
    assert text.count("of the paper's three") == 1
    assert "Each keeps 0.5, 0.0001; nothing is re-trained." in text
    kept_all, _ = command("table4", retention="1.0,0.0001")
    assert len({(row["all"], row["longer"]) for row in kept_all["rows"]}) == 1  # whoever eliminates nothing is the same


@pytest.mark.slow
def test_ablation_at_equal_cost(command):
    found, text = command("ablation", targets=[1.0, 1.2])
    assert [(row["strategy"], row["target"]) for row in found["rows"][:5]] == [
        ("Attn-WS", 1.0), ("Head-WS", 1.0), ("Rand-WS", 1.0), ("weighted Attn-WS", 1.0), ("Attn-WS", 1.2),
    ]  # fmt: skip
    assert [row["metric"] for row in found["rows"][:4]] == [found["dense"]] * 4  # nothing was eliminated
    assert found["rows"][-1]["keeps"] == 1  # of two encoders
    assert found["rows"][-1]["saved"] > 1.2
    assert "nothing re-trained" in text


def test_ablation_trains_where_it_is_asked_to(run_folder, tiny_run, capsys):
    options = Options(checkpoint=str(tiny_run.checkpoint), targets=(), epochs=1)
    (row,) = measure("ablation", run_folder, options)["rows"]
    assert row["strategy"] == "fewer encoders"
    assert capsys.readouterr().out.count("before re-training: dev accuracy") == 1


def test_table2_reads_what_was_measured(command, tmp_path):
    for seed, (reduced, speedup) in enumerate([(0.85, 1.5), (0.87, 1.9)]):
        folder = tmp_path / f"seed-{seed}" / "MRPC"
        result = {
            "task": "MRPC", "metric": "f1", "settings": {"checkpoint": "some"},
            "dense": {"metrics": {"f1": 0.88}}, "reduced": {"metrics": {"f1": reduced}},
            "speedup": {"grouped": speedup, "padded": 2 * speedup},
        }  # fmt: skip
        (folder / "evaluate").mkdir(parents=True)
        (folder / "evaluate" / "result.json").write_text(json.dumps(result))
    folders = [tmp_path / f"seed-{seed}" / "MRPC" for seed in (0, 1)]
    _, text = command("table2", run=folders)
    # 1798 / 674 = 2.7; means and sample standard deviations.
    row = next(line for line in text.splitlines() if line.startswith("| MRPC"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "MRPC, mean of 2 runs", "f1", "88.7", "88.1", "2.7x", "88.0 ± 0.0", "86.0 ± 1.4",
        "3.40 ± 0.57x", "1.70 ± 0.28x", "yes",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="is a run of some; expected one of ALBERT"):
        command("table3", run=folders)


def test_what_is_not_there_is_named(command, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json in it"):
        command("figure2", run=[tmp_path])
    with pytest.raises(ValueError, match="nothing measured; expected an evaluate stage, or a search to a target"):
        command("table2")


@pytest.mark.slow
def test_the_command_line(run_python, tmp_path):
    code = 'import runpy, sys; runpy.run_module("benchmarks.paper", run_name="__main__")'
    told = run_python(code, "figure9", expected=1)
    assert "figure9: expected one of figure2, figure5, table2" in told.stdout + told.stderr
    told = run_python(code, "figure2", f"--run={tmp_path}", f"--output={tmp_path / 'here'}", expected=1)
    assert "no config.json in it" in told.stdout + told.stderr


def test_published_rows_are_of_known_tasks():
    for name, row in ROWS.items():
        assert (TASKS[name].max_seq_length, TASKS[name].metrics[0]) == (row.max_seq_length, row.metric)
        assert 2.0 <= round(row.speedup, 1) <= 4.5
