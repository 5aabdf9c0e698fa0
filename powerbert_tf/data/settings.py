"""Settings that say where a user's own data is and what its columns mean."""

import dataclasses

from powerbert_tf.common.flags import Check, CheckedSettings, one_of, setting

ON_BAD_ROW = ("error", "skip")
QUOTING = ("minimal", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(CheckedSettings):
    """A user's own data; each field is a flag of the command line and a key of `task.json`.

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
    label_column: str = setting(
        "Column of the label, or several with commas between that have 0 or 1 for each label. Default: the folder's or "
        "the data set's own label.",
        default="",
    )
    label_separator: str = setting(
        "What is between the labels of a row that has any number of them, such as | in joy|fear; a row with an empty "
        "label then has none. none if labels are never split. Default: a |, a ; or a comma whose parts are labels of "
        "other rows, too.",
        default="",
    )
    multi_label: bool = setting(
        "Rows have any number of labels. Default: if the label is a list, has a separator, or has several columns.",
        default=False,
    )
    regression: bool = setting(
        "Labels are numbers to predict. Default: if they are numbers and not all of them whole.", default=False
    )
    dev_share: float = setting(
        "Share of the training data to split off if there is no dev file.",
        Check(lambda value: 0 < value < 1, "a share between 0 and 1"),
        default=0.1,
    )
    on_bad_row: str = setting(
        "A row that cannot be used: error ends the run before training and names it, skip keeps it in rejected.jsonl.",
        one_of(ON_BAD_ROW),
        default="error",
    )
    quoting: str = setting(
        'Of CSV and TSV: minimal if cells may be quoted, none if a " is an ordinary character.',
        one_of(QUOTING),
        default="minimal",
    )

    @property
    def is_given(self) -> bool:
        """Whether there is data of the user's own."""
        return bool(self.train_file or self.tfds_name)
