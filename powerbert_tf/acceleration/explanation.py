"""Which tokens of a text a reduced model eliminates, as a table, as text, and as HTML for a notebook."""

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import pandas as pd

from powerbert_tf.reports.word_inspector import Explanation

_FAINTEST = 0.25  # opacity of the tokens that leave first
_TOKEN = '<span title="{title}" style="opacity:{opacity:.2f}">{token}</span>'


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TextExplanation:
    """What became of each token of a text.

    Attributes:
        answer: The model's answer, as `FastClassifier.predict` gives it.
        probabilities: Class name -> probability; empty for a regression.
        tokens: Text of the tokens, n of them, with `[CLS]` and `[SEP]`.
        begins_word: Whether each token is the first of a word.
        outlives: How many encoders each token outlives, `[n]` ints from 0 to L.
        scores: The score by which each encoder ranks the tokens, `[L, n]`; NaN where a token does not reach it.
    """

    answer: str | list[str] | float
    probabilities: dict[str, float]
    tokens: Sequence[str]
    begins_word: Sequence[bool]
    outlives: np.ndarray
    scores: np.ndarray

    @property
    def table(self) -> pd.DataFrame:
        """One row per token: `token`; `encoder`, the number of the one that eliminates it, from 1; `score` there.

        A token that no encoder eliminates has `<NA>` for the encoder, and the score of the last one. The last encoder
        computes [CLS] alone: tokens that leave there were still read.
        """
        last = len(self.scores) - 1
        at = np.minimum(self.outlives, last)
        leaves = pd.array(np.where(self.outlives > last, -1, self.outlives + 1), dtype="Int64")
        leaves[self.outlives > last] = pd.NA
        scores = self.scores[at, np.arange(len(self.tokens))]
        return pd.DataFrame({"token": list(self.tokens), "encoder": leaves, "score": scores})

    def __repr__(self) -> str:
        return f"TextExplanation: {self._answered()}\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        """The text with faint tokens where they leave early; the table below it."""
        words = []
        for row, begins, outlives in zip(self.table.itertuples(), self.begins_word, self.outlives, strict=True):
            leaves = "stays" if row.encoder is pd.NA else f"leaves in encoder {row.encoder}"
            opacity = _FAINTEST + (1 - _FAINTEST) * float(outlives) / len(self.scores)
            title = f"{leaves}, score {row.score:.4g}"
            words.append(" " * begins + _TOKEN.format(title=title, opacity=opacity, token=html.escape(str(row.token))))
        table = self.table.to_html(index=False, float_format="{:.4g}".format, border=0)
        return (
            f"<div><p><b>{html.escape(self._answered())}</b></p><p>{''.join(words)}</p>"
            f"<details><summary>{len(self.tokens)} tokens</summary>{table}</details></div>"
        )

    def _answered(self) -> str:
        answers = self.answer if isinstance(self.answer, list) else [self.answer]
        named = [
            f"{one:.4f}" if isinstance(one, float) else f"{one} ({self.probabilities[one]:.3f})" for one in answers
        ]
        return " + ".join(named) or "no label"


def text_explanation(
    one: Explanation, answer: str | list[str] | float, probabilities: dict[str, float]
) -> TextExplanation:
    """The explanation of one text, from that of the word inspector."""
    return TextExplanation(answer, probabilities, one.tokens, one.begins_word, one.outlives, one.scores)
