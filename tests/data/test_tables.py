"""Reading tables: each row with its file and line, against what Pandas and PyArrow write, and any bytes at all."""

import bz2
import gzip
import json
import lzma
import string

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tables import TableFormat, find_files, open_table

HOSTILE = {
    "right to left": "שלום עולם",
    "combining": "e\u0301\u0323 नि",
    "emoji": "👩🏽‍🚀 🇫🇮",
    "line ends": "one\ntwo\r\nthree\rfour",
    "separators": 'a,"b"\t;\u2028\x85\x1c',
    "quotes": '"',
    "two quotes": '""',
    "spaces": "  x  ",
    "missing value": "NA",
}
# What UTF-8 can hold and a text may: no half surrogate pairs, no NUL.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, **kwargs):
    return list(open_table(str(path), **kwargs).rows)


def read_or_error(path):
    try:
        return read(path), None
    except InputError as error:
        return [], str(error)


def cells(path, **kwargs):
    rows = read(path, **kwargs)
    assert [row.problem for row in rows] == [""] * len(rows)
    return [tuple(row.cells.values()) for row in rows]


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_texts_come_back_as_they_are(tmp_path, suffix, text):
    path = tmp_path / f"table{suffix}"
    write(pd.DataFrame({"review": ["before", text, "after"], "stars": ["1", "2", "1"]}), path)
    assert cells(path) == [("before", "1"), (text, "2"), ("after", "1")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@QUICK
@given(rows=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["x", "y"])), min_size=1, max_size=7))
def test_any_table_that_pandas_writes_comes_back_row_for_row(tmp_path, suffix, rows):
    path = tmp_path / f"table{suffix}"
    write(pd.DataFrame(rows, columns=["first", "second", "label"]), path)
    assert cells(path) == rows


@pytest.mark.parametrize(
    "suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.xz", ".tsv.bz2", ".csv.zst"]
)
@QUICK
@given(
    data=st.binary(max_size=200) | TEXTS.map(str.encode) | st.text('ab",\n\r\t{}:[]0\0', max_size=60).map(str.encode)
)
@example(data=b"{}")
def test_any_bytes_are_read_or_named(tmp_path, suffix, data):
    """What cannot be read is a row with a reason or an error that names the file; nothing else is raised."""
    path = tmp_path / f"table{suffix}"
    path.write_bytes(data)
    rows, error = read_or_error(path)
    assert error is None or str(path) in error
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for row in rows:
        assert 1 <= row.line <= lines
        assert row.cells or row.problem
        assert row.place.startswith(str(path))
        json.dumps(row.to_json()).encode("ascii")


@QUICK
@given(text=st.text('ab",\n', max_size=80))
def test_no_line_of_a_csv_is_lost(tmp_path, text):
    """Each line is part of a row that was read, or is a bad row itself, with all that it holds."""
    path = tmp_path / "table.csv"
    path.write_text("h,i\n" + text, newline="")
    rows = read(path)
    lines = ("h,i\n" + text).split("\n")
    begins = [row.line for row in rows]
    assert begins == sorted(set(begins))
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        before = [row for row in rows if row.line <= number]
        assert before, (number, line)
        row = before[-1]
        if row.raw or not row.cells:
            assert row.line == number  # a bad row is one line
            assert row.raw == line
        else:
            inside = "".join(cell or "" for cell in row.cells.values())
            assert line.replace('"', "").replace(",", "") in inside.replace('"', "").replace(",", "")


@QUICK
@given(st.lists(st.text(string.printable, min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=5))
def test_quotes_are_characters_where_there_is_no_quoting(tmp_path, texts):
    texts = [text.translate(str.maketrans("\t\n\r\x0b\x0c", "     ")) for text in texts]
    path = tmp_path / "table.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\t1\n" for text in texts))
    assert cells(path, table_format=TableFormat(quoted=False)) == [(text, "1") for text in texts]


