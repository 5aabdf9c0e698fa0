"""Columns of texts in memory and in a file are the same to whoever reads them."""

import random

import numpy as np
import pytest

from powerbert_tf.data import text_columns
from powerbert_tf.data.text_columns import StoredTexts, TextWriter, in_blocks, take_texts

SPELLINGS = ["", "a", "b\r\nc", "שלום 🙂", 'tab\tand "quotes"', "é" * 97, "\ud83d", "x" * 997]


def column(count, most_held=1, seed=0):
    draw = random.Random(seed)
    texts = [draw.choice(SPELLINGS) + str(number) for number in range(count)]
    writer = TextWriter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_columns, "MOST_HELD", most_held)
        for number, text in enumerate(texts):
            assert len(writer) == number
            writer.append(text)
    return texts, writer.finish()


@pytest.fixture(params=[1, 5, 8192])
def small_blocks(request, monkeypatch):
    """Texts read at once."""
    monkeypatch.setattr(text_columns, "BLOCK", request.param)


def test_small_columns_are_lists():
    texts, written = column(97, most_held=1 << 20)
    assert written == texts
    assert type(written) is list


@pytest.mark.parametrize("count", [1, 2, 211])
def test_a_file_gives_back_what_was_written(small_blocks, count):
    texts, written = column(count)
    assert isinstance(written, StoredTexts)
    assert len(written) == count
    assert list(written) == texts
    assert list(written) == texts  # once more
    assert [written[row] for row in range(count)] == texts
    assert written[-1] == texts[-1]
    assert written[1:7:2] == texts[1:7:2]
    assert [text for block in in_blocks(written, 3) for text in block] == texts
    with pytest.raises(IndexError):
        written[count]


@pytest.mark.parametrize("most_held", [1, 1 << 20])
def test_some_rows_in_any_order(monkeypatch, most_held):
    monkeypatch.setattr(text_columns, "MOST_HELD", most_held)
    texts, written = column(211)
    draw = np.random.default_rng(0)
    for rows in (
        np.arange(211),
        np.flatnonzero(draw.random(211) < 0.7),
        np.array([3, 5]),
        draw.permutation(211),
        np.array([7, 7, 2]),
        np.array([], int),
    ):
        for given in (texts, written):
            assert list(take_texts(given, rows)) == [texts[row] for row in rows]
    assert isinstance(take_texts(written, np.arange(211)), StoredTexts) == (most_held == 1)


def test_two_readers_do_not_disturb_each_other():
    texts, written = column(211)
    pairs = list(zip(written, written, strict=True))
    assert pairs == list(zip(texts, texts, strict=True))


def test_a_column_grows_while_it_is_read(monkeypatch):
    monkeypatch.setattr(text_columns, "MOST_HELD", 1)
    writer = TextWriter()
    for number in range(7):
        writer.append("")
        assert list(writer.finish()) == [""] * (number + 1)


def test_pages_that_were_read_are_given_back(monkeypatch):
    released = []
    monkeypatch.setattr(text_columns, "release", lambda *mapped: released.append(mapped))
    _, written = column(97)
    for use in (lambda: list(written), lambda: written[5], lambda: take_texts(written, np.array([3, 2]))):
        use()
        assert any(content is written._content and ends is written._ends for content, ends in released)
        released.clear()
