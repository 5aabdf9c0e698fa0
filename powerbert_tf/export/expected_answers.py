"""The answers that an export must give: requests, hostile ones among them, with the answers of the Keras model.

They are stored beside the SavedModel. Nothing here knows the model, so a process that only serves can compare.

Axes: `B` requests, `C` classes, `K` options of a multiple-choice question.
"""

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from powerbert_tf.export.loading import ID_INPUTS

EXPECTED_FILE = Path("assets.extra") / "expected.json"
IDS, TEXT, EXAMPLES = "serving_default", "serve_text", "serve_examples"  # names of signatures, without suffix

# Texts that a server must survive. A pair has the same text on both sides.
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
class ExpectedAnswers:
    """Requests and the answers that the Keras model gave to them at export.

    Attributes:
        task: Name of the task.
        classes: Class names; empty for a regression.
        text_inputs: Names of the texts of a request.
        max_seq_length: N.
        vocab_size: Size of the vocabulary.
        batch_size: Largest number of examples in a request; 0 for any.
        tolerance: Largest allowed difference from the model's answers.
        texts: Texts of each of `B` requests: one or two, or article, question and K options.
        token_ids: Token ids of each request, or of each of its K options.
        segment_ids: Segment ids, in the same layout.
        answers: Probabilities `[B, C]`, or scores `[B]`, by the suffix of the signatures.
        num_samples: Number of usual requests, which come first.
        choices: K for multiple choice, else 1.
        is_multi_label: Whether any number of the classes can be right at once.
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
    is_multi_label: bool = False

    def write(self, version: Path) -> None:
        """Writes `EXPECTED_FILE` into a version's folder."""
        content = {
            **dataclasses.asdict(self),
            "texts": [[base64.b64encode(text).decode() for text in texts] for texts in self.texts],
            "answers": {suffix: answers.tolist() for suffix, answers in self.answers.items()},
        }
        path = version / EXPECTED_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, version: Path) -> "ExpectedAnswers":
        """Reads `EXPECTED_FILE` from a version's folder.

        Raises:
            OSError: It is missing.
            ValueError: It is damaged.
        """
        content = json.loads((version / EXPECTED_FILE).read_text(encoding="utf-8"))
        try:
            content["texts"] = tuple(tuple(base64.b64decode(text) for text in texts) for texts in content["texts"])
            content["answers"] = {name: np.array(rows, "float32") for name, rows in content["answers"].items()}
            for name in ("token_ids", "segment_ids"):
                content[name] = tuple(map(tuple, content[name]))
            for name in ("classes", "text_inputs"):
                content[name] = tuple(content[name])
            return cls(**content)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{version / EXPECTED_FILE}: damaged ({error}); export again.") from None

    def __len__(self) -> int:
        return len(self.texts)

    def fits(self, examples: int) -> bool:
        """Whether the model takes a batch of so many examples."""
        return not self.batch_size or examples <= self.batch_size

    def by_option(self, values: np.ndarray) -> np.ndarray:
        """Ids `[rows * K, T]` as a request has them: `[rows, K, T]` for multiple choice, else unchanged."""
        options = self.choices
        return values.reshape(len(values) // options, options, values.shape[-1]) if options > 1 else values

    def padded_ids(self, requests: Sequence[int]) -> dict[str, np.ndarray]:
        """The ids of some requests, padded to the longest of them: int32 `[rows * K, T]` each."""
        rows = [request * self.choices + option for request in requests for option in range(self.choices)]
        lengths = np.array([len(self.token_ids[row]) for row in rows])
        longest = lengths.max()

        def pad(values):
            return np.array([(*values[row], *[0] * (longest - len(values[row]))) for row in rows], "int32")

        mask = (np.arange(longest) < lengths[:, None]).astype("int32")
        return dict(zip(ID_INPUTS, (pad(self.token_ids), pad(self.segment_ids), mask), strict=True))

    def ids_request(self, rows: Sequence[int]) -> dict[str, tf.Tensor]:
        """Some requests as ids, padded to the longest of them: int32 `[rows, T]` each, or `[rows, K, T]`."""
        return {name: tf.constant(self.by_option(values)) for name, values in self.padded_ids(rows).items()}

    def blank_request(self, examples: int, length: int) -> dict[str, tf.Tensor]:
        """A valid request of a given shape, for warm-up and timing: int32 `[examples, length]` each."""
        ones = tf.constant(self.by_option(np.ones([examples * self.choices, length], "int32")))
        return dict(zip(ID_INPUTS, (0 * ones, 0 * ones, ones), strict=True))

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
        """Some requests in the form that a signature takes."""
        if signature.startswith(IDS):
            return self.ids_request(rows)
        return self.text_request(rows) if signature.startswith(TEXT) else self.examples_request(rows)

    def batches(self, alone: bool = True) -> list[list[int]]:
        """Batches of requests: each one alone, the usual ones together, and all, as far as the batch size allows."""
        most = self.batch_size or len(self)
        everything = [list(range(start, min(start + most, len(self)))) for start in range(0, len(self), most)]
        singles = [[row] for row in range(len(self))] if alone else []
        return [*singles, list(range(self.num_samples))[:most], *everything]


def compare_answer(
    expected: ExpectedAnswers, signature: str, rows: Sequence[int], answer: Mapping[str, Any]
) -> list[str]:
    """Describes what is wrong with a signature's answer to the requests `rows`; the list is empty if it is right."""
    suffix = next(name for name in sorted(expected.answers, key=len, reverse=True) if signature.endswith(name))
    right = expected.answers[suffix][list(rows)]
    outputs = {name: np.asarray(values) for name, values in answer.items()}
    numbers = str(rows[0]) if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
    where = f"{signature}, requests {numbers}"
    name, *others = _output_names(signature, bool(expected.classes), expected.is_multi_label)
    if set(outputs) != {name, *others}:
        return [f"{where}: outputs {', '.join(sorted(outputs))}; expected {', '.join(sorted([name, *others]))}"]
    values = outputs[name]
    if values.shape != right.shape:
        return [f"{where}: {name} has the shape {values.shape}; expected {right.shape}"]
    found = []
    difference = float(np.max(np.abs(values - right)))
    if not difference <= expected.tolerance:
        found.append(f"{where}: {name} is off by {difference:.2g}; expected at most {expected.tolerance:g}")
    classes = np.array([name.encode() for name in expected.classes], object)
    if "classes" in others and not (outputs["classes"] == np.tile(classes, (len(rows), 1))).all():
        found.append(f"{where}: classes are {outputs['classes'][0].tolist()}; expected {classes.tolist()}")
    if "label" in others and outputs["label"].tolist() != classes[values.argmax(axis=-1)].tolist():
        found.append(f"{where}: label is not the class with the largest probability")
    return found


def _output_names(signature: str, is_classification: bool, is_multi_label: bool) -> tuple[str, ...]:
    """Names of the outputs, that of the probabilities or scores first."""
    if signature.startswith(EXAMPLES):
        return ("scores", "classes") if is_classification else ("outputs",)
    if not is_classification:
        return ("scores",)
    if not signature.startswith(TEXT):
        return ("probabilities",)
    return ("probabilities", "classes") if is_multi_label else ("probabilities", "label", "classes")


def check_answers(
    signatures: Mapping[str, Callable], expected: ExpectedAnswers, alone: bool = True
) -> tuple[int, list[str]]:
    """Calls every signature with every request, in batches and if wanted `alone`, and compares the answers.

    Returns:
        The number of calls, and a description of each wrong answer.
    """
    wrong: list[str] = []
    calls = 0
    for signature, function in signatures.items():
        for rows in expected.batches(alone):
            calls += 1
            wrong += compare_answer(expected, signature, rows, function(**expected.request(signature, rows)))
    return calls, wrong
