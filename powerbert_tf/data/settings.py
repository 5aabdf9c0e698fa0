"""Flags that say where a user's own data is and what its columns mean."""

import dataclasses

from powerbert_tf.common.flags import require, setting

ON_BAD_ROW = ("error", "skip")
QUOTING = ("minimal", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """A user's own data; the command line has a flag for each field, and a `task.json` a key.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    train_file: str = setting(
        "Training data of your own: CSV, TSV, JSON lines or Parquet, compressed or not; one file, several with commas "
        "between, a glob, or a folder of <class>/*.txt. With it, --task is a name of your choice.",
        default="",
    )
    dev_file: str = setting("Dev data; without it, a share of the training data is split off.", default="")
    test_file: str = setting("Test data, with labels or without; without it, nothing is predicted.", default="")
    tfds_name: str = setting(
        "Instead of files: a text classification set of TensorFlow Datasets prepared on this machine, such as "
        "imdb_reviews or glue/mrpc.",
        default="",
    )
    text_column: str = setting("Column of the text. Default: the folder's or the data set's own text.", default="")
    text_pair_column: str = setting("Column of the second text of a pair.", default="")
    label_column: str = setting("Column of the label. Default: the folder's or the data set's own label.", default="")
    regression: bool = setting(
        "Labels are numbers to be predicted. Default: where they are numbers and not all of them whole.", default=False
    )
    dev_share: float = setting("Share of the training data to split off where there is no dev file.", default=0.1)
    on_bad_row: str = setting(
        "A row that cannot be used: error ends the run before training and names it, skip keeps it in rejected.jsonl.",
        default="error",
    )
    quoting: str = setting(
        'Of CSV and TSV: minimal for cells that may stand in quotes, none where a " is an ordinary character.',
        default="minimal",
    )

    def __post_init__(self):
        require(0 < self.dev_share < 1, "dev_share", self.dev_share, "a share between 0 and 1")
        require(self.on_bad_row in ON_BAD_ROW, "on_bad_row", self.on_bad_row, f"one of {', '.join(ON_BAD_ROW)}")
        require(self.quoting in QUOTING, "quoting", self.quoting, f"one of {', '.join(QUOTING)}")

    @property
    def is_given(self) -> bool:
        """Whether there is data of the user's own."""
        return bool(self.train_file or self.tfds_name)