BAD_ROWS = [
    (b"text,label\na,1\nb\nc,1\n", 3, "the row has 1 cell instead of 2", "b"),
    (b"text,label\na,1\nb,1,2\nc,1\n", 3, "the row has 3 cells instead of 2", "b,1,2"),
    (b'text,label\na,1\n"b,1\nc,1\n', 3, 'a quote (") is opened and never closed', '"b,1'),
    (b'text,label\na,1\n"b" c,1\nc,1\n', 3, "a closing quote is not followed by ',' (unbalanced quotes?)", '"b" c,1'),
]


@pytest.mark.parametrize(("data", "line", "reason", "raw"), BAD_ROWS)
def test_a_bad_row_is_named_and_the_next_one_is_read(tmp_path, data, line, reason, raw):
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    first, bad, last = read(path)
    assert (first.cells["text"], last.cells["text"]) == ("a", "c")
    assert bad.line == line
    assert reason in bad.problem
    assert bad.to_json() == {"file": str(path), "line": line, "reason": bad.problem, "raw": raw}


def test_bytes_that_are_no_utf_8_and_nuls(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"text,label\ncaf\xe9,1\na\0b,2\nok,3\n")
    rows = read(path, table_format=TableFormat(encoding="utf-8"))
    assert [(row.line, row.problem) for row in rows] == [(2, "byte 0xe9 is not UTF-8"), (3, "a NUL character"), (4, "")]
    assert json.dumps(rows[0].to_json()["row"]) == r'{"text": "caf\udce9", "label": "1"}'


def test_bad_lines_of_json(tmp_path):
    path = tmp_path / "table.jsonl"
    deep = "[" * 100_000
    lines = [
        '{"text": "a", "n": 4.0}',
        "{",
        "[1]",
        '{"text": "\\ud800"}',
        deep,
        '{"text": null, "n": NaN, "b": true}',
        "",
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}')
    rows = read(path, table_format=TableFormat(encoding="utf-8"))
    assert rows[0].cells == {"text": "a", "n": "4"}
    assert rows[5].cells == {"text": None, "n": None, "b": "true"}
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 8]
    assert "not a JSON object (Expecting property name" in rows[1].problem
    assert rows[2].problem == "a JSON list instead of an object"
    assert rows[3].problem == "half of a surrogate pair, U+D800"
    assert rows[4].problem.startswith("not a JSON object")
    assert rows[6].problem == "byte 0xff is not UTF-8"


