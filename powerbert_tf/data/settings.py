"""Settings that say where a user's own data is and what its columns mean."""

import dataclasses

from powerbert_tf.common.flags import Check, CheckedSettings, one_of, setting
from powerbert_tf.data.tables.rows import TableFormat

ON_BAD_ROW = ("error", "skip")
QUOTING = ("minimal", "none")
TABLE_FLAGS = ("delimiter", "encoding", "columns")  # found in each file, unless they are given
_TAB = ("\\t", "tab")  # as a shell leaves it


def _are_names(value: str) -> bool:
    names = [name.strip() for name in value.split(",")]
    return not value or (all(names) and len(set(names)) == len(names))


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


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
        "the data set's own label, or label; without one, --checkpoint is a trained classifier, whose own answers take "
        "the place of labels.",
        default="",
    )
    max_disagreement: float = setting(
        "Of texts without labels, the share of the trained classifier's answers on held-out texts that may change, "
        "such as 0.01, instead of a speed-up. Default: none.",
        Check(lambda value: 0 <= value < 1, "a share in [0, 1)"),
        default=0.0,
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
    delimiter: str = setting(
        "Character between the cells of CSV, TSV and files of other names, or tab. Default: found in the file.",
        Check(
            lambda value: value in ("", *_TAB) or (len(value) == 1 and value not in '"\r\n'), "one character, or tab"
        ),
        default="",
    )
    encoding: str = setting(
        "Encoding of text files, such as latin-1. Default: found in the file.",
        Check(lambda value: not value or _is_encoding(value), "an encoding that Python knows, such as utf-8 or cp1252"),
        default="",
    )
    columns: str = setting(
        "Names of the columns of a table without a header, such as label,title,text. Default: the header's.",
        Check(_are_names, "different names with commas between"),
        default="",
    )

    @property
    def table_format(self) -> TableFormat:
        """What the flags say about tables."""
        return TableFormat(
            "\t" if self.delimiter in _TAB else self.delimiter,
            self.encoding,
            tuple(name.strip() for name in self.columns.split(",")) if self.columns else (),
            self.quoting == "minimal",
        )

    @property
    def is_given(self) -> bool:
        """Whether there is data of the user's own."""
        return bool(self.train_file or self.tfds_name)
