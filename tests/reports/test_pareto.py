import csv
import dataclasses
import math
import statistics
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from made_up_points import BASELINES, GROUPED, a_point, several
from matplotlib.figure import Figure
from matplotlib.image import imread

from powerbert_tf.reports.pareto import (
    Point,
    draw_pareto,
    fastest_within,
    is_efficient,
    pareto_table,
    write_pareto,
)

FILES = ["pareto.csv", "pareto.md", "pareto.png", "pareto.svg"]


def test_efficient_points_by_hand():
    speedups = [1.0, 2.0, 3.0, 2.0, 3.0, 1.5]
    metrics = [0.9, 0.8, 0.7, 0.7, 0.7, 0.9]
    # The first loses to the last (as good, faster), the fourth to the second (as fast, better); twins both stay.
    assert is_efficient(speedups, metrics).tolist() == [False, True, True, False, True, True]


def test_efficient_points_are_those_that_a_sweep_from_the_fastest_finds():
    random = np.random.default_rng(3)
    speedups, metrics = random.permutation(47).astype(float), random.permutation(47).astype(float)
    found, best = set(), -math.inf
    for index in sorted(range(47), key=lambda i: -speedups[i]):
        if metrics[index] > best:
            found.add(index)
            best = metrics[index]
    assert 1 < len(found) < 47
    assert set(np.flatnonzero(is_efficient(speedups, metrics))) == found


def test_of_no_points_none_is_efficient():
    assert is_efficient([], []).shape == (0,)


@pytest.mark.parametrize(
    ("max_loss", "speedup"),
    [(0.0, 1.3), (0.01, 1.7), (0.009, 1.3), (0.05, 2.9), (-0.5, None)],  # the loss itself still counts as within
)
def test_the_fastest_point_within_a_loss(max_loss, speedup):
    points = [
        a_point(target=1.5, speedup=1.3, metric=0.87),
        a_point(target=3.0, speedup=2.9, metric=0.83),
        a_point(target=2.0, speedup=1.7, metric=0.86),
    ]
    row = fastest_within(pareto_table(points), "metric", 0.87, max_loss)
    assert (None if row is None else row["speed-up"]) == speedup


def test_the_loss_is_not_missed_by_rounding():
    """0.34 - 0.1 is 0.24000000000000002."""
    assert fastest_within(pareto_table([a_point(metric=0.24)]), "metric", 0.34, 0.1) is not None


def test_seeds_are_averaged_by_strategy_and_target():
    table = pareto_table(several())
    assert list(zip(table["strategy"], table["target speed-up"], strict=True)) == [
        ("calibrate", 2.0), ("calibrate", 3.0), ("random", 2.0)
    ]  # fmt: skip
    assert list(table["speed-up"]) == pytest.approx([(1.9 + 2.3 + 1.7) / 3, 2.9, 1.8])
    assert table["speed-up over padded to N"][0] == pytest.approx(3.1 * (1.9 + 2.3 + 1.7) / 3)
    assert list(table["metric"]) == pytest.approx([0.82, 0.79, 0.61])


def test_of_no_points_the_table_is_empty():
    assert len(pareto_table([], baselines=BASELINES)) == 0


def test_the_table_tells_the_spread_over_seeds():
    table = pareto_table(several(), "f1")
    assert list(table["strategy"]) == ["calibrate", "calibrate", "random"]
    assert list(table["target speed-up"]) == [2.0, 3.0, 2.0]
    assert list(table["seeds"]) == [3, 1, 1]
    assert table["speed-up std"][0] == pytest.approx(statistics.stdev([1.9, 2.3, 1.7]))
    assert table["f1 std"][0] == pytest.approx(statistics.stdev([0.81, 0.83, 0.82]))
    assert table["f1 std"][1:].isna().all()
    assert table["configuration"][0] == "seed 5: 0.7,0.5,0.3; seed 7: 0.7,0.5,0.2; seed 11: 0.7,0.5,0.3"
    assert table["configuration"][1] == "0.7,0.5,0.3"


