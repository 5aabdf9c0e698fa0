"""What a request may hold, and the sentence for everything else."""

import base64
import json

import pytest

from powerbert_tf.server.request_bodies import RequestError, read_body, read_columns, read_rows
from powerbert_tf.server.settings import ServerSettings

ONE, PAIR = ("text",), ("text", "text_pair")
OPTIONS = ("article", "question", "option_a", "option_b")
SETTINGS = ServerSettings(max_texts=3, max_characters=7)


@pytest.mark.parametrize(
    ("inputs", "content", "rows"),
    [
        (ONE, {"text": "é"}, [("é",)]),
        (ONE, {"texts": ["a", {"text": "b"}, ""]}, [("a",), ("b",), ("",)]),
        (PAIR, {"text": "a", "text_pair": "b"}, [("a", "b")]),
        (PAIR, {"texts": [["a", "b"], {"text_pair": "d", "text": "c"}]}, [("a", "b"), ("c", "d")]),
        (OPTIONS, {"texts": [["a", "b", "c", "d"]]}, [("a", "b", "c", "d")]),
        (OPTIONS, dict(zip(OPTIONS, "abcd", strict=True)), [("a", "b", "c", "d")]),
        (ONE, {"text": "1234567"}, [("1234567",)]),
    ],
)
def test_rows_of_each_form(inputs, content, rows):
    expected = [tuple(text.encode() for text in row) for row in rows]
    assert read_rows(read_body(json.dumps(content).encode()), inputs, SETTINGS) == expected


def test_half_of_a_surrogate_pair_is_left_to_the_model():
    (row,) = read_rows(read_body(b'{"text": "a\\ud83d"}'), ONE, SETTINGS)
    assert row == (b"a\xed\xa0\xbd",)


@pytest.mark.parametrize(
    ("inputs", "content", "status", "message"),
    [
        (ONE, {}, 400, "the body lacks text; expected text."),
        (PAIR, {"text": "a"}, 400, "the body lacks text_pair; expected text and text_pair."),
        (ONE, {"text": "a", "text_pair": "b"}, 400, "the body has text_pair; expected text alone."),
        (ONE, {"text": 3}, 400, "text is a number; expected a text."),
        (ONE, {"text": None}, 400, "text is null; expected a text."),
        (ONE, {"text": {"b64": "!"}}, 400, "text is no base64; expected a text."),
        (ONE, {"texts": "a"}, 400, "texts is a text; expected a list."),
        (ONE, {"texts": []}, 400, "the request has no texts; expected 1 to 3."),
        (ONE, {"texts": ["a"] * 4}, 413, "the request has 4 texts; expected 1 to 3."),
        (ONE, {"texts": ["a", ["b"]]}, 400, "texts[1] is a list; expected a text."),
        (ONE, {"texts": ["a"], "n": 1}, 400, 'n: unknown beside texts; expected {"texts": [...]}.'),
        (ONE, {"texts": ["a", "12345678"]}, 413, "texts[1] has 8 characters; expected at most 7."),
        (PAIR, {"texts": ["a"]}, 400, "texts[0] is a text; expected a list of 2 texts, text and text_pair."),
        (PAIR, {"texts": [["a"]]}, 400, "texts[0] has 1 texts; expected text and text_pair."),
        (PAIR, {"texts": [["a", True]]}, 400, "texts[0][1] is true or false; expected a text."),
        (PAIR, {"texts": [{"text": "a"}]}, 400, "texts[0] lacks text_pair; expected text and text_pair."),
    ],
)
def test_everything_else_is_refused_in_a_sentence(inputs, content, status, message):
    with pytest.raises(RequestError) as caught:
        read_rows(content, inputs, SETTINGS)
    assert (caught.value.status, str(caught.value)) == (status, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", r"the body is no JSON \(Expecting value: line 1 column 1 \(char 0\)\); expected an object such as"),
        (b"[1]", "the body is a list; expected an object"),
        (b"NaN", "the body is a number; expected an object"),
        (b'{"text": "\xff"}', "the body is no text in UTF-8; expected an object"),
        (b'{"text": ' * 100_000, "the body is nested too deeply"),
        (b"[" * 1_000_000, "the body is nested too deeply"),
        (b"9" * 5_000, "the body is no JSON .*limit"),
    ],
)
def test_a_body_that_is_no_object_is_refused(body, message):
    with pytest.raises(RequestError, match=message) as caught:
        read_body(body)
    assert caught.value.status == 400
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


def test_columns_as_tensorflow_serving_takes_them():
    content = {"inputs": {"text_pair": ["c", "d"], "text": ["a", {"b64": base64.b64encode(b"\xff").decode()}]}}
    rows = [(b"a", b"c"), (b"\xff", b"d")]
    assert read_columns(content, PAIR, SETTINGS) == rows
    assert read_columns({"signature_name": "serve_text", **content}, PAIR, SETTINGS) == rows
    assert read_columns({"inputs": ["a"]}, ONE, SETTINGS) == [(b"a",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"signature_name": "x", "inputs": {}}, "signature_name is x; expected serve_text, which is served."),
        ({"signature_name": [[]], "inputs": {}}, "signature_name is a list; expected serve_text, which is served."),
        ({"inputs": {}}, "inputs has nothing; expected an object with a list of texts for text and text_pair."),
        ({"instances": []}, "inputs is null; expected an object with a list of texts for text and text_pair."),
        ({"inputs": {"text": ["a"], "text_pair": "b"}}, "inputs.text_pair is a text; expected a list of texts."),
        ({"inputs": {"text": ["a"], "text_pair": []}}, "inputs have 1 and 0 texts; expected as many of each."),
        ({"inputs": {"text": [], "text_pair": []}}, "the request has no texts; expected 1 to 3."),
        ({"inputs": {"text": ["a"], "text_pair": [[]]}}, "inputs.text_pair[0] is a list; expected a text."),
    ],
)
def test_other_columns_are_refused(content, message):
    with pytest.raises(RequestError) as caught:
        read_columns(content, PAIR, SETTINGS)
    assert str(caught.value) == message
