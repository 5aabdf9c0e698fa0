"""Tables as people have them: each kind is read as pandas reads it when told how, or is refused by name."""

import json
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.data.tables import TableFormat, open_table

FRAME = pd.DataFrame(
    {
        "id": ["7", "8", "9", "10", "11"],
        "text": ["a fine film", "dull, long; and | loud", 'he said "no", twice', "two\nlines", "caf\xe9 \xe0 la carte"],
        "label": ["1", "0", "0", "1", "1"],
    }
)
AS_IT_IS = {"dtype": str, "keep_default_na": False}


def expected(frame):
    """Columns and rows, the blanks around names left out."""
    return tuple(str(name).strip() for name in frame.columns), [tuple(row) for row in frame.itertuples(index=False)]


def found(path, **known):
    table = open_table(str(path), TableFormat(**known))
    rows = list(table.rows)
    assert [row.problem for row in rows] == [""] * len(rows)
    return table.columns, [tuple(row.cells.values()) for row in rows]


def written(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def csv_of(frame=FRAME, **how):
    return frame.to_csv(index=False, **how)


HEADERS = {
    "spam.csv of Kaggle": "v1,v2,,,\nham,Go until,,,\nspam,Free,,,\n",
    "the index that pandas writes": ",text,label\n0,a,x\n1,b,y\n",
    "a doubled name": "id,text,label,id\n1,a,x,2\n",
    "three of one name, and its number": "a,a.1,a,a,text\n1,2,3,4,b\n",
    "blanks": " text , label \na,x\n",
    "quoted names": '"my text","la,bel"\na,x\n',
    "blanks and quotes": '"text ", label\na,x\n',
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_names_of_columns_are_those_of_pandas(tmp_path, content):
    path = written(tmp_path / "t.csv", content)
    assert found(path) == expected(pd.read_csv(path, **AS_IT_IS))


ENCODINGS = {
    "latin-1": (FRAME, "latin-1", "cp1252"),  # the same where there are letters only
    "cp1252": (FRAME.assign(text=["“a” – film…", "€ 5", "l’été", "naïve", "Ångström"]), "cp1252", "cp1252"),
    "latin-1, far down": (pd.concat([FRAME[:4]] * 20_011 + [FRAME]), "latin-1", "cp1252"),
    "utf-16": (FRAME, "utf-16", "utf-16"),
    "utf-16 without a mark": (FRAME, "utf-16-le", "utf-16-le"),
    "utf-16 of the other end": (FRAME, "utf-16-be", "utf-16-be"),
    "utf-32": (FRAME, "utf-32", "utf-32"),
    "utf-8": (FRAME.assign(text=["日本語", "שלום", "тест", "é", "🙂"]), "utf-8", "utf-8"),
    "utf-8 with a mark": (FRAME, "utf-8-sig", "utf-8"),
}


@pytest.mark.parametrize(("frame", "encoding", "name"), ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_encodings_are_found(tmp_path, frame, encoding, name, suffix):
    content = frame.to_csv(index=False, sep="\t" if suffix == ".tsv" else ",")
    if suffix == ".jsonl":
        content = frame.to_json(orient="records", lines=True, force_ascii=False)
    path = written(tmp_path / f"t{suffix}", content, encoding)
    assert found(path) == expected(frame)
    assert name in open_table(str(path)).read_as
    assert found(path, encoding=encoding) == expected(frame)


@pytest.mark.parametrize(
    ("text", "encoding"), [("хороший фильм", "cp1251"), ("良い映画でした", "shift_jis"), ("καλή ταινία", "iso8859-7")]
)
def test_encodings_that_cannot_be_found_are_asked_for(tmp_path, text, encoding):
    path = written(tmp_path / "t.csv", f"text,label\n{text},1\n" * 7, encoding)
    with pytest.raises(InputError, match=r"t\.csv: not UTF-8, and .* pass its --encoding, such as cp1251"):
        open_table(str(path))
    assert found(path, encoding=encoding)[1][0] == (text, "1")


def test_one_wrong_byte_is_a_bad_row_of_utf_8(tmp_path):
    path = written(tmp_path / "t.csv", "text,label\ncafé,1\nnaïve,0\n".encode() + b"caf\xe9,1\n")
    assert [row.problem for row in open_table(str(path)).rows] == ["", "", "byte 0xe9 is not UTF-8"]


DELIMITERS = {
    "semicolons": (csv_of(sep=";"), {"sep": ";"}),
    "semicolons of Windows": (csv_of(sep=";", lineterminator="\r\n"), {"sep": ";"}),
    "tabs": (csv_of(sep="\t"), {"sep": "\t"}),
    "bars": (csv_of(sep="|"), {"sep": "|"}),
    "Excel's first line": ("sep=;\n" + csv_of(sep=";"), {"sep": ";", "skiprows": 1}),
    "an unusual one in Excel's first line": ('"sep=^"\r\n' + csv_of(sep="^"), {"sep": "^", "skiprows": 1}),
    "commas in each text": ("text;label\na, b;1\nc, d, e;0\n", {"sep": ";"}),
    "commas in the header": ("text, whole\tlabel\na, b\t1\nc\t0\n", {"sep": "\t"}),
    "one column": ("text\na; b\nc\n", {"sep": ","}),
    "all quoted": (csv_of(sep=";", quoting=1), {"sep": ";"}),
    "line ends of an old Macintosh": ("text;label\ra;1\rb;0\r", {"sep": ";"}),
}


@pytest.mark.parametrize(("content", "how"), DELIMITERS.values(), ids=DELIMITERS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_delimiters_are_found(tmp_path, content, how, suffix):
    if suffix == ".tsv" and how["sep"] == ",":
        how = {"sep": "\t"}
    path = written(tmp_path / f"t{suffix}", content)
    assert found(path) == expected(pd.read_csv(path, **AS_IT_IS, **how))


@pytest.mark.parametrize("delimiter", [":", "\t", "~"])
def test_a_delimiter_is_given_for_a_file_of_any_name(tmp_path, delimiter):
    path = written(tmp_path / "SMSSpamCollection", csv_of(FRAME.replace(":", " ", regex=True), sep=delimiter))
    with pytest.raises(InputError, match=r"its name does not say the format; .* or a file of another name with --del"):
        open_table(str(path))
    assert found(path, delimiter=delimiter) == expected(FRAME)


QUOTES = {
    "escaped quotes": ('text,label\n"he said \\"no\\", twice",1\nplain,0\n', {"escapechar": "\\"}),
    "what pandas escapes": (csv_of(doublequote=False, escapechar="\\"), {"escapechar": "\\"}),
    "escaped, with semicolons": ('text;label\n"a \\"b\\"; c";1\n', {"escapechar": "\\", "sep": ";"}),
    "blanks before quotes": ('text, label\n"a, b", "x"\nc, "y, z"\n', {"skipinitialspace": True}),
    "backslashes alone": ("text,label\nC:\\temp,1\n\\d+,0\n", {}),
    "a quote inside": ('text,label\n5" pipe,1\nso-called "art",0\n', {}),
    "doubled quotes": (csv_of(), {}),
}


@pytest.mark.parametrize(("content", "how"), QUOTES.values(), ids=QUOTES)
def test_quotes_are_found(tmp_path, content, how):
    path = written(tmp_path / "t.csv", content)
    assert found(path) == expected(pd.read_csv(path, **AS_IT_IS, **how))


def test_tables_without_a_header(tmp_path):
    names = ("label", "title", "text")
    news = written(
        tmp_path / "news.csv", '"3","Wall St.","Bears claw"\n"4","Space","A ""moon"", new"\n"3","Oil","Up"\n'
    )
    assert found(news, columns=names) == expected(pd.read_csv(news, header=None, names=names, **AS_IT_IS))
    semicolons = written(tmp_path / "t.csv", "1;a, b;x\n0;c;y\n")
    assert found(semicolons, columns=names) == (names, [("1", "a, b", "x"), ("0", "c", "y")])
    messages = written(tmp_path / "messages", "ham\tGo until\nspam\tFree\n")
    assert found(messages, columns=("label", "text"), delimiter="\t")[1] == [("ham", "Go until"), ("spam", "Free")]
    header = written(tmp_path / "header.csv", "Label, title,TEXT\n1,a,b\n")
    assert found(header, columns=names) == (names, [("1", "a", "b")])
    with pytest.raises(InputError, match=r"--columns=a,b: names 2 columns; .*news\.csv:1 has 3 cells"):
        open_table(str(news), TableFormat(columns=("a", "b")))
    with pytest.raises(InputError, match=r"--text_column=text: no such column; .*'Wall St\.'.* pass --columns if the"):
        load_own_data(DataSettings(train_file=str(news), text_column="text", label_column="label"))


JSON = {
    "records": FRAME.to_json(orient="records"),
    "records, indented": FRAME.to_json(orient="records", indent=2),
    "columns, the default": FRAME.to_json(),
    "columns, indented": FRAME.to_json(indent=2),
    "columns of some rows": FRAME.set_index(pd.Index(["e", "d", "c", "b", "a"])).to_json(),
    "index": FRAME.to_json(orient="index"),
    "split": FRAME.to_json(orient="split"),
    "table": FRAME.to_json(orient="table", index=False),
    "lists, as datasets.Dataset.to_dict": json.dumps(FRAME.to_dict("list")),
    "rows below a key": json.dumps({"version": 3, "rows": FRAME.to_dict("records")}),
    "an object a line": FRAME.to_json(orient="records", lines=True),
}


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_json_that_pandas_writes(tmp_path, content):
    path = written(tmp_path / "t.json", content)
    assert found(path) == expected(FRAME)
    assert found(written(tmp_path / "two.json", content, "utf-16")) == expected(FRAME)


def test_json_arrays_in_files_named_for_lines_and_without_names(tmp_path):
    for orient in ({}, {"indent": 4}):
        path = written(tmp_path / "t.jsonl", FRAME.to_json(orient="records", **orient))
        assert found(path) == expected(FRAME)
    path = written(tmp_path / "values.json", FRAME.to_json(orient="values"))
    assert found(path, columns=tuple(FRAME.columns)) == expected(FRAME)
    assert {row.problem for row in open_table(str(path)).rows} == {"a JSON list instead of an object"}
    with pytest.raises(InputError, match=r"--columns: is for tables without a header"):
        open_table(str(written(tmp_path / "t.json", FRAME.to_json(orient="records"))), TableFormat(columns=("a",)))


def test_rows_of_a_json_array_are_numbered_and_bad_ones_named(tmp_path):
    path = written(tmp_path / "t.json", '[{"text": "a"}, 7, {"text": "\\ud800"}, {"text": null}]')
    rows = list(open_table(str(path)).rows)
    assert [(row.line, row.problem) for row in rows] == [
        (1, ""), (2, "a JSON int instead of an object"), (3, "half of a surrogate pair, U+D800"), (4, ""),
    ]  # fmt: skip
    for broken, row in (('[{"a": 1}, {"b" 2}]', 2), ('[{"a": 1}', 1), ('[{"a": 1}, {"a": ', 2), ('[{"a": 1}] {}', 1)):
        with pytest.raises(InputError, match=rf"t\.json:{row}: "):
            list(open_table(str(written(path, broken))).rows)


def test_json_documents_with_holes_and_other_names(tmp_path):
    split = {"columns": ["text", 7, 7], "data": [["a", 1, 2], ["b", 3], ["c", 4, 5]]}
    rows = list(open_table(str(written(tmp_path / "t.json", json.dumps(split)))).rows)
    assert [row.problem for row in rows] == ["", "a JSON list instead of an object", ""]
    assert rows[2].cells == {"text": "c", "7": "4", "7.1": "5"}
    columns = pd.DataFrame({"text": {"0": "a", "1": "b"}, "n": {"1": "3", "2": "5"}}, index=["0", "1", "2"])
    path = written(tmp_path / "t.json", '{"text": {"0": "a", "1": "b"}, "n": {"1": "3", "2": "5"}}')
    assert found(path)[1] == [tuple(row) for row in columns.astype(object).where(columns.notna(), None).to_numpy()]
    for nameless in ('{"version": 1, "data": [["a", 1], ["b", 2]]}', '{"columns": 2, "data": [["a", 1]]}'):
        (row,) = open_table(str(written(path, nameless))).rows  # no table; one row, as an object in a file of lines
        assert json.loads(row.cells["data"])[0] == ["a", 1]


def test_json_that_is_nested_too_deep_is_a_bad_row(tmp_path):
    """At some depth values can be read and no longer be written; that depends on how deep the caller is."""
    for depth in range(900, 1000):
        path = written(tmp_path / "t.jsonl", '{"a": ' + "[" * depth + "]" * depth + '}\n{"a": 1}\n')
        deep, plain = open_table(str(path)).rows
        assert deep.problem == "" or deep.problem.startswith("not a JSON object (maximum recursion")
        assert plain.cells == {"a": "1"}


def test_a_long_json_array_is_read_in_pieces(tmp_path):
    rows = [{"text": f"text {number} " * (number % 97), "n": number} for number in range(9973)]
    path = written(tmp_path / "t.json", json.dumps(rows))
    table = open_table(str(path), typed=True)
    first = next(table.rows)
    assert table.meter.read_bytes < path.stat().st_size / 10
    assert [first.values, *(row.values for row in table.rows)] == rows


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".json", ".parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path, suffix):
    count = 20_011  # as objects, more than 10 MiB
    frame = pd.DataFrame({"text": [f"text number {number} é" for number in range(count)], "label": "x"})
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix.startswith(".csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=suffix == ".jsonl")
    table = open_table(str(path))
    tracemalloc.start()
    assert sum(1 for _ in table.rows) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


def test_zipped_files(tmp_path):
    for name, inner in (("t.csv.zip", "t.csv"), ("archive.zip", "data/train.csv"), ("t.tsv.zip", "t.tsv")):
        content = csv_of(sep="\t" if inner.endswith("tsv") else ",")
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("__MACOSX/._train.csv", b"\0")
            file.writestr(inner, content)
        assert found(tmp_path / name) == expected(FRAME)
    FRAME.to_csv(tmp_path / "pandas.csv.zip", index=False)
    assert found(tmp_path / "pandas.csv.zip") == expected(FRAME)
    FRAME.to_json(tmp_path / "pandas.jsonl.zip", orient="records", lines=True)
    assert found(tmp_path / "pandas.jsonl.zip") == expected(FRAME)
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as file:
        file.writestr("a.csv", csv_of())
        file.writestr("b.csv", csv_of())
    with pytest.raises(InputError, match=r"two\.csv\.zip.*holds a\.csv, b\.csv; expected one file, so unpack it"):
        list(open_table(str(tmp_path / "two.csv.zip")).rows)
    written(tmp_path / "no.csv.zip", "text,label\n")
    with pytest.raises(InputError, match=r"no\.csv\.zip.*not a zip file"):
        open_table(str(tmp_path / "no.csv.zip"))


@pytest.mark.parametrize("kind", [pyarrow.int64(), pyarrow.int8(), pyarrow.int32()])
def test_class_names_in_the_metadata_of_parquet(tmp_path, kind):
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["sad", "happy", "cross"], "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    labels = pyarrow.array([1, 0, 2, -1, None], kind)
    table = pyarrow.table({"text": list("abcde"), "label": labels}).replace_schema_metadata(metadata)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    rows = list(open_table(str(path), typed=True).rows)
    assert [row.cells["label"] for row in rows] == ["happy", "sad", "cross", None, None]
    assert [row.values["label"] for row in rows] == [1, 0, 2, -1, None]
    pyarrow.parquet.write_table(pyarrow.concat_tables([table[:3]] * 7), path)
    assert load(path).task.classes == ("sad", "happy", "cross")  # in the order of their numbers


def test_parquet_with_a_doubled_column(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, ["text", "id", "id"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert found(tmp_path / "t.parquet") == (("text", "id", "id.1"), [("a", "a", "a")])


@pytest.mark.parametrize("header", ["text,label,text", " text,label,text ", "label,text,text"])
def test_a_doubled_column_that_is_asked_for_is_refused(tmp_path, header):
    path = written(tmp_path / "t.csv", header + "\n" + "a,b,c\n" * 7)
    with pytest.raises(InputError, match=r"--text_column=text: .*t\.csv has several columns of that name; rename one"):
        load_own_data(DataSettings(train_file=str(path), text_column="text", label_column="label"))


@pytest.mark.parametrize(("suffix", "empty"), [(".csv", ""), (".jsonl", None), (".parquet", None), (".tsv", " ")])
def test_one_text_of_a_pair_may_be_empty(tmp_path, suffix, empty):
    rows = [("a", empty, "x"), (empty, "b", "y"), ("c", "d", "x")] * 5
    frame = pd.DataFrame(rows, columns=["one", "two", "same"])
    path = tmp_path / f"t{suffix}"
    writers = {
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }
    writers.get(suffix, lambda: path.write_text(csv_of(frame, sep="\t" if suffix == ".tsv" else ",")))()
    flags = {"text_column": "one", "text_pair_column": "two", "label_column": "same", "train_file": str(path)}
    train = load_own_data(DataSettings(**flags)).dataset.splits["train"]
    assert {tuple(map(str.strip, pair)) for pair in zip(*train.texts, strict=True)} == {
        ("a", ""),
        ("", "b"),
        ("c", "d"),
    }
    if suffix == ".csv":
        path.write_text(path.read_text() + ",,x\n")
        with pytest.raises(InputError, match=r"t\.csv:17: one and two are empty"):
            load_own_data(DataSettings(**flags))


def test_a_flag_may_name_a_column_with_the_blanks_of_its_header(tmp_path):
    path = written(tmp_path / "t.csv", " text, label \n" + "a,x\nb,y\n" * 7)
    for text, label in (("text", "label"), (" text", " label ")):
        own = load_own_data(DataSettings(train_file=str(path), text_column=text, label_column=label))
        assert (own.task.text_columns, own.task.label_column) == (("text",), "label")


def load(path, **flags):
    return load_own_data(DataSettings(train_file=str(path), text_column="text", label_column="label", **flags))


def test_the_summary_shows_how_files_were_read(tmp_path):
    frame = pd.concat([FRAME] * 7)
    train = written(tmp_path / "train.csv", csv_of(frame, sep=";"), "cp1252")
    dev = written(tmp_path / "dev.json", frame.to_json(orient="records"))
    shown = load(train, dev_file=str(dev)).summary.splitlines()
    assert "  train read as: delimiter ';', cp1252" in shown
    assert "  dev read as: JSON, an array, utf-8" in shown
    plain = written(tmp_path / "plain.csv", csv_of(frame[["label", "text"]], header=False))
    shown = load(plain, dev_file=str(plain), columns="label, text").summary
    assert "  train, dev read as: delimiter ',', utf-8, no header" in shown


@pytest.mark.parametrize(
    ("content", "flags", "reason", "way"),
    [
        ("text,label\n" + "a,b,1\n" * 7, {}, "the row has 3 cells instead of 2", "pass another --delimiter"),
        ("text,label\n" + "a;1\n" * 7, {}, "the row has 1 cell instead of 2", "pass another --delimiter"),
        ("text,label\n" + '"a,1\n' * 7, {}, "a closing quote is not followed by ','", "--quoting=none"),
        (b"text,label\n" + b"caf\xe9,1\n" * 7, {"encoding": "utf-8"}, "byte 0xe9 is not UTF-8", "another --encoding"),
        (b"text,label\n" + b"\0caf,1\n" * 7, {"encoding": "utf-8"}, "a NUL character", "another --encoding"),
    ],
)
def test_where_all_rows_fail_the_reason_is_said_and_no_row_is_skipped(tmp_path, content, flags, reason, way):
    path = written(tmp_path / "t.csv", content)
    with pytest.raises(InputError) as caught:
        load(path, **flags)
    message = str(caught.value)
    assert "7 of 7 rows cannot be used" in message
    assert f"t.csv:2: {reason}" in message
    assert way in message
    assert "skip" not in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"delimiter": "::"}, "--delimiter=::: expected one character, or tab"),
        ({"delimiter": '"'}, '--delimiter=": expected one character, or tab'),
        ({"encoding": "latin-0"}, "--encoding=latin-0: expected an encoding that Python knows"),
        ({"encoding": "base64"}, "--encoding=base64: expected an encoding that Python knows"),
        ({"columns": "a,b,a"}, "--columns=a,b,a: expected different names with commas between"),
        ({"columns": "a,,b"}, "--columns=a,,b: expected different names with commas between"),
    ],
)
def test_flags_of_tables_that_cannot_be(flags, message):
    with pytest.raises(InputError) as caught:
        DataSettings(**flags)
    assert message in str(caught.value)


@pytest.mark.parametrize("delimiter", ["\t", "\\t", "tab"])
def test_a_tab_may_be_spelled(delimiter):
    assert DataSettings(delimiter=delimiter).table_format.delimiter == "\t"


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_taken_is_what_pandas_takes(tmp_path, seed):
    """Hostile cells come back as they are; where a character is lost, the table is read as by pandas, or is refused."""
    draw = np.random.default_rng(seed)
    pieces = ["a", "b c", ",", ";", "\n", '"', "'", "\t", "é", "\\", "", "0"]
    rows = [["".join(draw.choice(pieces, draw.integers(1, 5))) for _ in range(3)] for _ in range(53)]
    content = csv_of(pd.DataFrame(rows, columns=["x", "y", "z"]))
    path = written(tmp_path / "t.csv", content)
    assert found(path) == (("x", "y", "z"), [tuple(row) for row in rows])
    taken = 0
    for _ in range(53):
        at = draw.integers(6, len(content))
        written(path, content[:at] + content[at + 1 :])
        table = open_table(str(path))
        read = list(table.rows)
        if any(row.problem for row in read) or table.read_as != "delimiter ',', utf-8":
            continue
        taken += 1
        frame = pd.read_csv(path, **AS_IT_IS, lineterminator="\n")
        assert [tuple(row.cells.values()) for row in read] == expected(frame)[1]
    assert 7 < taken < 53
