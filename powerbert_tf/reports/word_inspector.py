"""Which words a reduced model throws away, and whether it answers otherwise for it: as a table, and as text."""

import dataclasses
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.trace import trace_elimination

_LOWEST, _STEPS = ord("#"), 90  # of scores, a character each; "#" has no escape in JSON, nor has what follows but "\\"
_FEWEST = 5  # occurrences of a word-piece that is spoken of


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """One example.

    Attributes:
        number: Of the example in its split.
        pieces: Word-pieces as `Tokenizer.spelled` has them, `[CLS]` and `[SEP]` among them, n of them.
        begins: Whether a word begins with each of them.
        outlives: How many encoders each word-piece leaves alive, `[n]` ints from 0 to L.
        scores: Significance at each encoder, `[L, n]`; NaN where the word-piece does not reach it.
        dense: Answer of the model that eliminates nothing: probabilities `[C]`, or one number of a regression.
        reduced: Answer of the model that eliminates.
        label: The right answer, an index of a class or a number; None where it is not known.
    """

    number: int
    pieces: list[str]
    begins: list[bool]
    outlives: np.ndarray
    scores: np.ndarray
    dense: np.ndarray
    reduced: np.ndarray
    label: float | None


def explain_batches(
    dense: BertClassifier,
    reduced: BertClassifier,
    batches: Iterable[Mapping[str, np.ndarray]],
    numbers: Sequence[int] | np.ndarray,
    spelled: Sequence[tuple[str, bool]],
    is_regression: bool = False,
    labels: np.ndarray | None = None,
) -> Iterator[Explanation]:
    """Runs both models on examples, and tells what became of each word-piece.

    Args:
        dense: The model that eliminates nothing.
        reduced: The model that eliminates.
        batches: Inputs, arrays `[B, T]` by name.
        numbers: Of the examples that the batches hold, in their order.
        spelled: Text of each id, and whether a word begins with it.
        is_regression: Whether the logit is the answer.
        labels: Right answers by number, or None.

    Yields:
        An explanation of each example, in the order of the batches.
    """
    position = 0
    for batch in batches:
        trace = trace_elimination(reduced, dict(batch))
        full = np.asarray(dense(dict(batch), training=False))
        answers = (full, trace.logits) if is_regression else (special.softmax(x, axis=-1) for x in (full, trace.logits))
        full, less = answers
        for row, length in enumerate(np.asarray(batch["padding_mask"]).sum(axis=1)):
            number = int(numbers[position])
            words = [spelled[token] for token in np.asarray(batch["token_ids"])[row, :length]]
            yield Explanation(
                number=number,
                pieces=[text for text, _ in words],
                begins=[begins for _, begins in words],
                outlives=trace.outlives[row, :length],
                scores=trace.scores[row, :, :length],
                dense=full[row],
                reduced=less[row],
                label=None if labels is None else labels[number].item(),
            )
            position += 1


def as_table(explanations: Iterable[Explanation]) -> pd.DataFrame:
    """A row a word-piece: `example`, `position`, `piece`, `outlives`, and `score_1` to `score_L`."""
    frames = [
        pd.DataFrame(
            {
                "example": one.number,
                "position": np.arange(len(one.pieces)),
                "piece": one.pieces,
                "outlives": one.outlives,
                **{f"score_{encoder}": scores for encoder, scores in enumerate(one.scores, start=1)},
            }
        )
        for one in explanations
    ]
    return pd.concat(frames, ignore_index=True)


def as_text(one: Explanation, classes: Sequence[str] = ()) -> str:
    """The sentence at each encoder, with dots in place of what was eliminated.

    Args:
        one: The example.
        classes: Names, for the answers; none of a regression.
    """
    width = len(f"encoder {len(one.scores)}")
    lines = [
        f"example {one.number}: {_answers(one, classes)}",
        f"{'input':>{width}}  {join_pieces(one.pieces, one.begins)}",
    ]
    for encoder in range(len(one.scores) - 1):
        shown = [
            piece if outlives > encoder else "·" * len(piece)
            for piece, outlives in zip(one.pieces, one.outlives, strict=True)
        ]
        lines.append(f"{f'encoder {encoder + 1}':>{width}}  {join_pieces(shown, one.begins)}")
    return "\n".join(lines)


