"""Bodies of requests: JSON of clients who may send anything -> rows of texts, or one sentence that says what is wrong.

A row is the texts of one example in the order of the model's inputs: `(text,)`, `(text, text_pair)`, or article,
question and options.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.server.settings import ServerSettings

Row = tuple[bytes, ...]
_MOST_SHOWN = 60  # characters of what was sent, in a message
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class RequestError(Exception):
    """A request that is refused; the message is one sentence for the client.

    Args:
        status: Of HTTP.
        message: What was sent, and what was expected.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def read_body(body: bytes) -> dict[str, Any]:
    """Returns the JSON object of a body.

    Raises:
        RequestError: It is none.
    """
    try:
        value = json.loads(body)
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply; expected a JSON object with texts.") from None
    except ValueError as error:
        reason = (
            "is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else f"is no JSON ({_shown(str(error))})"
        )
        raise RequestError(400, f'the body {reason}; expected an object such as {{"text": "..."}}.') from None
    if not isinstance(value, dict):
        raise RequestError(400, f'the body is {_kind(value)}; expected an object such as {{"text": "..."}}.')
    return value


def read_rows(content: Mapping[str, Any], inputs: Sequence[str], settings: ServerSettings) -> list[Row]:
    """Returns the rows of a request to `/predict`.

    Args:
        content: `{"texts": [...]}` with a text, a list of the texts of a row, or an object for each row; or one such
            object, `{"text": ...}`.
        inputs: Names of the model's inputs.
        settings: Limits.

    Raises:
        RequestError: It is anything else, or too much.
    """
    if "texts" not in content:
        return [_row("", content, inputs, settings)]
    if unknown := sorted(content.keys() - {"texts"}):
        raise RequestError(400, f'{_shown(unknown[0])}: unknown beside texts; expected {{"texts": [...]}}.')
    texts = content["texts"]
    if not isinstance(texts, list):
        raise RequestError(400, f"texts is {_kind(texts)}; expected a list.")
    _check_count(len(texts), settings)
    return [_row(f"texts[{number}]", text, inputs, settings) for number, text in enumerate(texts)]


def read_columns(content: Mapping[str, Any], inputs: Sequence[str], settings: ServerSettings) -> list[Row]:
    """Returns the rows of a request in the columns of TensorFlow Serving's REST protocol.

    Args:
        content: `{"signature_name": ..., "inputs": {"text": [...], ...}}`, where a text is a string or `{"b64": ...}`.
        inputs: Names of the model's inputs.
        settings: Limits, and the signature that is served.

    Raises:
        RequestError: It is anything else, or too much.
    """
    signature = content.get("signature_name", settings.signature)
    if signature != settings.signature:
        raise RequestError(
            400, f"signature_name is {_shown(signature)}; expected {settings.signature}, which is served."
        )
    columns = content.get("inputs")
    if isinstance(columns, list) and len(inputs) == 1:
        columns = {inputs[0]: columns}
    if not isinstance(columns, dict) or columns.keys() != {*inputs}:
        found = (
            f"has {_shown(', '.join(sorted(columns)) or 'nothing')}"
            if isinstance(columns, dict)
            else f"is {_kind(columns)}"
        )
        raise RequestError(400, f"inputs {found}; expected an object with a list of texts for {' and '.join(inputs)}.")
    for name in inputs:
        if not isinstance(columns[name], list):
            raise RequestError(400, f"inputs.{name} is {_kind(columns[name])}; expected a list of texts.")
    counts = [len(columns[name]) for name in inputs]
    if len({*counts}) > 1:
        raise RequestError(400, f"inputs have {' and '.join(map(str, counts))} texts; expected as many of each.")
    _check_count(counts[0], settings)
    return [
        tuple(_text(f"inputs.{name}[{number}]", columns[name][number], settings) for name in inputs)
        for number in range(counts[0])
    ]


def _check_count(count: int, settings: ServerSettings) -> None:
    if not count:
        raise RequestError(400, f"the request has no texts; expected 1 to {settings.max_texts}.")
    if count > settings.max_texts:
        raise RequestError(413, f"the request has {count} texts; expected 1 to {settings.max_texts}.")


def _row(where: str, value: Any, inputs: Sequence[str], settings: ServerSettings) -> Row:
    """The texts of one example; `where` it stands, for messages, is empty for the body itself."""
    if isinstance(value, str) and len(inputs) == 1:
        return (_text(where, value, settings),)
    if isinstance(value, list) and len(inputs) > 1:
        if len(value) != len(inputs):
            raise RequestError(400, f"{where} has {len(value)} texts; expected {' and '.join(inputs)}.")
        return tuple(_text(f"{where}[{number}]", text, settings) for number, text in enumerate(value))
    if not isinstance(value, dict):
        expected = "a text" if len(inputs) == 1 else f"a list of {len(inputs)} texts, {' and '.join(inputs)}"
        raise RequestError(400, f"{where} is {_kind(value)}; expected {expected}.")
    if missing := [name for name in inputs if name not in value]:
        raise RequestError(400, f"{where or 'the body'} lacks {missing[0]}; expected {' and '.join(inputs)}.")
    if unknown := sorted(value.keys() - {*inputs}):
        raise RequestError(
            400, f"{where or 'the body'} has {_shown(unknown[0])}; expected {' and '.join(inputs)} alone."
        )
    return tuple(_text(f"{where}.{name}".lstrip("."), value[name], settings) for name in inputs)


def _text(where: str, value: Any, settings: ServerSettings) -> bytes:
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            text = base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(400, f"{where} is no base64; expected a text.") from None
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")  # JSON can spell half of a pair, which the model drops
    else:
        raise RequestError(400, f"{where} is {_kind(value)}; expected a text.")
    count = len(value) if isinstance(value, str) else len(text)
    if count > settings.max_characters:
        raise RequestError(413, f"{where} has {count} characters; expected at most {settings.max_characters}.")
    return text


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")


def _shown(value: Any) -> str:
    """What was sent, on one short line of ASCII; its kind, if it is no text."""
    text = json.dumps(value)[1:-1] if isinstance(value, str) else _kind(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
