"""The report of a finished run: what it tells, as a page, as Markdown, and as TensorBoard logs."""

import dataclasses
import html
import itertools
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from made_up_points import BASELINES, several
from selenium_chromium import CHROMIUM, DRIVER, open_page
from tiny_task import NUM_ROWS

from powerbert_tf.data.metrics import METRICS
from powerbert_tf.reports.page import Plot, report_markdown, report_page
from powerbert_tf.reports.sections import report_sections
from powerbert_tf.runs import pipeline

LENGTH = 23


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("world")


PAPER = {"search_method": "paper", "learning_rate_soft_extract": 0.05, "lambda_": 0.1}
GIVEN = {"retention_configuration": "0.5,0.0001", "epochs_retrain": 1}


@pytest.fixture(scope="module")
def run_folder(world, tiny_run):
    """A finished run with its report, searched by masses, so that all there is to draw is there."""
    folder = tiny_run.copy(world / "runs", stage="all", **PAPER)
    pipeline.run(tiny_run.settings("SST-2", world / "runs", **PAPER, tensorboard=True), "report")
    return folder


@pytest.fixture(scope="module")
def content(run_folder):
    return json.loads((run_folder / "report" / "report.json").read_text())


def result(folder, stage):
    return json.loads((folder / stage / "result.json").read_text())


def test_numbers_are_those_of_the_stages(run_folder, content):
    evaluated = result(run_folder, "evaluate")
    assert content["speedup"] == evaluated["speedup"]
    assert {row["name"]: row["dense"] for row in content["metrics"]} == evaluated["dense"]["metrics"]
    assert {row["name"]: row["reduced"] for row in content["metrics"]} == evaluated["reduced"]["metrics"]
    assert content["search"]["masses"] == result(run_folder, "search")["masses"]
    assert [row["epoch"] for row in content["curves"]["finetune"]] == [1, 2]
    assert content["gains"][1]["multiply_adds"] == evaluated["multiply_adds"]["padded"]["dense"]
    assert content["gains"][-1]["multiply_adds"] == evaluated["multiply_adds"]["unpadded"]["reduced"]


def test_counts_add_up_to_the_metrics(content):
    for name, matrix in content["confusion"].items():
        accuracy = np.trace(matrix) / np.sum(matrix)
        assert np.sum(matrix) == NUM_ROWS["dev"]
        assert accuracy == pytest.approx(content["metrics"][0][name])
        assert np.sum(content["reliability"][name]["counts"]) == NUM_ROWS["dev"]
    agreement = content["agreement"]
    assert sum(agreement[key] for key in ("both_right", "lost", "won", "both_wrong")) == NUM_ROWS["dev"]
    assert len(content["examples"]["lost"]) == min(agreement["lost"], 10)


def test_lengths_and_padding_counted_from_the_files(tiny_run, content):
    lines = (tiny_run.data / "SST-2" / "dev.tsv").read_text().splitlines()[1:]
    lengths = np.array([len(line.split("\t")[0].split()) + 2 for line in lines])  # [CLS] and [SEP]
    dev = content["data"]["splits"]["dev"]
    assert (dev["examples"], dev["longest"], dev["mean"]) == (len(lines), max(lengths), pytest.approx(np.mean(lengths)))
    padding = content["data"]["padding"]
    assert padding["padded to N"] == pytest.approx(1 - lengths.sum() / (LENGTH * len(lengths)))
    first = len(lengths) % 5  # the smaller batch comes first
    batches = np.split(lengths, range(first, len(lengths), 5))
    assert padding["padded to the batch"] == pytest.approx(1 - lengths.sum() / sum(b.max() * len(b) for b in batches))
    assert 0 <= padding["grouped by length"] < padding["padded to the batch"] < padding["padded to N"]
    edges, shares = content["data"]["edges"], content["data"]["histogram"]["dev"]
    counted = [np.mean((lengths > low) & (lengths <= high)) for low, high in itertools.pairwise(edges)]
    np.testing.assert_allclose(shares, counted)


