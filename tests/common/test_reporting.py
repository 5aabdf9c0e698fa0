"""Where lines and bars go."""

import io

from powerbert_tf.common.reporting import open_bar, reporting, say


def test_lines_are_printed(capsys):
    say("a line")
    say("a warning", is_warning=True)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("a line\n", "a warning\n")


def test_a_silent_block_has_neither_lines_nor_bars(capsys):
    with reporting(verbose=0), open_bar(total=3) as bar:
        say("a line")
        bar.update(3)
        with reporting(verbose=1):  # what is within stays silent
            say("another", is_warning=True)
    say("after")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("after\n", "")


def test_a_caller_takes_the_lines_of_blocks_within(capsys):
    lines = []
    with reporting(take=lines.append), reporting(verbose=1):
        say("a line")
        say("a warning", is_warning=True)
        with reporting(verbose=0):
            say("nothing")
    assert lines == ["a line", "a warning"]
    assert capsys.readouterr().out == ""


def test_a_bar_for_terminals_only_is_not_shown_in_a_file(capsys):
    for disable, is_shown in ((None, False), (False, True)):
        with open_bar(total=3, disable=disable, desc="count", delay=0, mininterval=0) as bar:
            bar.update()
            bar.update(2)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(")")[0] for line in lines] == (
            ["count   0% (0/3", "count  33% (1/3", "count 100% (3/3"] if is_shown else []
        )


def test_in_a_file_what_takes_less_than_a_minute_is_not_shown(capsys):
    with open_bar(total=3, desc="count") as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_bar_fits_80_columns(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("COLUMNS", "80")
    with open_bar(total=1234, desc="finetune 12/12", mininterval=0) as bar:
        bar.set_postfix_str("loss=0.1234, rate=1.0e-05")
        bar.update(617)
    widest = max(shown.getvalue().replace("\n", "\r").split("\r"), key=len)
    assert len(widest) <= 80
    assert "loss=0.1234, rate=1.0e-05" in shown.getvalue()
    assert "617/1234" in shown.getvalue()