def join_pieces(pieces: Sequence[str], begins: Sequence[bool]) -> str:
    """Word-pieces as text: those that go on with a word stand close to it."""
    return "".join(" " * begin + piece for piece, begin in zip(pieces, begins, strict=True)).removeprefix(" ")


def word_statistics(explanations: Iterable[Explanation], fewest: int = _FEWEST) -> pd.DataFrame:
    """How often each word-piece outlives each encoder, `[CLS]` left out.

    Args:
        explanations: Of many examples.
        fewest: Occurrences below which a word-piece is left out.

    Returns:
        A row a word-piece, the most frequent first: `piece`, `count`, and `encoder_1` to `encoder_{L-1}`, shares.
    """
    outlived: dict[str, list[int]] = defaultdict(list)
    inner = 0
    for one in explanations:
        inner = len(one.scores) - 1
        for piece, outlives in zip(one.pieces[1:], one.outlives[1:], strict=True):
            outlived[piece].append(int(outlives))
    rows = [
        (piece, len(values), *(float(np.mean(np.array(values) > encoder)) for encoder in range(inner)))
        for piece, values in outlived.items()
        if len(values) >= fewest
    ]
    names = ["piece", "count", *(f"encoder_{encoder}" for encoder in range(1, inner + 1))]
    return pd.DataFrame(rows, columns=names).sort_values("count", ascending=False, kind="stable", ignore_index=True)


def _answers(one: Explanation, classes: Sequence[str]) -> str:
    def told(answer: np.ndarray) -> str:
        if not classes:
            return f"{answer[0]:.3f}"
        return f"{classes[int(np.argmax(answer))]} ({np.max(answer):.3f})"

    text = f"dense {told(one.dense)}, reduced {told(one.reduced)}"
    if one.label is None:
        return text
    return f"{text}, right {classes[int(one.label)] if classes else f'{one.label:.3f}'}"


def explain_page(
    explanations: Sequence[Explanation], title: str, facts: Sequence[str], classes: Sequence[str] = ()
) -> str:
    """The page as HTML, all it needs within.

    Args:
        explanations: What to show.
        title: Of the page.
        facts: Said below the title.
        classes: Names of the answers; none of a regression.
    """
    encoders = len(explanations[0].scores) if explanations else 1
    content = {
        "title": title,
        "facts": list(facts),
        "classes": list(classes),
        "encoders": encoders,
        "examples": [_example(one) for one in explanations],
        "statistics": [
            [row[0], int(row[1]), *(round(share, 3) for share in row[2:])]
            for row in word_statistics(explanations).itertuples(index=False, name=None)
        ],
    }
    template = importlib.resources.files("powerbert_tf.reports").joinpath("word_inspector.html")
    # Nothing in the data can end the script element that holds it.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.read_text(encoding="utf-8").replace("__DATA__", data)


def _example(one: Explanation) -> dict[str, Any]:
    # [CLS] stays whatever it scores, and scores so high that the others could not be told apart beside it.
    scores = np.where(np.arange(len(one.pieces)) == 0, np.nan, one.scores)
    largest = np.nan_to_num(np.nanmax(scores, axis=-1, initial=0.0))
    return {
        "number": one.number,
        "words": [[piece, int(begins)] for piece, begins in zip(one.pieces, one.begins, strict=True)],
        "outlives": one.outlives.tolist(),
        "scores": ["".join(map(_character, row, [top] * len(row))) for row, top in zip(scores, largest, strict=True)],
        "largest": [round(float(top), 4) for top in largest],
        "dense": [round(float(value), 4) for value in one.dense],
        "reduced": [round(float(value), 4) for value in one.reduced],
        "label": one.label,
    }


def _character(score: float, largest: float) -> str:
    if np.isnan(score):
        return " "
    return chr(_LOWEST + round(_STEPS * float(score / largest))) if largest else chr(_LOWEST)
