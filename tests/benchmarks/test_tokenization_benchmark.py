"""The arithmetic of the tokenization benchmark, and that its engines agree; nothing is timed here."""

from pathlib import Path

import pytest

from benchmarks.inference import tokenization
from benchmarks.inference.tokenization import CACHED, HUGGING_FACE, OURS, Job, build, digest, is_missing
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def row(engine, cores, rows_per_second):
    return {
        **{"engine": engine, "cores": cores, "rows": 5801, "calls": 7, "first_seconds": 0.25},
        **{f"rows_per_second_p{share}": rows_per_second * share / 50 for share in (10, 50, 90)},
    }


REPORT = {
    **{
        "command": "python -m benchmarks.inference.tokenization",
        "date": "2 May",
        "device": "some device",
        "python": "3.11",
    },
    **{"packages": {"tokenizers": "0.23"}, "task": "MRPC", "max_seq_length": 128, "skipped": []},
    "results": [row(OURS, 1, 90000), row(OURS, 2, 120000), row(HUGGING_FACE, 1, 20000), row(HUGGING_FACE, 2, 40000)],
    "input_wait": {"checkpoint": "MiniLM", "batch_size": 64, "steps": 16, "step_ms": 700.0, "share": 0.00125},
}


def test_the_report_by_hand():
    text = tokenization.to_markdown(REPORT)
    assert "| ours | 1 | 90,000 | 18,000 to 162,000 | 4.5 | 250 |" in text
    assert "| ours | 2 | 120,000 | 24,000 to 216,000 | 3.0 | 250 |" in text
    assert "5,801 pairs" in text
    assert "waits for input **0.12%** of the time: 16 steps of 700 ms" in text


def test_the_report_names_what_was_skipped():
    ours = [row for row in REPORT["results"] if row["engine"] == OURS]
    text = tokenization.to_markdown({**REPORT, "results": ours, "skipped": [HUGGING_FACE], "input_wait": None})
    assert "Hugging Face tokenizers: not installed, skipped." in text
    assert "| ours | 2 | 120,000 | 24,000 to 216,000 |  | 250 |" in text
    assert "waits" not in text


def test_engines_that_disagree_are_refused():
    answers = [(OURS, {"rows": 3, "sha256": "a", "first_seconds": 1.0}), (HUGGING_FACE, {"rows": 3, "sha256": "b"})]
    with pytest.raises(RuntimeError, match="Hugging Face tokenizers and ours make different ids"):
        tokenization.check_agreement(answers)
    answers[1][1]["sha256"] = "a"
    assert tokenization.check_agreement(answers) == 3


def test_a_digest_tells_rows_apart():
    assert digest([([1, 2], [0, 0]), ([3], [0])]) == digest([([1, 2], [0, 0]), ([3], [0])])
    different = [([1], [0]), ([2, 3], [0, 0])], [([1, 2, 3], [0, 0, 0])], [([1, 2], [0, 1]), ([3], [0])]
    assert len({digest(rows) for rows in different}) == 3


def test_engines_make_the_same_of_the_sample(tmp_path):
    try:
        find_checkpoint("")
    except InputError:
        pytest.skip("the default checkpoint is not installed")
    found = set()
    for engine in (OURS, CACHED, CACHED, HUGGING_FACE):
        if is_missing(engine):
            pytest.skip(f"{engine} is not installed")
        job = Job(engine, 1, "MRPC", str(REPOSITORY / "glue_data" / "sample"), "", str(tmp_path))
        num_rows, run, read = build(job)
        found.add((num_rows, digest(read(run()))))
    assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 1