def test_typed_columns_of_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame({"i": [1, 2], "f": [4.0, float("nan")], "r": [0.5, 1e300], "c": pd.Categorical(["x", None])})
    frame.to_parquet(path)
    assert cells(path) == [("1", "4", "0.5", "x"), ("2", None, "1e+300", None)]
    text = pyarrow.array([b"fine", b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": text}), path)
    assert [row.problem for row in read(path)] == ["", "byte 0xe9 is not UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\r\n"a\r\nb",1\r\n\r\nc,2\r\n')
    rows = read(path)
    assert [(row.line, tuple(row.cells.items())) for row in rows] == [
        (2, (("text", "a\r\nb"), ("label", "1"))),
        (5, (("text", "c"), ("label", "2"))),
    ]


def test_a_cell_of_ten_megabytes(tmp_path):
    path = tmp_path / "table.csv"
    long = "a b\n" * 2_500_000
    path.write_text(f'text,label\n"{long}",1\nc,2\n')
    first, second = read(path)
    assert first.cells["text"] == long
    assert (second.line, second.cells["text"]) == (2_500_003, "c")


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files(tmp_path, suffix, compress):
    path = tmp_path / f"table.csv{suffix}"
    data = compress(b"text,label\n" + b"".join(b"row %d,x\n" % number for number in range(10_000)))
    path.write_bytes(data)
    assert len(cells(path)) == 10_000
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=rf"table\.csv\{suffix}:\d+: cannot be read .*damaged"):
        read(path)


def test_the_line_of_a_damage_is_named(tmp_path):
    path = tmp_path / "table.csv"
    lines = [f"row {number},x\n" for number in range(9973)]
    path.write_bytes("".join(["text,label\n", *lines]).encode("utf-16")[:-1])
    table = open_table(str(path))
    assert next(table.rows).cells == {"text": "row 0", "label": "x"}
    with pytest.raises(InputError, match=r"table\.csv:\d+: cannot be read as utf-16") as caught:
        list(table.rows)
    assert 9973 - 997 < int(str(caught.value).removeprefix(f"{path}:").partition(":")[0]) <= 9974  # in the last block


def test_zstandard(tmp_path):
    path = tmp_path / "table.jsonl.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as file:
        file.write(b'{"text": "a"}\n' * 7)
    assert cells(path) == [("a",)] * 7


def test_a_folder_of_text_files_for_each_class(tmp_path):
    for name, text in (
        ("pos/1_9.txt", "good"),
        ("neg/0_2.txt", "bad"),
        ("pos/0_8.txt", "fine"),
        ("unsup/0_0.txt", "?"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    rows = read(tmp_path)
    assert [tuple(row.cells.values()) for row in rows] == [("bad", "neg"), ("fine", "pos"), ("good", "pos")]
    assert rows[0].place == f"{tmp_path / 'neg' / '0_2.txt'}:1"
    with pytest.raises(InputError, match=r"pos: a folder without <class>/\*\.txt"):
        open_table(str(tmp_path / "pos"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"", "t.csv: the file is empty; expected a header"),
        ("t.jsonl", b"\n", "t.jsonl: the file is empty; expected one JSON object per line, an array"),
        ("t.csv", b"a,b\rc\n1,2\n", "t.csv:1: a carriage return in the header"),
        ("t.csv", b"\xff\xfea\0,\0\0\xdc", "t.csv:1: cannot be read as utf-16 ("),
        ("t.csv", b"\xe9,b\n", "t.csv: not UTF-8, and does not look like a Western language in cp1252; pass its --enc"),
        ("t.csv", b'"a,b\n1,2\n', "t.csv:1: the header cannot be read: a quote"),
        ("t.parquet", b"PAR1", "t.parquet: cannot be read as Parquet"),
        ("t.xlsx", b"", "t.xlsx: a spreadsheet; save it as CSV"),
        ("t.docx", b"", "t.docx: its name does not say the format; expected .csv, .tsv, .jsonl"),
        ("t.csv.gz", b"a,b\n", "t.csv.gz:1: cannot be read"),
        ("no.csv", None, "no.csv: cannot be read (No such file or directory)"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, data, message):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message in str(caught.value)


def test_which_files_a_flag_names(tmp_path):
    for name in ("b.csv", "a.csv", "c,d.csv"):
        (tmp_path / name).touch()
    a, b, both = (str(tmp_path / name) for name in ("a.csv", "b.csv", "[ab].csv"))
    assert find_files(both, "train_file") == [a, b]
    assert find_files(f"{b},{a}", "train_file") == [b, a]
    assert find_files(str(tmp_path / "c,d.csv"), "train_file") == [str(tmp_path / "c,d.csv")]
    with pytest.raises(InputError, match=r"--train_file=.*a\.csv is named twice"):
        find_files(f"{a},{both}", "train_file")
    with pytest.raises(InputError, match=r"--dev_file=.*none\*: no such file"):
        find_files(str(tmp_path / "none*"), "dev_file")


def test_a_header_of_very_many_columns_is_read_at_once(tmp_path):
    path = tmp_path / "wide.tsv"
    columns = [str(number) for number in range(60_013)]
    path.write_text("\t".join([*columns, columns[-1]]) + "\n")
    assert open_table(str(path)).columns == (*columns, "60012.1")
