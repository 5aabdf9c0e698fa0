"""Text in, label out: the arithmetic of the benchmark, and its answers on a tiny run; nothing is timed here."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_task import CONFIG, NUM_ROWS, write_checkpoint, write_data

from benchmarks.common.runs import read_run
from benchmarks.inference.end_to_end import PADDINGS, Answers, check_equal, compare, measure, summarize, to_markdown
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.settings import resolve_settings


def answers(seconds, tokenising=0.5, shift=0.0):
    return Answers(np.array([[0.1, 0.3], [0.7, 0.2], [0.5, 0.4]]) + shift, tokenising, seconds)


def row(model, padding, seconds):
    return summarize(model, padding, [answers(seconds), answers(seconds + 4), answers(seconds + 1)], {"f1": 0.75}, 0)


REPORT = {
    **{
        "command": "python -m benchmarks.inference.end_to_end --run=runs/MRPC",
        "date": "2 May",
        "device": "some device",
    },
    **{"python": "3.11", "packages": {"tensorflow": "2", "keras": "3"}, "threads": 2, "batch_size": 32, "data": "tsv"},
    **{"task": "MRPC", "max_seq_length": 128, "retention": [0.5, 0.25], "examples": 3, "metric": "f1"},
    "results": [
        row("fine-tuned", "padded to N", 11.0),
        row("fine-tuned", "padded to the batch", 7.0),
        row("fine-tuned", "grouped by length", 5.0),
        row("reduced", "grouped by length", 3.0),
    ],
}


def test_ratios_by_hand():
    last = compare(REPORT).to_dict("records")[-1]
    # Medians: 4 seconds of 3, 7 and 4; so 12, 8, 6 of the others.
    assert last == {
        **{"model": "reduced", "padding": "grouped by length", "seconds": 4.0, "examples a second": 3 / 4},
        **{"tokenising": "12.5 %", "times faster, padded": 12 / 4, "times faster, grouped": 6 / 4, "dev f1": "0.7500"},
    }


def test_the_report_says_what_was_measured():
    text = to_markdown(REPORT)
    assert "| fine-tuned | padded to N | 12.00 | 0.25 | 4.2 % | 1.00 | 0.50 | 0.7500 |" in text
    assert "0 labels depend on the padding" in text
    assert "keeps 0.5, 0.25" in text


def test_padding_that_changes_an_answer_is_refused():
    found = {("fine-tuned", padding): answers(1.0) for padding in PADDINGS}
    check_equal(found, 1e-3)
    found["fine-tuned", "padded to N"] = answers(1.0, shift=0.25)
    with pytest.raises(RuntimeError, match=r"fine-tuned: logits padded to N and grouped by length differ by 2\.5e-01"):
        check_equal(found, 1e-3)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json in it; expected a folder that run_glue\.py wrote"):
        read_run(tmp_path)


@pytest.mark.slow
def test_a_run_is_read_again_and_its_dev_set_answered_in_order(tiny_run, tmp_path):
    folder = tiny_run.copy(tmp_path)
    settings = tiny_run.settings("SST-2", tmp_path, epochs_retrain=1, retention_configuration="0.7,0.3")
    pipeline.run(settings, "retrain")
    run = read_run(folder)
    assert run.settings == settings.replace(case="uncased")  # what auto came to
    rows = measure(run, None, batch_size=5, rounds=1, tolerance=1e-4)
    assert [(row["model"], row["padding"]) for row in rows] == [
        *(("fine-tuned", padding) for padding in PADDINGS),
        ("reduced", "grouped by length"),
    ]
    for row in rows:
        # The stages evaluated the same weights, by Keras's own loop.
        stage = "finetune" if row["model"] == "fine-tuned" else "retrain"
        result = json.loads((folder / stage / "result.json").read_text())
        assert row["metrics"] == result["metrics"]
        assert row["labels_that_differ"] == 0
        assert row["examples_a_second"] == pytest.approx(NUM_ROWS["dev"] / row["seconds"])
        assert 0 < row["tokenising_seconds"] < row["seconds"]


def test_a_run_of_an_earlier_version_is_read_with_the_defaults_of_today(tmp_path):
    write_checkpoint(tmp_path / "checkpoint")
    write_data(tmp_path / "data", "SST-2")
    folder = tmp_path / "runs" / "SST-2"
    folder.mkdir(parents=True)
    places = {"checkpoint": str(tmp_path / "elsewhere"), "data_dir": str(tmp_path / "gone")}
    early = {"task": "SST-2", **places, "max_seq_length": 19, "lambda": 0.25}  # no --length_buckets, no --distillation
    (folder / "config.json").write_text(json.dumps(early))
    run = read_run(folder, str(tmp_path / "data"), str(tmp_path / "checkpoint"))
    rate = 3e-5 * 768 / CONFIG["hidden_size"]
    expected = resolve_settings("SST-2", max_seq_length=19, lambda_=0.25, held_out_share=0.1, learning_rate=rate)
    now = {"checkpoint": str(tmp_path / "checkpoint"), "data_dir": str(tmp_path / "data")}
    assert run.settings == dataclasses.replace(expected, **now)
