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
        "With --stage=predict, what a model that is trained already answers, however large: CSV, TSV, JSON lines or "
        "Parquet, compressed or not; one file, several with commas between, or a glob; - for standard input, a text a "
        "line (the two of a pair with a tab between), -.csv, -.tsv or -.jsonl for a table there.",
        default="",
    )
    predict_format: str = setting("Of the answers: csv, jsonl or parquet.", default="csv")
    predict_dir: str = setting(
        "Folder of the answers, part-00000.csv and so on. Default: predictions/<name of the file> in the run's folder.",
        default="",
    )
    predict_shard_rows: int = setting(
        "Rows of each file of answers; what an interruption makes the next run do again is less than one of them.",
        default=100_000,
    )

    def __post_init__(self):
        expected = f"one of {', '.join(PREDICT_FORMATS)}"
        require(self.predict_format in PREDICT_FORMATS, "predict_format", self.predict_format, expected)
        require(self.predict_shard_rows >= 1, "predict_shard_rows", self.predict_shard_rows, "at least 1")
