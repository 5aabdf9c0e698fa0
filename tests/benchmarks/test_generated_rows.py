"""What the benchmarks of files larger than memory share."""

import sys

import pandas as pd
import pytest

from benchmarks.streams.generated import run_watched, write_rows


def test_rows_are_as_many_as_asked_for_and_labeled(tmp_path):
    for labeled in (False, True):
        write_rows(tmp_path / "rows.csv", 211, labeled)
        table = pd.read_csv(tmp_path / "rows.csv")
        assert list(table) == ["number", "text", *["label"] * labeled]
        assert table["number"].tolist() == list(range(211))
        assert table["text"].str.split().str.len().between(5, 12).all()
    assert ((table["label"] == "yes") == table["text"].str.split().map(lambda words: "good" in words)).all()
    assert table["label"].nunique() == 2


def test_a_process_is_watched(tmp_path):
    code = "import time; held = bytearray(97 << 20); print('done'); time.sleep(1)"
    seconds, peak = run_watched([sys.executable, "-c", code], tmp_path / "log")
    assert 97 < peak < 197
    assert seconds > 1
    assert (tmp_path / "log").read_text() == "done\n"
    with pytest.raises(RuntimeError, match=r"(?s)failed: .*ZeroDivisionError"):
        run_watched([sys.executable, "-c", "1 / 0"], tmp_path / "log")
