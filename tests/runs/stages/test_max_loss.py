"""What `--max_loss` promises, and of which model."""

import pytest

from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare


@pytest.fixture(scope="module")
def run_within(tiny_run, tmp_path_factory):
    """Runs a stage with `--max_loss`; returns the run."""

    def run(max_loss, stage, **changes):
        output = tmp_path_factory.mktemp("runs")
        folder = tiny_run.copy(output)
        settings = tiny_run.settings("SST-2", output, search_method="calibrate", max_loss=max_loss, **changes)
        pipeline.run(settings, stage)
        return prepare(settings, folder)

    return run


@pytest.mark.slow
def test_candidates_are_re_trained_briefly_where_the_finished_model_is_meant(run_within, capsys):
    searched = run_within(0.05, "search", max_loss_of="searched")
    assert "brief re-training" not in capsys.readouterr().out
    finished = run_within(0.05, "search")
    tried = [line for line in capsys.readouterr().out.splitlines() if "after brief re-training: dev accuracy" in line]
    assert len(tried) == 4

    speeds = [run.costs.speedup(run.reduction()) for run in (searched, finished)]
    assert speeds[0] <= speeds[1] * (1 + 1e-6)
    fastest_that_holds = max(
        [
            speeds[0],
            *(
                float(line.split("x")[0])
                for line in tried
                if float(line.split()[-3].rstrip(",")) >= float(line.split()[-1])
            ),
        ]
    )
    assert speeds[1] == pytest.approx(fastest_that_holds, abs=0.005)  # the log has two digits
    assert {path.name for path in finished.folder.stage("search").iterdir()} == {"result.json"}


def test_what_was_asked_for_and_what_came_out_stand_in_one_line(run_within, capsys):
    run = run_within(0.9, "retrain", max_loss_of="searched")
    result = run.folder.finished("retrain")
    lost = run.folder.finished("finetune")["metrics"]["accuracy"] - run.evaluate(run.reduced_model())["accuracy"]
    assert (result["asked_loss"], result["got_loss"]) == (0.9, pytest.approx(lost))
    assert f"asked: at most 0.9 accuracy lost; got {lost:.4f} on the dev rows\n" in capsys.readouterr().out