def test_page_and_markdown_tell_the_same(run_folder):
    page = (run_folder / "report" / "index.html").read_text()
    text = (run_folder / "report" / "report.md").read_text()
    headings = re.findall(r"<h2 [^>]*>(.*?)</h2>", page)
    assert headings == re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert "The search" in headings
    assert "Metric against speed-up" not in headings  # the pareto stage has not run
    figures = re.findall(r"\]\((figures/.*?\.svg)\)", text)
    assert len(figures) == page.count("<svg ") == len(set(figures))
    assert all((run_folder / "report" / name).read_text().startswith("<?xml") for name in figures)
    assert {"figures/masses.svg", "figures/configurations.svg", "figures/curve-search.svg"} <= set(figures)
    ids = re.findall(r'\bid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#(.*?)["\)]', page)) <= set(ids)
    assert "://" not in re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page)
    for row in json.loads((run_folder / "report" / "report.json").read_text())["metrics"]:
        assert f"{row['reduced']:.4f}" in page
        assert f"{row['reduced']:.4f}" in text


def test_tensorboard_reads_the_curves(run_folder):
    for stage in ("finetune", "search", "retrain"):
        rows = [json.loads(line) for line in (run_folder / stage / "log.jsonl").read_text().splitlines()]
        (path,) = (run_folder / "report" / "tensorboard" / stage).iterdir()
        found = {}
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
        for row in rows:
            assert found["loss", row["epoch"]] == pytest.approx(row["loss"])
            assert found["dev/accuracy", row["epoch"]] == pytest.approx(row["metrics"]["accuracy"])
            for encoder, mass in enumerate(row.get("masses", ()), start=1):
                assert found[f"masses/encoder_{encoder}", row["epoch"]] == pytest.approx(mass)


def test_a_report_is_out_of_date_with_what_it_tells(run_folder, tiny_run, world, capsys):
    copy = world / "copy"
    shutil.copytree(run_folder, copy / "SST-2")
    settings = tiny_run.settings("SST-2", copy, **PAPER)
    pipeline.run(settings, "evaluate", overwrite=True)
    assert "report: out of date now; --stage=report makes it again" in capsys.readouterr().out
    assert (copy / "SST-2" / "report" / "index.html").exists()


@pytest.mark.slow
def test_seeds_tell_their_spread(world, tiny_run):
    settings = tiny_run.settings("SST-2", world / "seeds", **GIVEN, epochs=1)
    pipeline.run(settings, "report", seeds=2)
    folders = [world / "seeds" / "SST-2" / f"seed-{seed}" for seed in (0, 1)]
    values = [result(folder, "evaluate")["reduced"]["metrics"]["accuracy"] for folder in folders]
    for folder in folders:
        text = (folder / "report" / "report.md").read_text()
        assert "spread unknown" not in text
        assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in text


def test_a_search_by_calibration_shows_its_profile(content):
    found = {
        "search_method": "calibrate", "target_speedup": 2.0, "predicted_speedup": 2.1, "measured_speedup": 1.9,
        "profile": {"fractions": [0.1, 0.5, 1.0], "damages": [[0.7, 0.2, 0.0]]},
    }  # fmt: skip
    (section,) = (one for one in report_sections({**content, "search": found}) if one.name == "search")
    (plot,) = (block for block in section.blocks if isinstance(block, Plot) and block.name == "profile")
    (line,) = plot.figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [(0.1, 0.7), (0.5, 0.2), (1.0, 0.0)])
    measured = content["speedup"]["grouped"]  # the one measurement that the verdict quotes, too
    assert f"Asked for: 2x. Predicted 2.10x, measured {measured:.2f}x." in section.blocks


