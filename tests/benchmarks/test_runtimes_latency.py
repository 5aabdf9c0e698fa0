"""Latency on runtimes: ratios by hand, and a process that answers; nothing is timed here."""

from benchmarks.inference.latency import compare, to_markdown


def found(milliseconds, metric=0.75):
    times = {"p50_ms": milliseconds, "p99_ms": 2 * milliseconds, "mean_ms": milliseconds}
    return {"one": times, "grouped": {**times, "mean_ms": 3 * milliseconds}, "metrics": {"f1": metric}}


REPORT = {
    **{"command": "python -m benchmarks.inference.latency --run=runs/MRPC", "date": "2 May", "device": "some device"},
    **{"python": "3.11", "packages": {"tensorflow": "2"}, "threads": 2, "batch_size": 32, "task": "MRPC"},
    **{"retention": [0.5, 0.25], "retrained": False, "examples": 3, "metric": "f1"},
    "results": {
        "Keras": {"dense": found(10.0), "reduced": found(5.0)},
        "LiteRT": {"dense": found(22.0), "reduced": found(12.5), "reduced-int8": found(5.0, 0.5)},
    },
}


def test_ratios_by_hand():
    rows = {(row["runtime"], row["model"]): row for row in compare(REPORT).to_dict("records")}
    reduced = rows["LiteRT", "reduced"]
    assert (reduced["mean"], reduced["times faster"], reduced["of Keras'"]) == (37.5, 1.76, "0.88")  # 22 / 12.5, half
    int8 = rows["LiteRT", "reduced-int8"]
    assert (int8["times faster"], int8["of Keras'"], int8["dev f1"]) == (4.4, "", "0.5000")


def test_the_report_says_what_was_measured():
    text = to_markdown(REPORT)
    assert "Reduced: 0.5, 0.25; the fine-tuned weights, not re-trained." in text
    assert "| LiteRT | reduced | 12.50 | 25.00 | 12.50 | 25.00 | 37.50 | 1.76 | 0.88 | 0.7500 |" in text
