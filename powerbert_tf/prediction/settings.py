"""Flags of a prediction of new files: what is read, and what is written."""

import dataclasses

from powerbert_tf.common.flags import require, setting

PREDICT_FORMATS = ("csv", "jsonl", "parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """What a trained model is to answer; the command line has a flag for each field.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    predict_file: str = setting(
        "With --stage=predict, files of any size for a trained model to answer: CSV, TSV, JSON lines or Parquet, "
        "compressed or not; one file, several separated by commas, or a glob; - for standard input with one text per "
        "line (two separated by a tab for pairs), or -.csv, -.tsv or -.jsonl for a table there.",
        default="",
    )
    predict_format: str = setting("Format of the answers: csv, jsonl or parquet.", default="csv")
    predict_dir: str = setting(
        "Folder for the answers, part-00000.csv and so on. Default: predictions/<file name> in the run's folder.",
        default="",
    )
    predict_shard_rows: int = setting(
        "Rows per file of answers. After an interruption, less than one file is computed again.",
        default=100_000,
    )

    def __post_init__(self):
        expected = f"one of {', '.join(PREDICT_FORMATS)}"
        require(self.predict_format in PREDICT_FORMATS, "predict_format", self.predict_format, expected)
        require(self.predict_shard_rows >= 1, "predict_shard_rows", self.predict_shard_rows, "at least 1")
