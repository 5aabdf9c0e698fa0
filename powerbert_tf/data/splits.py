"""The rows of a training, dev or test split."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from powerbert_tf.data.text_columns import take_texts


@dataclasses.dataclass(frozen=True)
class Split:
    """The rows of one split, in the order of the file.

    Attributes:
        texts: One column of n texts, or two for a task on pairs; lists, or `StoredTexts` if they are many. For multiple
            choice: articles, questions, and K columns of options.
        labels: int32 `[n]`, positions in the task's classes; uint8 `[n, C]`, 0 or 1 for each label of a multi-label
            task; float32 `[n]`, scores, for a regression; None for test.
        indices: The n GLUE indices of a test split, as the file spells them, or `file:line` of a user's own; None for
            train and dev.
        bad_rows: Number of rows that could not be read and were skipped.
        choices: K for multiple choice, else 1: the inputs of a model that one row makes.
    """

    texts: tuple[Sequence[str], ...]
    labels: np.ndarray | None
    indices: Sequence[str] | None
    bad_rows: int = 0
    choices: int = 1

    def __len__(self) -> int:
        return len(self.texts[0])

    def sample(self, count: int, seed: int) -> "Split":
        """Draws rows with a seed and keeps the order of the file; all rows if there are no more than `count`."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def take(self, rows: np.ndarray) -> "Split":
        """Selects rows by their numbers, `[k]`, in that order."""
        return dataclasses.replace(
            self,
            texts=tuple(take_texts(column, rows) for column in self.texts),
            labels=None if self.labels is None else self.labels[rows],
            indices=None if self.indices is None else take_texts(self.indices, rows),
        )
