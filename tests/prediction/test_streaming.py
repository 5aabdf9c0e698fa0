"""The parts of a streamed prediction: rows and places, windows, files of answers, the folder that they are in."""

import bz2
import dataclasses
import gzip
import itertools
import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from made_up_rows import encoded_rows

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables import Row, TableFormat, open_table
from powerbert_tf.data.tasks import get_task
from powerbert_tf.prediction.answers import Answers, answer_columns, choose_lengths, round_answers
from powerbert_tf.prediction.input_rows import InputRows, Place, find_input
from powerbert_tf.prediction.shards import open_folder
from powerbert_tf.prediction.windows import cut_windows, prefetch
from powerbert_tf.prediction.writers import AnswerTable
from powerbert_tf.runs.settings import resolve_settings

CLASSES = ("bad", "good")
TASK = dataclasses.replace(get_task("SST-2"), classes=CLASSES)
SEVERAL = dataclasses.replace(TASK, is_multi_label=True, thresholds=(0.5, 0.75))
TABLE = AnswerTable("csv", ("text", "n"), answer_columns(CLASSES))


def source(given, texts=("text",), any_keys=True):
    return InputRows(find_input(str(given)), texts, TableFormat(), CLASSES, "jsonl" if any_keys else "csv")


def write_tables(folder, counts):
    """CSV files of so many rows; the texts are numbered through."""
    numbers = itertools.count()
    for part, count in enumerate(counts):
        rows = [(f"text {number}", part) for number in itertools.islice(numbers, count)]
        pd.DataFrame(rows, columns=["text", "part"]).to_csv(folder / f"part-{part}.csv", index=False)
    return folder / "part-*.csv"


def test_reading_resumes_at_any_place(tmp_path):
    rows = source(write_tables(tmp_path, (3, 5, 2)))
    all_of_them = list(rows.rows(Place()))
    assert [row.cells["text"] for _, row in all_of_them] == [f"text {number}" for number in range(10)]
    for number, (place, _) in enumerate(all_of_them):
        again = source(tmp_path / "part-*.csv").rows(place)
        assert [row.cells["text"] for _, row in again] == [f"text {later}" for later in range(number + 1, 10)]


@pytest.mark.parametrize(("suffix", "compress"), [("", None), (".gz", gzip.open), (".bz2", bz2.open)])
def test_bytes_tell_how_far_reading_has_come(tmp_path, suffix, compress):
    path = tmp_path / f"rows.csv{suffix}"
    content = "text\n" + "".join(f"text {number} {number**7}\n" for number in range(9973))
    path.write_bytes(content.encode()) if compress is None else compress(path, "wt").write(content)
    rows = source(path)
    places = [place for place, _ in rows.rows(Place())]
    assert [place.rows for place in places] == list(range(1, 9974))
    read = np.array([place.read_bytes for place in places])
    assert np.all(np.diff(read) >= 0)
    assert read[-1] == rows.total_bytes == path.stat().st_size
    if compress is None:
        ends = np.cumsum([len(line) + 1 for line in content.splitlines()])[1:]
        ahead = read - ends  # the first 500 rows tell how the table is written; then buffers
        assert np.all(ahead >= 0)
        assert np.all(ahead <= ends[500] + (1 << 16) + (1 << 14))


def test_a_file_that_has_become_shorter_is_named(tmp_path):
    path = write_tables(tmp_path, (3,))
    with pytest.raises(InputError, match=r"part-0\.csv: has 3 rows; an interrupted run took 5 of them before"):
        list(source(path).rows(Place(0, 5)))


@pytest.mark.parametrize(
    ("header", "texts", "message"),
    [
        (
            "text,part",
            ("review",),
            r"--text_column=review: no such column; expected one of the columns of .*'text', 'part'",
        ),
        ("text,part", ("",), r"--text_column: missing; expected one of the columns of .*: 'text', 'part'"),
        ("text,part", ("text", ""), r"--text_pair_column: missing; expected one"),
        ("text,prediction", ("text",), r"1: has a column 'prediction', which is a column of the answers; rename"),
        ("text,probability of bad", ("text",), r"1: has a column 'probability of bad'"),
    ],
)
def test_columns_are_checked_first(tmp_path, header, texts, message):
    (tmp_path / "rows.csv").write_text(f"{header}\na,b\n")
    with pytest.raises(InputError, match=message):
        source(tmp_path / "rows.csv", texts)


