"""What an export was seen to answer, kept beside it: requests, hostile ones among them, and the model's own answers.

Nothing here knows the model: a process that only serves can read the file and compare.

Axes: `B` requests, `C` classes.
"""

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

FILE = Path("assets.extra") / "expected.json"
IDS = ("token_ids", "segment_ids", "padding_mask")

# Texts that a server must survive; in a pair they stand on both sides.
HOSTILE_TEXTS: tuple[bytes, ...] = (
    b"",
    b" \t\r\n\xc2\xa0\xe2\x80\xa8",
    b"\x00",
    b"zero \x00 inside, and \x07\x1b",
    b"\xff\xfe not UTF-8 \xc3( \xe2\x82",
    b"\xed\xa0\x80 half a surrogate pair",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 emoji".encode(),
    "e\u0301\u0301\u0301 \u202eright to left\u202c שָׁלוֹם".encode(),
    "日本語 中文字 한국어 Ελλάς ΣΑΣ".encode(),
    b"[CLS] a [SEP] b [PAD] [MASK] [UNK] ##s",
    b"a" * 100_000,
    b"a b. " * 20_000,
    "é日".encode() * 20_000,
)


@dataclasses.dataclass(frozen=True)
class Expectations:
    """Requests and the answers that the model gave to them when it was exported.

    Attributes:
        task: Its name.
        classes: Class names; empty for a regression.
        text_inputs: Names of the texts of a request.
        max_seq_length: N.
        vocab_size: Ids are below it.
        batch_size: Most examples of a request; 0 for any.
        tolerance: How far an answer may be from the model's.
        texts: One or two texts of each request, `B` of them; of multiple choice article, question and K options.
        token_ids: Their word-pieces; of multiple choice those of `B K` pairs.
        segment_ids: And segments.
        answers: Probabilities `[B, C]`, or scores `[B]`, by the suffix of the signatures.
        num_samples: How many of the requests are usual ones; they come first.
        choices: K of multiple choice, else 1.
    """

    task: str
    classes: tuple[str, ...]
    text_inputs: tuple[str, ...]
    max_seq_length: int
    vocab_size: int
    batch_size: int
    tolerance: float
    texts: tuple[tuple[bytes, ...], ...]
    token_ids: tuple[tuple[int, ...], ...]
    segment_ids: tuple[tuple[int, ...], ...]
    answers: Mapping[str, np.ndarray]
    num_samples: int
    choices: int = 1

    def write(self, version: Path) -> None:
        """Writes the file into the folder of a version."""
        content = {
            **dataclasses.asdict(self),
            "texts": [[base64.b64encode(text).decode() for text in texts] for texts in self.texts],
            "answers": {suffix: answers.tolist() for suffix, answers in self.answers.items()},
        }
        path = version / FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, version: Path) -> "Expectations":
        """Reads the file of a version.

        Raises:
            OSError: There is none.
            ValueError: It is damaged.
        """
        content = json.loads((version / FILE).read_text(encoding="utf-8"))
        try:
            content["texts"] = tuple(tuple(base64.b64decode(text) for text in texts) for texts in content["texts"])
            content["answers"] = {name: np.array(rows, "float32") for name, rows in content["answers"].items()}
            for name in ("token_ids", "segment_ids"):
                content[name] = tuple(map(tuple, content[name]))
            for name in ("classes", "text_inputs"):
                content[name] = tuple(content[name])
            return cls(**content)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{version / FILE}: damaged ({error}); export again.") from None

    def __len__(self) -> int:
        return len(self.texts)

    def ids_request(self, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        """Some requests as ids, padded to the longest of them: int32 `[rows, T]` each, or `[rows, K, T]`."""
        return {name: tf.constant(self.with_options(values)) for name, values in self.ids_of(rows).items()}

    def with_options(self, values: np.ndarray) -> np.ndarray:
        """Ids `[rows * K, T]` as a request has them: of multiple choice `[rows, K, T]`."""
        options = self.choices
        return values.reshape(len(values) // options, options, values.shape[-1]) if options > 1 else values

    def ids_of(self, requests: Sequence[int]) -> dict[str, np.ndarray]:
        """The inputs of some requests, padded to the longest of them: int32 `[rows * K, T]` each."""
        rows = [request * self.choices + option for request in requests for option in range(self.choices)]
        lengths = np.array([len(self.token_ids[row]) for row in rows])
        longest = lengths.max()

        def pad(values):
            return np.array([(*values[row], *[0] * (longest - len(values[row]))) for row in rows], "int32")

        mask = (np.arange(longest) < lengths[:, None]).astype("int32")
        return dict(zip(IDS, (pad(self.token_ids), pad(self.segment_ids), mask), strict=True))

    def text_request(self, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        """Some requests as texts: strings `[rows]` each."""
        return {
            name: tf.constant([self.texts[row][column] for row in rows], tf.string)
            for column, name in enumerate(self.text_inputs)
        }

    def examples_request(self, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        """Some requests as serialised `tf.Example`s: strings `[rows]`."""
        serialized = []
        for row in rows:
            example = tf.train.Example()
            for name, text in zip(self.text_inputs, self.texts[row], strict=True):
                example.features.feature[name].bytes_list.value.append(text)
            serialized.append(example.SerializeToString())
        return {"inputs": tf.constant(serialized, tf.string)}

    def request(self, signature: str, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        """Some requests as the signature wants them."""
        for name, make in (("serving_default", self.ids_request), ("serve_text", self.text_request)):
            if signature.startswith(name):
                return make(rows)
        return self.examples_request(rows)

    def batches(self, alone: bool = True) -> list[list[int]]:
        """Rows of requests: each alone, all samples, all of them, as far as the batch size allows."""
        most = self.batch_size or len(self)
        everything = [list(range(start, min(start + most, len(self)))) for start in range(0, len(self), most)]
        singles = [[row] for row in range(len(self))] if alone else []
        return [*singles, list(range(self.num_samples))[:most], *everything]


def differences(expected: Expectations, signature: str, rows: Sequence[int], given: Mapping[str, Any]) -> list[str]:
    """What is wrong with an answer, in words; nothing where it is right.

    Args:
        expected: The model's answers.
        signature: That was called.
        rows: Requests that it was called with.
        given: What it answered, tensors or arrays by name.
    """
    suffix = next(name for name in sorted(expected.answers, key=len, reverse=True) if signature.endswith(name))
    answers = expected.answers[suffix][list(rows)]
    given = {name: np.asarray(values) for name, values in given.items()}
    where = f"{signature}, requests {_numbers(rows)}"
    names = _output_names(signature, bool(expected.classes))
    if set(given) != set(names.values()):
        return [f"{where}: outputs {', '.join(sorted(given))}; expected {', '.join(sorted(names.values()))}"]
    values = given[names["answers"]]
    if values.shape != answers.shape:
        return [f"{where}: {names['answers']} has the shape {values.shape}; expected {answers.shape}"]
    found = []
    difference = float(np.max(np.abs(values - answers)))
    if not difference <= expected.tolerance:
        found.append(f"{where}: {names['answers']} is off by {difference:.2g}; expected at most {expected.tolerance:g}")
    classes = np.array([name.encode() for name in expected.classes], object)
    if "classes" in names and not (given["classes"] == np.tile(classes, (len(rows), 1))).all():
        found.append(f"{where}: classes are {given['classes'][0].tolist()}; expected {classes.tolist()}")
    if "label" in names and given["label"].tolist() != classes[values.argmax(axis=-1)].tolist():
        found.append(f"{where}: label is not that of the largest probability")
    return found


def _output_names(signature: str, is_classification: bool) -> dict[str, str]:
    if signature.startswith("serve_examples"):
        return {"answers": "scores", "classes": "classes"} if is_classification else {"answers": "outputs"}
    answers = {"answers": "probabilities" if is_classification else "scores"}
    if signature.startswith("serve_text") and is_classification:
        return {**answers, "label": "label", "classes": "classes"}
    return answers


def _numbers(rows: Sequence[int]) -> str:
    return str(rows[0]) if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"


def check_answers(
    signatures: Mapping[str, Callable], expected: Expectations, alone: bool = True
) -> tuple[int, list[str]]:
    """Calls every signature with every request, in batches and alone.

    Args:
        signatures: Functions by name.
        expected: Requests and answers.
        alone: Whether each request is sent alone, too.

    Returns:
        How many calls there were, and what is wrong, in words.
    """
    wrong: list[str] = []
    calls = 0
    for signature, function in signatures.items():
        for rows in expected.batches(alone):
            calls += 1
            wrong += differences(expected, signature, rows, function(**expected.request(signature, rows)))
    return calls, wrong