def test_a_regression_has_numbers_in_place_of_classes(world, tiny_run):
    folder = tiny_run.copy(world / "runs", "STS-B") / "report"
    pipeline.run(tiny_run.settings("STS-B", world / "runs", **GIVEN), "report")
    content = json.loads((folder / "report.json").read_text())
    points = np.array(content["differences"]["points"])
    assert points.shape == (NUM_ROWS["dev"], 2)
    labels = [
        float(line.split("\t")[-1]) for line in (tiny_run.data / "STS-B" / "dev.tsv").read_text().splitlines()[1:]
    ]
    correlation = METRICS["pearson"](np.array(labels), points[:, 1])
    (reduced,) = (row["reduced"] for row in content["metrics"] if row["name"] == "pearson")
    assert correlation == pytest.approx(reduced, abs=1e-3)
    text = (folder / "report.md").read_text()
    assert "The retention configuration was given, not searched" in text
    assert "Calibration" not in text
    assert not (folder / "tensorboard").exists()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(run_folder, width):
    page = run_folder / "report" / "index.html"
    with open_page(page, width) as browser:
        assert browser.title == "SST-2: results of the reduced model"
        # Nothing is wider than the screen but what scrolls by itself.
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        sizes = browser.execute_script(
            "return [...document.querySelectorAll('svg')].map(s => [s.clientWidth, s.clientHeight])"
        )
        assert len(sizes) > 5
        assert all(inner > 250 and height > 80 for inner, height in sizes)
        unnamed = "return [...document.querySelectorAll('svg, table')].filter(e => !(e.getAttribute('aria-label') || \
            e.querySelector('caption'))).length"
        assert browser.execute_script(unnamed) == 0
        browser.execute_script("document.querySelector('nav a[href=\"#settings\"]').click()")
        assert browser.execute_script("return location.hash") == "#settings"
        # What the page loaded: itself alone.
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert browser.get_log("browser") == []


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine")
def test_no_column_is_clipped_on_a_telephone(run_folder):
    with open_page(run_folder / "report" / "index.html", 390) as browser:
        clipped = "return [...document.querySelectorAll('table')].filter(t => t.parentElement.scrollWidth > \
            t.parentElement.clientWidth).map(t => t.caption.textContent)"
        assert browser.execute_script(clipped) == []


def test_the_report_begins_with_the_verdict_and_what_to_mind(run_folder, content):
    speedup, verdict = content["speedup"], content["verdict"]
    page, text = ((run_folder / "report" / name).read_text() for name in ("index.html", "report.md"))
    hero = page[page.index('<div class="hero') : page.index("</div>", page.index('<div class="hero'))]
    assert f"<p>{html.escape(verdict[2])}</p>" in hero
    for value in (f"{speedup['grouped']:.2f}x", f"{speedup['alone']['reduced']:.1f} ms"):
        assert f"<strong>{value}</strong>" in hero
    assert "The dev rows chose the epoch, too, so figures on them are a little too high." in content["cautions"]
    assert [f"> **Mind:** {caution}" in text for caution in content["cautions"]] == [True] * len(content["cautions"])


def test_test_metrics_stand_beside_those_of_dev(content):
    known = {"dense": {"accuracy": 0.8125}, "reduced": {"accuracy": 0.75}}
    (section,) = (one for one in report_sections({**content, "test": known}) if one.name == "metrics")
    (table,) = (block for block in section.blocks if getattr(block, "caption", "") == "The same on the test split")
    assert table.rows == [("test accuracy", "0.8125", "0.7500", "-0.0625")]
    assert content["test"] is None  # GLUE's test rows have no labels


def test_what_the_pareto_stage_found_is_shown(content):
    pareto = {
        "metric": "accuracy",
        "points": [dataclasses.asdict(point) for point in several()],
        "baselines": [dataclasses.asdict(baseline) for baseline in BASELINES],
        "measured_on": "this and that",
    }
    (section,) = (one for one in report_sections({**content, "pareto": pareto}) if one.name == "pareto")
    page, text = report_page("title", [section]), report_markdown("title", [section], "figures")
    assert '<figure class="wide">' in page
    assert "Measured on this and that" in page
    assert "| random | " in text
    assert text.count("\n| ") == 2 + len({(point.strategy, point.target_speedup) for point in several()})
