"""A page that shows which words a reduced model throws away: one file, without a network."""

import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from powerbert_tf.reports.explanations import Explanation, word_statistics

_LOWEST, _STEPS = ord("#"), 90  # of scores, a character each; "#" has no escape in JSON, nor has what follows but "\\"


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
    template = (
        importlib.resources.files("powerbert_tf.reports").joinpath("explain_page.html").read_text(encoding="utf-8")
    )
    # Nothing in the data can end the script element that holds it.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.replace("__DATA__", data)


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