def test_all_files_have_the_same_columns(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\na,1\n")
    (tmp_path / "b.csv").write_text("n,text\n2,b\n")
    (tmp_path / "c.csv").write_text("text,m\nc,3\n")
    found = list(source(f"{tmp_path}/a.csv,{tmp_path}/b.csv").rows(Place()))
    assert [row.cells for _, row in found] == [{"text": "a", "n": "1"}, {"n": "2", "text": "b"}]
    with pytest.raises(
        InputError, match=r"c\.csv:1: the columns differ from those of .*a\.csv: m, n; expected the same"
    ):
        list(source(f"{tmp_path}/a.csv,{tmp_path}/c.csv").rows(Place()))


def test_rows_of_json_lines_are_checked_one_by_one(tmp_path):
    lines = [{"text": "a", "n": 1}, {"text": "b"}, {"text": "c", "m": 2}, {"text": "d", "prediction": 3}, {"n": 4}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def problems(any_keys):
        return [row.problem for _, row in source(tmp_path / "rows.jsonl", any_keys=any_keys).rows(Place())]

    other = "has the key 'm', which the first row does not have; --predict_format=jsonl takes any"
    taken = "has the key 'prediction', which is a column of the answers"
    assert problems(any_keys=True) == ["", "", "", taken, "no text"]
    assert problems(any_keys=False) == ["", "", other, taken, "no text"]


def test_values_keep_their_types_where_asked(tmp_path):
    values = [{"text": "a", "n": 7, "x": 0.5, "ok": True, "more": [1, 2], "none": None}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(values[0]))
    pd.DataFrame(values).to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.jsonl", "rows.parquet"):
        (row,) = open_table(str(tmp_path / name), typed=True).rows
        assert row.values == values[0]
        assert row.cells == {"text": "a", "n": "7", "x": "0.5", "ok": "true", "more": "[1, 2]", "none": None}
        (row,) = open_table(str(tmp_path / name)).rows
        assert row.values is None


def row_stream(problems):
    for number, problem in enumerate(problems):
        yield Place(0, number + 1), Row("rows.csv", number + 2, {"text": f"text {number}"}, problem)


def cut(problems, shard_rows, window_rows):
    return [
        (len(window.rows), len(window.rejected), window.end.rows, window.ends_shard)
        for window in cut_windows(row_stream(problems), shard_rows, window_rows)
    ]


def test_no_window_reaches_over_the_end_of_a_shard():
    assert cut([""] * 17, shard_rows=7, window_rows=5) == [
        (5, 0, 5, False), (2, 0, 7, True), (5, 0, 12, False), (2, 0, 14, True), (3, 0, 17, False),
    ]  # fmt: skip
    assert cut([""] * 6, shard_rows=3, window_rows=11) == [(3, 0, 3, True), (3, 0, 6, True)]
    # Bad rows count for the window, whose size is bounded, and not for the shard.
    assert cut(["", "x", "", "x", "", "", "x"], shard_rows=3, window_rows=2) == [
        (1, 1, 2, False), (1, 1, 4, False), (1, 0, 5, True), (1, 1, 7, False),
    ]  # fmt: skip
    assert cut([], shard_rows=3, window_rows=2) == []


def test_a_window_of_long_texts_has_fewer_rows(monkeypatch):
    monkeypatch.setattr("powerbert_tf.prediction.windows.WINDOW_CHARACTERS", 13)
    assert cut([""] * 7, shard_rows=100, window_rows=5) == [(3, 0, 3, False), (3, 0, 6, False), (1, 0, 7, False)]


def test_items_made_ahead_come_in_order_and_with_their_error():
    def items():
        yield from range(5)
        raise InputError("the fifth")

    made = []
    with pytest.raises(InputError, match="the fifth"):
        made.extend(prefetch(items()))
    assert made == list(range(5))
    assert list(prefetch(iter(range(1009)), count=3)) == list(range(1009))


def test_no_more_than_asked_is_prefetch():
    taken = []
    made = prefetch((taken.append(number) or number for number in range(100)), count=2)
    next(made)
    made.close()
    assert len(taken) <= 5


def encoded(lengths, n=31):
    rows = np.split(np.arange(1, sum(lengths) + 1), np.cumsum(lengths)[:-1])
    return encoded_rows(rows, n, second=[length // 2 for length in lengths])


def test_lengths_fit_the_first_window_and_any_other():
    settings = resolve_settings("MRPC", max_seq_length=31, eval_batch_size=2, length_buckets=5)
    lengths = choose_lengths(encoded([5] * 100 + [17] * 100), settings.inference)
    assert len(lengths) == 5
    assert {5, 17, 31} <= set(lengths)
    assert choose_lengths(encoded([5]), resolve_settings("MRPC", max_seq_length=31, padding="max").inference) == [31]


ROWS = [
    Row("a.jsonl", 1, {"text": 'say "a", b', "n": "1"}, values={"text": 'say "a", b', "n": 1}),
    Row("a.jsonl", 2, {"text": "line\r\nline\rend", "n": None}, values={"text": "line\r\nline\rend", "n": None}),
    Row("a.jsonl", 3, {"text": "שלום 🙂", "n": "7"}, values={"text": "שלום 🙂", "n": 7}),
]
ANSWERS = round_answers(TASK, np.array([[0.25, 0.75], [1 / 3, 2 / 3], [1.0, 0.0]], "float32"))


def written(tmp_path, form, rows=ROWS, answers=ANSWERS, **changes):
    path = tmp_path / f"answers.{form}"
    writer = dataclasses.replace(TABLE, form=form, **changes).open(path)
    writer.write(rows[:2], Answers(answers.predictions[:2], answers.probabilities[:2]))
    writer.write(rows[2:], Answers(answers.predictions[2:], answers.probabilities[2:]))
    writer.close()
    return path


def test_csv_is_read_back_by_pandas_and_by_us(tmp_path):
    path = written(tmp_path, "csv")
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert found["text"].tolist() == [row.cells["text"] for row in ROWS]
    assert found["n"].tolist() == ["1", "", "7"]
    assert found["prediction"].tolist() == ["good", "good", "bad"]
    assert found["probability of bad"].tolist() == ["0.250000", "0.333333", "1.000000"]
    ours = list(open_table(str(path)).rows)
    assert [row.cells["text"] for row in ours] == found["text"].tolist()


def test_json_lines_keep_types(tmp_path):
    lines = [json.loads(line) for line in written(tmp_path, "jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["n"] for line in lines] == [1, None, 7]
    assert [line["text"] for line in lines] == [row.cells["text"] for row in ROWS]
    assert lines[1]["probability of good"] == 0.666667


def test_json_lines_hold_no_nan(tmp_path):
    row = Row(
        "a.parquet",
        1,
        {"text": "a", "n": None, "list": "[NaN]"},
        values={"text": "a", "n": float("nan"), "list": [float("nan")]},
    )
    line = written(tmp_path, "jsonl", [row] * 3).read_text().splitlines()[0]
    found = json.loads(line, parse_constant=pytest.fail)
    assert (found["text"], found["n"], found["list"], found["prediction"]) == ("a", None, "[NaN]", "good")


def test_parquet_has_the_schema_of_the_input(tmp_path):
    given = pd.DataFrame({"text": [row.cells["text"] for row in ROWS], "n": [1, None, 7]})
    given = given.astype({"n": "Int16", "text": "category"})
    given.to_parquet(tmp_path / "rows.parquet")
    schema = source(tmp_path / "rows.parquet").schema
    found = pyarrow.parquet.read_table(written(tmp_path, "parquet", schema=schema))
    assert str(found.schema.field("n").type) == "int16"
    assert found["n"].to_pylist() == [1, None, 7]
    assert found["text"].to_pylist() == given["text"].tolist()
    assert found["probability of bad"].to_pylist() == [0.25, 0.333333, 1.0]
    texts = pyarrow.parquet.read_table(written(tmp_path, "parquet"))
    assert texts["n"].to_pylist() == ["1", None, "7"]


def test_a_value_that_parquet_cannot_take_is_named(tmp_path):
    schema = pyarrow.schema([("text", pyarrow.string()), ("n", pyarrow.int8())])
    rows = [Row("a.parquet", 5, {"text": "a", "n": "b"}, values={"text": "a", "n": "b"})] * 3
    with pytest.raises(
        InputError, match=r"a\.parquet:5: cannot be written as Parquet .* expected --predict_format=jsonl"
    ):
        written(tmp_path, "parquet", rows, schema=schema)


def test_a_regression_has_one_number(tmp_path):
    answers = round_answers(get_task("STS-B"), np.array([[0.5], [-1.25], [2 / 3]], "float32"))
    for form, expected in (("csv", ["0.500000", "-1.250000", "0.666667"]), ("jsonl", [0.5, -1.25, 0.666667])):
        path = written(tmp_path, form, answers=answers, answer_columns=answer_columns(()))
        found = pd.read_csv(path, dtype=str) if form == "csv" else pd.read_json(path, lines=True)
        assert found.columns.tolist() == ["text", "n", "prediction"]
        assert found["prediction"].tolist() == expected


def test_several_labels_are_a_list(tmp_path):
    answers = round_answers(SEVERAL, np.array([[0.5, 0.75], [0.25, 0.7499], [0.0, 1.0]]))
    expected = [["bad", "good"], [], ["good"]]
    for form in ("csv", "jsonl", "parquet"):
        path = written(tmp_path, form, answers=answers)
        read = {"csv": pd.read_csv, "parquet": pd.read_parquet}.get(form, lambda path: pd.read_json(path, lines=True))
        found = read(path)
        labels = [json.loads(one) for one in found["prediction"]] if form == "csv" else found["prediction"]
        assert [list(one) for one in labels] == expected
        assert found["probability of good"].tolist() == [0.75, 0.7499, 1.0]


def test_schemas_of_parquet_files_are_the_same(tmp_path):
    pd.DataFrame({"text": ["a"], "n": [1]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"text": ["b"], "n": [0.5]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: has another schema than .*a\.parquet; Parquet answers need one"):
        _ = source(tmp_path / "*.parquet").schema


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with (
        pytest.raises(InputError, match=r"holds thesis\.doc but no progress\.json, .* expected another --predict_dir"),
        open_folder(tmp_path, TABLE, {}, overwrite=True, resumes=True),
    ):
        pass
    assert (tmp_path / "thesis.doc").exists()


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    folder = tmp_path / "answers"
    with (
        open_folder(folder, TABLE, {}, overwrite=False, resumes=True),
        pytest.raises(InputError, match="another process writes answers into this folder"),
        open_folder(folder, TABLE, {}, overwrite=False, resumes=True),
    ):
        pass


def test_what_is_not_recorded_goes_and_the_rest_stays(tmp_path):
    folder = tmp_path / "answers"
    with open_folder(folder, TABLE, {"a": 1}, overwrite=False, resumes=True) as shards:
        shards.write(ROWS[:2], Answers(ANSWERS.predictions[:2], ANSWERS.probabilities[:2]))
        shards.reject([ROWS[2].rejected("ugly")])
        shards.end_shard(Place(0, 3))
        shards.reject([ROWS[2].rejected("uglier")])
    (folder / "part-00001.csv").write_text("finished, and not recorded")
    (folder / ".part-00001.csv").write_text("half")
    (folder / ".progress.json.writing-7").write_text("half")
    (folder / "part-of-a-thesis.csv").write_text("years of work")
    with open_folder(folder, TABLE, {"a": 1}, overwrite=False, resumes=True) as shards:
        assert (shards.progress.shards, shards.progress.rows, shards.progress.rejected) == (1, 2, 1)
        assert shards.progress.place == Place(0, 3)
        assert sorted(os.listdir(folder)) == [
            "part-00000.csv",
            "part-of-a-thesis.csv",
            "progress.json",
            "rejected.jsonl",
        ]
        assert (folder / "rejected.jsonl").read_text().count("\n") == 1
    with (
        pytest.raises(InputError, match=r"holds answers to another request \(a, b differ\); pass --overwrite"),
        open_folder(folder, TABLE, {"a": 2, "b": 1}, overwrite=False, resumes=True),
    ):
        pass
    table = dataclasses.replace(TABLE, form="jsonl")
    with open_folder(folder, table, {"a": 2}, overwrite=True, resumes=True) as shards:
        assert shards.progress.shards == 0
        assert sorted(os.listdir(folder)) == ["part-of-a-thesis.csv", "progress.json"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "part-00000.csv").unlink(), r"part-00000\.csv: missing; pass --overwrite"),
        (lambda folder: (folder / "rejected.jsonl").unlink(), r"rejected\.jsonl: missing, or shorter than it was"),
        (lambda folder: (folder / "progress.json").write_text("{"), r"progress\.json: damaged .* pass --overwrite"),
        (lambda folder: (folder / "progress.json").write_text("{}"), r"progress\.json: damaged"),
    ],
)
def test_a_damaged_folder_is_not_resumed(tmp_path, harm, message):
    folder = tmp_path / "answers"
    with open_folder(folder, TABLE, {}, overwrite=False, resumes=True) as shards:
        shards.write(ROWS, ANSWERS)
        shards.reject([ROWS[2].rejected("ugly")])
        shards.end_shard(Place(0, 4), complete=True)
    harm(folder)
    with pytest.raises(InputError, match=message), open_folder(folder, TABLE, {}, overwrite=False, resumes=True):
        pass
