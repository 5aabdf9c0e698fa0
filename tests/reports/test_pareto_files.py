import csv
import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from made_up_points import BASELINES, a_point, several
from matplotlib.figure import Figure
from matplotlib.image import imread

from powerbert_tf.reports.pareto import Point
from powerbert_tf.reports.pareto_files import write_pareto

FILES = ["pareto.csv", "pareto.md", "pareto.png", "pareto.svg"]


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
    assert [field.name for field in dataclasses.fields(Point)] == list(rows[0])
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
    assert "One seed: no spread is known." in text


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
        "from powerbert_tf.reports.pareto import Baseline, Point\n"
        "from powerbert_tf.reports.pareto_files import write_pareto\n"
        "point = Point('head', 2.0, (5, 3), 2.1, 1.9, 5.3, 0.7)\n"
        "baseline = Baseline('grouped by length', 7.0, 1.0, 0.8)\n"
        "write_pareto(Path(sys.argv[1]), [point], [baseline], 'RTE', 'accuracy', 'here')\n"
        "loaded = {'keras', 'tensorflow', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not loaded, loaded",
        tmp_path,
    )
