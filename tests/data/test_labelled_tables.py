"""Labelled texts in memory become the same rows, whatever holds them."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labelled_tables import memory_tables
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.data.settings import DataSettings

TEXTS, OTHERS = ["one", "two", "three", "füñf", "six"], ["1", "2", "3", "5", "6"]
LABELS = [0, 1, 1, 0, 1]
COLUMNS = {"text_column": "review", "label_column": "stars"}


def batched(texts):
    return tf.data.Dataset.from_tensor_slices((texts, LABELS)).batch(2)


def rows(data, **settings):
    tables = memory_tables({"train": data}, DataSettings(**settings))
    return (tables.text_columns, tables.label_column), [row.cells for _, row in tables.rows("train")]


SINGLE = {
    "frame": (pd.DataFrame({"label": LABELS, "text": TEXTS, "more": 3.5}), {}),
    "named columns": (pd.DataFrame({"stars": LABELS, "review": TEXTS}), COLUMNS),
    "lists": ((TEXTS, LABELS), {}),
    "arrays": ((np.array(TEXTS), np.array(LABELS)), {}),
    "series": ((pd.Series(TEXTS, index=list("abcde")), pd.Series(LABELS)), {}),
    "bytes": (([text.encode() for text in TEXTS], [bool(label) for label in LABELS]), {}),
    "examples": (tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)), {}),
    "batches": (batched(TEXTS), {}),
    "tensors": ((tf.constant(TEXTS), tf.constant(LABELS)), {}),
    "a column of labels": ((TEXTS, np.array(LABELS)[:, None]), {}),
    "one-hot labels": ((TEXTS, np.eye(2, dtype="float32")[LABELS]), {}),
    "lists of one-hot labels": ((TEXTS, np.eye(2, dtype=int)[LABELS].tolist()), {}),
    "one-hot examples": (tf.data.Dataset.from_tensor_slices((TEXTS, np.eye(2)[LABELS])), {}),
    "one-hot batches": (tf.data.Dataset.from_tensor_slices((TEXTS, np.eye(2)[LABELS])).batch(2), {}),
}
SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]])
NAMED = [["a", "c"], [], ["b"], ["a", "b", "c"], ["c"]]
HAVING = {
    "array": (TEXTS, SEVERAL.astype("float32")),
    "lists": (TEXTS, SEVERAL.tolist()),
    "list of arrays": (TEXTS, list(SEVERAL.astype(bool))),
    "tensor": (tf.constant(TEXTS), tf.constant(SEVERAL)),
    "frame of labels": (TEXTS, pd.DataFrame(SEVERAL, columns=["a", "b", "c"])),
    "examples": tf.data.Dataset.from_tensor_slices((TEXTS, SEVERAL)),
    "batches": tf.data.Dataset.from_tensor_slices((TEXTS, SEVERAL)).batch(2),
    "column of arrays": pd.DataFrame({"text": TEXTS, "label": list(SEVERAL)}),
}
LISTS = {
    "lists": (TEXTS, NAMED),
    "sets": (TEXTS, [set(names) for names in NAMED]),
    "tuples": (TEXTS, [tuple(names) for names in NAMED]),
    "series": (pd.Series(TEXTS), pd.Series(NAMED)),
    "column of lists": pd.DataFrame({"text": TEXTS, "label": NAMED}),
    "column of arrays": pd.DataFrame({"text": TEXTS, "label": [np.array(names, object) for names in NAMED]}),
    "array of lists": (TEXTS, np.array(NAMED, object)),
    "ragged tensor": (TEXTS, tf.ragged.constant(NAMED)),
    "bytes": (TEXTS, [[name.encode() for name in names] for names in NAMED]),
}
PAIRS = {
    "rows": (list(zip(TEXTS, OTHERS, strict=True)), LABELS),
    "columns": ((TEXTS, OTHERS), LABELS),
    "examples": tf.data.Dataset.from_tensor_slices(((TEXTS, OTHERS), LABELS)),
    "batches": batched((TEXTS, OTHERS)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_texts(name):
    data, settings = SINGLE[name]
    text, label = ("review", "stars") if settings else ("text", "label")
    expected = [{text: one, label: str(number)} for one, number in zip(TEXTS, LABELS, strict=True)]
    assert rows(data, **settings) == (((text,), label), expected)


@pytest.mark.parametrize("data", [*HAVING.values(), *LISTS.values()], ids=[*HAVING, *LISTS])
def test_several_labels(data):
    settings = DataSettings(dev_share=0.4)
    own = load_own_data(settings, "several", tables=memory_tables({"train": data, "dev": data}, settings))
    assert own.task.is_multi_label
    assert own.task.classes in (("0", "1", "2"), ("a", "b", "c"))
    np.testing.assert_array_equal(own.dataset.splits["train"].labels, SEVERAL)


def test_columns_of_several_labels():
    frame = pd.DataFrame({"text": TEXTS, "a": SEVERAL[:, 0], "b": SEVERAL[:, 1] == 1, "c": SEVERAL[:, 2] * 1.0})
    settings = DataSettings(label_column="c,a,b")
    own = load_own_data(settings, "several", tables=memory_tables({"train": frame, "dev": frame}, settings))
    assert (own.task.classes, own.task.label_column) == (("c", "a", "b"), "c,a,b")
    np.testing.assert_array_equal(own.dataset.splits["dev"].labels, SEVERAL[:, [2, 0, 1]])


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name):
    expected = [
        {"text": one, "text_pair": other, "label": str(number)}
        for one, other, number in zip(TEXTS, OTHERS, LABELS, strict=True)
    ]
    assert rows(PAIRS[name]) == ((("text", "text_pair"), "label"), expected)


def test_a_tuple_of_two_texts_is_no_pair_of_columns():
    columns, found = rows((("one", "two"), ("a", "b")))
    assert columns == (("text",), "label")
    assert [row["text"] for row in found] == ["one", "two"]


def test_missing_values_are_rows_to_be_named():
    frame = pd.DataFrame({"text": ["good film", None, "bad film", "fine"] * 3, "label": [1.0, 0.0, np.nan, 0.0] * 3})
    settings = DataSettings()
    with pytest.raises(InputError, match=r"6 rows cannot be used: train:2: text is empty; train:3: label is empty"):
        load_own_data(settings, tables=memory_tables({"train": frame}, settings))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            pd.DataFrame({"label": LABELS}),
            "text_column='text': no such column in the data frame",
        ),
        ((TEXTS, LABELS[:3]), "train: 5 texts and 3 labels; expected the same number"),
        (
            (TEXTS, np.full((5, 2), 0.5)),
            r"labels of shape \(5, 2\) for 5 texts; expected one each, a list of them each",
        ),
        (((TEXTS, OTHERS[:2]), LABELS), "train: 5 first texts and 2 second ones"),
        (([("a", "b", "c")], [1]), "3 texts in an example; expected one, or a pair"),
        (("text", LABELS), r"train: \(str, list\); expected a file of a table, a pandas.DataFrame"),
        ({"text": TEXTS}, "train: a dict; expected a file of a table"),
        (tf.data.Dataset.from_tensor_slices(([1, 2], LABELS[:2])), r"expected one of \(text, label\) or"),
    ],
)
def test_what_is_no_labelled_text_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        rows(data)
