import json

import numpy as np
import pandas as pd
import pytest
from selenium_chromium import CHROMIUM, DRIVER, open_page
from tiny_task import NUM_ROWS

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs import pipeline


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def settings_for(world, tiny_run):
    def settings(task="SST-2", **changes):
        given = {"retention_configuration": "0.5,0.0001", "epochs_retrain": 1, **changes}
        return tiny_run.settings(task, world / "runs", **given)

    return settings


@pytest.fixture(scope="module")
def page(world, tiny_run, settings_for):
    """A page of a finished run."""
    folder = tiny_run.copy(world / "runs")
    pipeline.run(settings_for(), "explain")
    return folder / "explain" / "index.html"


def test_the_page_of_a_run(page, tiny_run):
    result = json.loads((page.parent / "result.json").read_text())
    assert (result["examples"], result["file"]) == (NUM_ROWS["dev"], "index.html")
    assert 0 <= result["disagreements"] <= NUM_ROWS["dev"]
    pieces = pd.read_csv(page.parent / "pieces.csv")
    assert pieces["example"].nunique() == NUM_ROWS["dev"]
    words = pd.read_csv(page.parent / "words.csv")
    assert len(pieces) - NUM_ROWS["dev"] == words["count"].sum()  # [CLS] is no word
    assert list(words.columns) == ["piece", "count", "encoder_1"]
    assert (
        words["count"].sum()
        == sum(
            len(line.split("\t")[0].split()) + 1  # and [SEP]
            for line in (tiny_run.data / "SST-2" / "dev.tsv").read_text().splitlines()[1:]
        )
    )


def test_given_texts_on_the_console(page, settings_for, capsys):
    settings = settings_for(explain_text="a b a a b a\n\nb b b", format="text")
    pipeline.run(settings, "explain", overwrite=True)
    told = capsys.readouterr().out
    # [CLS], six letters and [SEP]: half of the eight stay.
    first = next(line for line in told.splitlines() if line.startswith("encoder 1"))
    assert len(first.split()[2:]) == 8
    assert sum("·" in word for word in first.split()) == 4
    assert (page.parent / "explain.txt").read_text().count("example ") == 2
    pipeline.run(settings_for(), "explain", overwrite=True)


def test_texts_that_do_not_fit_the_task(page, settings_for):
    with pytest.raises(InputError, match=r"--explain_text='a': 2 texts in a line; expected one text, without tabs"):
        pipeline.run(settings_for(explain_text="a\tb"), "explain", overwrite=True)


def test_pairs_and_regressions(settings_for, tiny_run, world):
    folder = tiny_run.copy(world / "runs", "STS-B")
    pipeline.run(settings_for("STS-B", explain_examples=7), "explain")
    result = json.loads((folder / "explain" / "result.json").read_text())
    assert (result["examples"], result["disagreements"]) == (7, None)
    settings = settings_for("STS-B", explain_text="a b", explain_examples=7)
    with pytest.raises(InputError, match="1 texts in a line; expected two texts with a tab between"):
        pipeline.run(settings, "explain", overwrite=True)


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine")
def test_the_page_in_a_browser(page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    with open_page(page) as browser:

        def find(selector):
            return browser.find_elements(By.CSS_SELECTOR, selector)

        assert browser.title == "SST-2: what the model reads"
        assert len(find("#list button")) == NUM_ROWS["dev"]
        text = find("#list button")[3].text
        find("#find")[0].send_keys(text)
        shown = [button.text for button in find("#list button")]
        assert text in shown
        assert all(text in one for one in shown)
        find("#find")[0].send_keys(Keys.CONTROL, "a")
        find("#find")[0].send_keys(Keys.DELETE)
        Select(find("#order")[0]).select_by_value("longest")
        lengths = [len(button.get_attribute("title")) for button in find("#list button")]
        assert lengths == sorted(lengths, reverse=True)
        Select(find("#filter")[0]).select_by_value("differ")
        disagreements = json.loads((page.parent / "result.json").read_text())["disagreements"]
        assert len(find("#list button")) == disagreements
        Select(find("#filter")[0]).select_by_value("all")
        find("#list button")[0].send_keys(Keys.ARROW_DOWN)  # opens the next one
        assert find("#list button")[1].get_attribute("aria-current") == "true"
        first = find("#encoders li")[0]
        count = len(first.find_elements(By.CSS_SELECTOR, ".piece"))
        gone = len(first.find_elements(By.CSS_SELECTOR, ".gone"))
        assert gone == count - int(np.ceil(count / 2))
        titles = [piece.get_attribute("title") for piece in first.find_elements(By.CSS_SELECTOR, ".piece")]
        assert titles[0].endswith(": always stays")
        assert all(": score " in title for title in titles[1:])
        assert find("#words table")
        # What the page loaded: itself alone.
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert browser.get_log("browser") == []
