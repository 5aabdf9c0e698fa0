"""RACE, reading comprehension by multiple choice: reads its files and makes the pairs of texts that a model scores.

Each file `{train,dev,test}/{middle,high}/*.txt` is a JSON object with an `article`, `questions`, four `options` for
each question, and `answers`, a letter each. A question with K options is K pairs of texts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import ChoiceTask

_SPLITS = ("train", "dev", "test")
_LEVELS = ("middle", "high")
_KEYS = ("article", "questions", "options", "answers")
_BLANK = "_"  # in a question: the place of the option


def read_race(folder: Path, task: ChoiceTask) -> dict[str, Split]:
    """Reads all splits; `dev_middle` and `dev_high` are the two levels of `dev`.

    Args:
        folder: Has a folder for each split.
        task: Its classes are the letters of the options.

    Raises:
        InputError: A folder is missing or empty, or a file is not as RACE's are; the message names it.
    """
    splits = {}
    for name in _SPLITS:
        splits[name] = _read_levels(folder / name, _LEVELS, task)
        if name == "dev":
            splits |= {f"dev_{level}": _read_levels(folder / name, (level,), task) for level in _LEVELS}
    return splits


def _read_levels(folder: Path, levels: Sequence[str], task: ChoiceTask) -> Split:
    columns: tuple[list[str], ...] = tuple([] for _ in range(2 + task.choices))
    labels: list[int] = []
    places: list[str] = []
    for level in levels:
        files = sorted((folder / level).glob("*.txt"))
        if not files:
            raise InputError(
                f"{folder / level}: no *.txt in it; expected RACE as it is packed, {{{','.join(_SPLITS)}}}/"
                f"{{{','.join(_LEVELS)}}}/*.txt below {folder.parent}; --data_dir is the folder above."
            )
        for path in files:
            for number, (texts, answer) in enumerate(_read_file(path, task), start=1):
                for column, text in zip(columns, texts, strict=True):
                    column.append(text)
                labels.append(answer)
                places.append(f"{path}:{number}")
    return Split(columns, np.array(labels, "int32"), places, choices=task.choices)


def _read_file(path: Path, task: ChoiceTask) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields article, question and options, and the number of the right option, for each question."""
    try:
        value = read_object(path, "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from None
    missing = [key for key in _KEYS if key not in value]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; expected an object with {', '.join(_KEYS)}.")
    article, questions, options, answers = (value[key] for key in _KEYS)
    if not isinstance(article, str):
        raise InputError(f"{path}: the article is {_kind(article)}; expected a text.")
    for key in _KEYS[1:]:
        if not isinstance(value[key], list):
            raise InputError(f"{path}: {key} are {_kind(value[key])}; expected a list with one entry per question.")
        if len(value[key]) != len(questions):
            numbers = f"{len(questions)} questions and {len(value[key])} {key}"
            raise InputError(f"{path}: {numbers}; expected the same number.")
    for number, (question, texts, answer) in enumerate(zip(questions, options, answers, strict=True), start=1):
        where = f"{path}: question {number}"
        if not isinstance(question, str):
            raise InputError(f"{where}: is {_kind(question)}; expected a text.")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where}: its options are {_kind(texts)}; expected a list of texts.")
        if len(texts) != task.choices:
            raise InputError(f"{where}: {len(texts)} options; expected {task.choices}.")
        if answer not in task.classes:
            raise InputError(f"{where}: the answer {answer!r} is none of {', '.join(task.classes)}.")
        yield (article, question, *texts), task.classes.index(answer)


def _kind(value: Any) -> str:
    return f"a JSON {type(value).__name__}"


def input_texts(texts: Sequence[tf.Tensor], choices: int) -> Sequence[tf.Tensor]:
    """Returns the one or two texts of each input of a model: those of the examples, or `option_pairs`.

    Args:
        texts: Columns of the examples, strings `[B]` each.
        choices: K for multiple choice, else 1.
    """
    return option_pairs(texts) if choices > 1 else texts


def option_pairs(texts: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pairs of each question: the article, and the question with an option.

    An option replaces each `_` of its question; it follows a question without `_`.

    Args:
        texts: Articles, questions, and the K options in their order, strings `[B]` each.

    Returns:
        Two columns of strings `[B K]`, the pairs of a question one after the other.
    """
    articles, questions, *options = texts
    count = len(options)
    rows = tf.reshape(tf.stack(options, axis=1), [-1])  # [B K]
    parts = tf.strings.split(tf.repeat(questions, count), _BLANK)  # [B K, (parts)]
    numbers = parts.value_rowids()
    is_last = tf.equal(tf.range(tf.size(numbers, tf.int64)) + 1, tf.gather(parts.row_limits(), numbers))
    behind_last = tf.where(parts.row_lengths() > 1, tf.constant(""), tf.strings.join([tf.constant(" "), rows]))
    behind = tf.where(is_last, tf.gather(behind_last, numbers), tf.gather(rows, numbers))
    filled = tf.strings.unsorted_segment_join(
        tf.strings.join([parts.flat_values, behind]), numbers, tf.size(rows, tf.int64)
    )
    return tf.repeat(articles, count), filled
