"""The rows of a training, dev or test split."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.wording import counted
from powerbert_tf.data.text_columns import take_texts

_SPLIT_SEED = 0  # whatever --seed is, so that runs with different seeds can be compared


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


def split_off(split: Split, share: float, most: int | None = None) -> tuple[Split, Split]:
    """Splits a seeded share of the rows off, of each class as much; the only row of a class is not among it.

    Rows with several labels are of the class of the rarest one, so that there is a share of each label.

    Args:
        split: Rows; those of a regression, and those without labels, are drawn without regard to them.
        share: In (0, 1).
        most: Number of rows to split off at most.

    Returns:
        The other rows and those split off, each in the order of the file.

    Raises:
        InputError: The rows are too few.
    """
    labels = split.labels
    count = max(1, round(share * len(split)))
    count = count if most is None else min(count, most)
    rows, classes = np.arange(len(split)), None
    if labels is not None and labels.ndim > 1:
        labels = _rarest(labels)
    if labels is not None and np.issubdtype(labels.dtype, np.integer):
        counts = np.bincount(labels)
        rows = rows[counts[labels] > 1]
        classes = labels[rows]
        count = max(count, int(np.count_nonzero(counts > 1)))  # one of each at least
    if len(rows) - count < (1 if classes is None else len(np.unique(classes))):
        raise InputError(f"{counted(len(split), 'row')}, too few to split {share:.0%} off")
    _, drawn = train_test_split(rows, test_size=count, random_state=_SPLIT_SEED, stratify=classes)
    is_drawn = np.zeros(len(split), bool)
    is_drawn[drawn] = True
    return split.take(np.flatnonzero(~is_drawn)), split.take(np.flatnonzero(is_drawn))


def texts_of_lines(flag: str, given: str, is_pair: bool) -> tuple[list[str], ...]:
    """The columns of texts that a flag gives: a text per line, or for pairs two with a tab between.

    Raises:
        InputError: There is no text, or a line holds another number of them; the message names the flag.
    """
    rows = [line.split("\t") for line in given.splitlines() if line.strip()]
    for row in rows:
        if len(row) != 1 + is_pair:
            expected = "two texts with a tab between" if is_pair else "one text, without tabs"
            raise InputError(f"--{flag}={row[0]!r}: {len(row)} texts in a line; expected {expected}.")
    if not rows:
        raise InputError(f"--{flag}: holds no text; expected one per line.")
    return tuple(list(column) for column in zip(*rows, strict=True))


def _rarest(labels: np.ndarray) -> np.ndarray:
    """The rarest label of each row, of labels `[n, C]` of 0 and 1; C for rows without one."""
    counts = labels.sum(axis=0, dtype="int64")
    by_count = np.argsort(counts, kind="stable")
    first = np.argmax(labels[:, by_count], axis=1)
    return np.where(labels.any(axis=1), by_count[first], labels.shape[1])
