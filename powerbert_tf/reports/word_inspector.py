"""The word inspector: which tokens a reduced model eliminates, and whether its answer changes.

As a table, as text, and as a page, which is one file without a network.
"""

import dataclasses
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from powerbert_tf.data.kinds import CLASSES, LABELS, Kind
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.elimination_trace import trace_elimination

_FEWEST = 5  # occurrences of a token that the page shows among the most often kept or eliminated
# The page holds a score as one of the characters from "#" on, of which JSON escapes only the backslash.
_LOWEST, _STEPS = ord("#"), 90

Thresholds = Mapping[str, Sequence[float]]  # "dense" and "reduced" -> least probability of each label to be an answer


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What became of each token of an example.

    Attributes:
        number: Of the example in its split.
        tokens: Text of the tokens, see `Tokenizer.spelled`; n of them, with `[CLS]` and `[SEP]`.
        begins_word: Whether each token is the first of a word.
        outlives: How many encoders each token outlives, `[n]` ints from 0 to L.
        scores: The score by which each encoder ranks the tokens, `[L, n]`; NaN where a token does not reach it.
        dense: Answer of the model that eliminates nothing: probabilities `[C]`, or the number of a regression `[1]`.
        reduced: Answer of the model that eliminates.
        label: The right answer, the index of a class, those of labels, or a number; None if unknown.
        texts: The one or two texts as they were given; empty if unknown.
    """

    number: int
    tokens: list[str]
    begins_word: list[bool]
    outlives: np.ndarray
    scores: np.ndarray
    dense: np.ndarray
    reduced: np.ndarray
    label: float | list[int] | None
    texts: tuple[str, ...] = ()


def explain_batches(
    dense: BertClassifier,
    reduced: BertClassifier,
    batches: Iterable[Mapping[str, np.ndarray]],
    numbers: Sequence[int] | np.ndarray,
    spelled: Sequence[tuple[str, bool]],
    kind: Kind = CLASSES,
    labels: np.ndarray | None = None,
    temperatures: tuple[float, float] = (1.0, 1.0),
    texts: Sequence[Sequence[str]] = (),
) -> Iterator[Explanation]:
    """Runs both models on examples.

    Args:
        dense: The model that eliminates nothing.
        reduced: The model that eliminates.
        batches: Inputs, arrays `[B, T]` by name.
        numbers: Of the examples in the batches, in their order.
        spelled: Text of each token id, and whether a word begins with it.
        kind: What the logits mean.
        labels: Right answers by number, or None.
        temperatures: What the logits of the dense and of the reduced model are divided by.
        texts: Columns of the texts as they were given, by number; empty if unknown.

    Yields:
        One explanation per example, in the order of the batches.
    """
    position = 0
    for batch in batches:
        trace = trace_elimination(reduced, dict(batch))
        full = np.asarray(dense(dict(batch), training=False))
        full, less = (kind.answers(one / by) for one, by in zip((full, trace.logits), temperatures, strict=True))
        for row, length in enumerate(np.asarray(batch["padding_mask"]).sum(axis=1)):
            number = int(numbers[position])
            words = [spelled[token] for token in np.asarray(batch["token_ids"])[row, :length]]
            yield Explanation(
                number=number,
                tokens=[text for text, _ in words],
                begins_word=[begins for _, begins in words],
                outlives=trace.outlives[row, :length],
                scores=trace.scores[row, :, :length],
                dense=full[row],
                reduced=less[row],
                label=None if labels is None else _right(kind, labels[number]),
                texts=tuple(str(column[number]) for column in texts),
            )
            position += 1


def _right(kind: Kind, label: Any) -> float | list[int]:
    return np.flatnonzero(label).tolist() if kind is LABELS else label.item()


def token_table(explanations: Iterable[Explanation]) -> pd.DataFrame:
    """One row per token: `example`, `position`, `piece` (its text), `outlives`, and `score_1` to `score_L`."""
    frames = [
        pd.DataFrame(
            {
                "example": one.number,
                "position": np.arange(len(one.tokens)),
                "piece": one.tokens,
                "outlives": one.outlives,
                **{f"score_{encoder}": scores for encoder, scores in enumerate(one.scores, start=1)},
            }
        )
        for one in explanations
    ]
    return pd.concat(frames, ignore_index=True)


def token_statistics(explanations: Iterable[Explanation], fewest: int = _FEWEST) -> pd.DataFrame:
    """How often each token outlives each encoder, without `[CLS]` and tokens of fewer than `fewest` occurrences.

    Returns:
        One row per token, the most frequent first: `piece` (its text), `count`, and the shares `encoder_1` to
        `encoder_{L-1}`.
    """
    outlived: dict[str, list[int]] = defaultdict(list)
    inner = 0
    for one in explanations:
        inner = len(one.scores) - 1
        for token, outlives in zip(one.tokens[1:], one.outlives[1:], strict=True):
            outlived[token].append(int(outlives))
    rows = [
        (token, len(values), *(float(np.mean(np.array(values) > encoder)) for encoder in range(inner)))
        for token, values in outlived.items()
        if len(values) >= fewest
    ]
    names = ["piece", "count", *(f"encoder_{encoder}" for encoder in range(1, inner + 1))]
    return pd.DataFrame(rows, columns=names).sort_values("count", ascending=False, kind="stable", ignore_index=True)


def explanation_text(one: Explanation, classes: Sequence[str] = (), thresholds: Thresholds | None = None) -> str:
    """The example after each encoder, with dots in place of eliminated tokens.

    Args:
        one: The example.
        classes: Names of the classes or labels; a regression has none.
        thresholds: Of a multi-label task, those of each model; None for one class.
    """

    def line(name: str, tokens: Sequence[str]) -> str:
        words = "".join(" " * begins + token for token, begins in zip(tokens, one.begins_word, strict=True))
        return f"{name:>{len(f'encoder {len(one.scores)}')}}  {words.removeprefix(' ')}"

    def named(model: str, answer: np.ndarray) -> str:
        if not classes:
            return f"{answer[0]:.3f}"
        is_answer = answer == np.max(answer) if thresholds is None else answer >= np.array(thresholds[model])
        found = np.flatnonzero(is_answer)[: 1 if thresholds is None else None].tolist()
        return _listed(f"{classes[at]} ({answer[at]:.3f})" for at in found)

    answers = f"example {one.number}: dense {named('dense', one.dense)}, reduced {named('reduced', one.reduced)}"
    if isinstance(one.label, list):
        answers += f", right {_listed(classes[at] for at in one.label)}"
    elif one.label is not None:
        answers += f", right {classes[int(one.label)] if classes else f'{one.label:.3f}'}"
    given = [f"{'text':>{len(f'encoder {len(one.scores)}')}}  {' '.join(text.split())}" for text in one.texts]
    lines = [answers, *given, line("input", one.tokens)]
    for encoder in range(len(one.scores) - 1):
        shown = [
            token if outlives > encoder else "·" * len(token)
            for token, outlives in zip(one.tokens, one.outlives, strict=True)
        ]
        lines.append(line(f"encoder {encoder + 1}", shown))
    return "\n".join(lines)


def _listed(names: Iterable[str]) -> str:
    return " + ".join(names) or "none"


def inspector_page(
    explanations: Sequence[Explanation],
    title: str,
    facts: Sequence[str],
    classes: Sequence[str] = (),
    thresholds: Thresholds | None = None,
) -> str:
    """The page as HTML, complete in itself, with `facts` below its title; see `explanation_text`."""
    content = {
        "title": title,
        "facts": list(facts),
        "classes": list(classes),
        "thresholds": thresholds and {model: list(values) for model, values in thresholds.items()},
        "encoders": len(explanations[0].scores) if explanations else 1,
        "examples": [_example(one) for one in explanations],
        "statistics": [
            [row[0], int(row[1]), *(round(share, 3) for share in row[2:])]
            for row in token_statistics(explanations).itertuples(index=False, name=None)
        ],
    }
    template = importlib.resources.files("powerbert_tf.reports").joinpath("word_inspector.html")
    # Nothing in the data can end the script element that holds it.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.read_text(encoding="utf-8").replace("__DATA__", data)


def _example(one: Explanation) -> dict[str, Any]:
    # [CLS] stays whatever its score, which is so high that the others could not be told apart beside it.
    scores = np.where(np.arange(len(one.tokens)) == 0, np.nan, one.scores)
    smallest, largest = (of_all(scores, axis=-1, initial=0.0) for of_all in (np.nanmin, np.nanmax))
    return {
        "number": one.number,
        "texts": list(one.texts),
        "words": [[token, int(begins)] for token, begins in zip(one.tokens, one.begins_word, strict=True)],
        "outlives": one.outlives.tolist(),
        "scores": [
            "".join(_character(score, low, high) for score in row)
            for row, low, high in zip(scores, smallest, largest, strict=True)
        ],
        "smallest": [round(float(low), 4) for low in smallest],
        "largest": [round(float(high), 4) for high in largest],
        "dense": [round(float(value), 4) for value in one.dense],
        "reduced": [round(float(value), 4) for value in one.reduced],
        "label": one.label,
    }


def _character(score: float, smallest: float, largest: float) -> str:
    if np.isnan(score):
        return " "
    return chr(
        _LOWEST + (round(_STEPS * float((score - smallest) / (largest - smallest))) if largest > smallest else 0)
    )
