"""RACE, reading comprehension by multiple choice: `{train,dev,test}/{middle,high}/*.txt`, a JSON object a file.

An object has an `article`, `questions`, of each its four `options`, and `answers`, a letter each.

Multiple choice: an article, a question and K options are K pairs of texts, of which a model scores each.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import ChoiceTask

LEVELS = ("middle", "high")
_SPLITS = ("train", "dev", "test")
_KEYS = ("article", "questions", "options", "answers")


def read_race(folder: Path, task: ChoiceTask) -> dict[str, Split]:
    """Reads all splits; `dev_middle` and `dev_high` are the two levels of `dev`.

    Args:
        folder: With a folder for each split.
        task: Whose classes are the letters of the options.

    Raises:
        InputError: A folder is missing or empty, or a file is none of RACE; the message names it.
    """
    splits = {}
    for name in _SPLITS:
        levels = {level: _read_level(folder / name / level, task) for level in LEVELS}
        splits[name] = _join(list(levels.values()))
        if name == "dev":
            splits |= {f"dev_{level}": split for level, split in levels.items()}
    return splits


def _join(parts: list[Split]) -> Split:
    texts = tuple(
        [text for column in columns for text in column] for columns in zip(*(p.texts for p in parts), strict=True)
    )
    indices = [place for part in parts for place in part.indices or ()]
    return Split(
        texts,
        np.concatenate([part.labels for part in parts if part.labels is not None]),
        indices,
        choices=parts[0].choices,
    )


def _read_level(folder: Path, task: ChoiceTask) -> Split:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(
            f"{folder}: no *.txt in it; expected RACE as it is packed, {{{','.join(_SPLITS)}}}/{{{','.join(LEVELS)}}}/"
            f"*.txt below {folder.parent.parent}; --data_dir is the folder above."
        )
    columns: tuple[list[str], ...] = tuple([] for _ in range(2 + task.choices))
    labels: list[int] = []
    places: list[str] = []
    for path in files:
        for number, (texts, answer) in enumerate(_read_file(path, task), start=1):
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
            labels.append(answer)
            places.append(f"{path}:{number}")
    return Split(columns, np.array(labels, "int32"), places, choices=task.choices)


def _read_file(path: Path, task: ChoiceTask) -> Iterator[tuple[tuple[str, ...], int]]:
    """Article, question and options, and the number of the right one, of each question."""
    value = _object(path)
    article, questions, options, answers = (value[key] for key in _KEYS)
    if not isinstance(article, str):
        raise InputError(f"{path}: the article is {_kind(article)}; expected a text.")
    for key in _KEYS[1:]:
        if not isinstance(value[key], list):
            raise InputError(f"{path}: {key} are {_kind(value[key])}; expected a list, of an entry a question.")
        if len(value[key]) != len(questions):
            raise InputError(f"{path}: {len(questions)} questions and {len(value[key])} {key}; expected as many.")
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


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON in UTF-8 ({' '.join(str(error).split())}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON {type(value).__name__}; expected an object with {', '.join(_KEYS)}.")
    missing = [key for key in _KEYS if key not in value]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; expected an object with {', '.join(_KEYS)}.")
    return value


def _kind(value: Any) -> str:
    return f"a JSON {type(value).__name__}"


_BLANK = "_"  # in a question: where the option goes


def input_texts(texts: Sequence[tf.Tensor], choices: int) -> Sequence[tf.Tensor]:
    """The one or two texts of each input of a model: an example's own, or of multiple choice those of `option_pairs`.

    Args:
        texts: Columns of an example, strings `[B]` each.
        choices: K; 1 where an example is one input.
    """
    return option_pairs(texts) if choices > 1 else texts


def option_pairs(texts: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """The pairs of each question: the article, and the question with an option.

    An option takes the place of each `_` of its question; it follows a question that has none.

    Args:
        texts: Articles, questions, and the options in their order, strings `[B]` each.

    Returns:
        Strings `[R]` each.
    """
    articles, questions, *options = texts
    count = len(options)
    rows = tf.reshape(tf.stack(options, axis=1), [-1])  # [R]
    parts = tf.strings.split(tf.repeat(questions, count), _BLANK)  # [R, (parts)]
    numbers = parts.value_rowids()
    is_last = tf.equal(tf.range(tf.size(numbers, tf.int64)) + 1, tf.gather(parts.row_limits(), numbers))
    behind_last = tf.where(parts.row_lengths() > 1, tf.constant(""), tf.strings.join([tf.constant(" "), rows]))
    behind = tf.where(is_last, tf.gather(behind_last, numbers), tf.gather(rows, numbers))
    filled = tf.strings.unsorted_segment_join(
        tf.strings.join([parts.flat_values, behind]), numbers, tf.size(rows, tf.int64)
    )
    return tf.repeat(articles, count), filled