def test_one_seed_has_no_spread_columns():
    assert list(pareto_table([a_point()], "f1")) == [
        "strategy",
        "target speed-up",
        "seeds",
        "predicted speed-up",
        "speed-up",
        "speed-up over padded to N",
        "f1",
        "efficient",
        "configuration",
    ]


def test_a_dense_model_may_be_the_better_choice():
    slow, fast = a_point(speedup=0.97, metric=0.82), a_point(target=3.0, speedup=2.9, metric=0.7)
    assert pareto_table([slow, fast])["efficient"].tolist() == [True, True]
    assert pareto_table([slow, fast], baselines=BASELINES)["efficient"].tolist() == [False, True]


def test_a_point_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"'calibrate' with the target 2 and seed 7 twice"):
        pareto_table([a_point(seed=7), a_point(seed=5), a_point(seed=7, metric=0.5)])


def write(folder, points, baselines=BASELINES, **kwargs):
    write_pareto(folder, points, baselines, "MRPC", "f1", "One core, 2 May.", **kwargs)
    return (folder / "pareto.md").read_text(encoding="utf-8")


def rows_of(text):
    """The cells of every line of every Markdown table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_four_files_and_nothing_else_are_written(tmp_path):
    write(tmp_path / "new" / "folder", several())
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == FILES
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in (tmp_path / "new" / "folder").iterdir())


def test_the_csv_holds_every_point(tmp_path):
    points = [*several(), a_point("head", configuration=(13, 7, 5))]
    write(tmp_path, points)
    with (tmp_path / "pareto.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [field.name for field in dataclasses.fields(Point)]
    assert names == [*rows[0], "neurons", "heads"]  # which are in the column of the configuration
    assert [(row["strategy"], int(row["seed"]), float(row["speedup"]), float(row["metric"])) for row in rows] == [
        (point.strategy, point.seed, point.speedup, point.metric) for point in points
    ]
    assert (rows[2]["configuration"], rows[-1]["configuration"]) == ("0.7,0.5,0.2", "13,7,5")


def test_the_markdown_of_several_seeds(tmp_path):
    text = write(tmp_path, several())
    rows = rows_of(text)
    assert text.startswith("# MRPC: dev f1 against speed-up\n\nOne core, 2 May.\n")
    assert ["padded to N", "71.0", "0.33x", "0.8300"] in rows
    # Means 1.97 and 0.82; sample deviations 0.3055 and 0.01; both over three seeds.
    assert rows[7] == [
        *("calibrate", "2x", "2.06x", "1.97x ± 0.31", "6.10x ± 0.95", "0.8200 ± 0.0100", "-0.0100", "yes"),
        "seed 5: 0.7,0.5,0.3<br>seed 7: 0.7,0.5,0.2<br>seed 11: 0.7,0.5,0.3",
    ]
    assert rows[9][:8] == ["random", "2x", "2.06x", "1.80x", "5.58x", "0.6100", "-0.2200", ""]
    assert len({len(row) for row in rows[5:]}) == 1
    assert "over up to 3 seeds" in text
    assert "**Fastest within 0.01 of the dense f1, 0.8300:** calibrate, target 2x: **1.97x** at 0.8200." in text


def test_the_choice_follows_the_loss(tmp_path):
    assert "calibrate, target 3x: **2.90x** at 0.7900" in write(tmp_path, several(), max_loss=0.05)


@pytest.mark.parametrize(("speedup", "metric"), [(2.9, 0.81), (0.97, 0.85), (1.0, 0.83)])
def test_no_gain_is_said_plainly(tmp_path, speedup, metric):
    text = write(tmp_path, [a_point(speedup=speedup, metric=metric)])
    assert "**No gain here.** Nothing is faster than the dense model on the same batches and within 0.01 of" in text
    assert "One seed: spread unknown." in text


@pytest.mark.parametrize(
    "points",
    [
        [a_point()],
        several(),
        [a_point(speedup=0.98, metric=0.83), a_point(target=3.0, speedup=17.0, metric=-0.07)],
        [a_point(f"strategy {number}", speedup=1.1 + number / 7) for number in range(17)],
    ],
    ids=["one point", "several seeds", "wide", "many unknown strategies"],
)
def test_both_pictures_can_be_read(tmp_path, points):
    write(tmp_path, points)
    picture = imread(tmp_path / "pareto.png")
    assert picture.shape[:2] == (975, 1575)
    assert picture[..., :3].std() > 0.01
    assert ElementTree.parse(tmp_path / "pareto.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_same_points_give_the_same_files(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, several())
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_failure_leaves_the_earlier_file(tmp_path, monkeypatch):
    def half(figure, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    write(tmp_path, [a_point()])
    earlier = (tmp_path / "pareto.png").read_bytes()
    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, several())
    assert (tmp_path / "pareto.png").read_bytes() == earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


@pytest.mark.parametrize(
    ("points", "baselines", "message"),
    [
        ([], BASELINES, "points: none; expected at least one"),
        ([a_point()], BASELINES[:2], r"baselines: .*'padded to the batch'\]; expected 'grouped by length' among them"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_written(tmp_path, points, baselines, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "new", points, baselines)
    assert not (tmp_path / "new").exists()


def test_neither_keras_nor_pyplot_is_imported(run_python, tmp_path):
    run_python(
        "import sys; from pathlib import Path\n"
        "from powerbert_tf.reports.pareto import Baseline, Point, write_pareto\n"
        "point = Point('head', 2.0, (5, 3), 2.1, 1.9, 5.3, 0.7)\n"
        "baseline = Baseline('grouped by length', 7.0, 1.0, 0.8)\n"
        "write_pareto(Path(sys.argv[1]), [point], [baseline], 'RTE', 'accuracy', 'here')\n"
        "loaded = {'keras', 'tensorflow', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not loaded, loaded",
        tmp_path,
    )


def test_the_plot_shows_what_was_measured():
    table = pareto_table(several(), "f1", BASELINES)
    axes = draw_pareto(table, BASELINES, "MRPC", "f1", 0.01).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["calibrate"], [(5.9 / 3, 0.82), (2.9, 0.79)])
    np.testing.assert_allclose(lines["random"], [(1.8, 0.61)])
    np.testing.assert_allclose(lines["dense, padded to N"], [(0.331, 0.83)])
    assert axes.get_xlim()[0] < 0.331
    assert axes.get_ylim()[0] < 0.61
    # 2 ** (log2 of the limits) holds 0.5x to 3x.
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.3x", "0.5x", "0.75x", "1x", "1.5x", "2x", "3x"]


def test_strategies_look_the_same_in_every_plot_and_differ_within_one():
    def looks(names):
        table = pareto_table([a_point(name) for name in names])
        lines = draw_pareto(table, BASELINES, "MRPC", "metric", 0.01).axes[0].lines
        return {
            line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle())
            for line in lines
            if line.get_label() in names
        }

    strategies = ("calibrate", "calibrate, re-trained", "elastic", "uniform", "geometric", "head", "random")
    every = looks([*strategies, *"abcdefghijk"])
    assert looks(["random", "calibrate"]) == {name: every[name] for name in ("random", "calibrate")}
    assert len(set(every.values())) == 18


@pytest.mark.parametrize(("slowest", "fastest"), [(0.95, 1.25), (0.8, 1.9), (0.35, 4.0), (0.07, 53.0), (0.95, 2.7)])
def test_ticks_are_few_and_inside(slowest, fastest):
    points = [a_point(speedup=slowest), a_point(target=3.0, speedup=fastest)]
    axes = draw_pareto(pareto_table(points), (GROUPED,), "MRPC", "metric", 0.01).axes[0]
    low, high = axes.get_xlim()
    assert low < slowest < fastest < high
    ticks = axes.get_xticks().tolist()
    assert 1 in ticks
    assert 3 <= len(ticks) <= 19
    assert ticks == sorted(ticks)
    assert low <= ticks[0]
    assert ticks[-1] <= high
