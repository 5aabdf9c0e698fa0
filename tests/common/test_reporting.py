"""Where lines and bars go."""

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
        with open_bar(total=3, disable=disable) as bar:
            bar.update(3)
        assert bool(capsys.readouterr().err) == is_shown
