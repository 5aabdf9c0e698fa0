"""Flags of a prediction of new files."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, CheckedSettings, one_of, require, setting

PREDICT_FORMATS = ("csv", "jsonl", "parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictSettings(CheckedSettings):
    """Prediction of new files by a trained model."""

    predict_file: str = setting(
        "With --stage=predict, files of any size for a trained model to answer: CSV, TSV, JSON lines or Parquet, "
        "compressed or not; one file, several separated by commas, or a glob; - for standard input with one text per "
        "line (two separated by a tab for pairs), or -.csv, -.tsv or -.jsonl for a table there.",
        default="",
    )
    text: str = setting(
        "With --stage=predict, a text to answer on the console, or one per line; for pairs, two separated by a tab.",
        default="",
    )
    predict_format: str = setting(
        "Format of the answers: csv, jsonl or parquet.", default="csv", check=one_of(PREDICT_FORMATS)
    )
    predict_columns: str = setting(
        "Columns of the input that stand beside the answers, separated by commas, such as id. Default: all of them.",
        default="",
    )
    predict_dir: str = setting(
        "Folder for the answers, part-00000.csv and so on. Default: predict/<file name> in the run's folder.",
        default="",
    )
    predict_shard_rows: int = setting(
        "Rows per file of answers. After an interruption, less than one file is computed again.",
        default=100_000,
        check=AT_LEAST_1,
    )

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The columns of `predict_columns`; none for all."""
        return tuple(name.strip() for name in self.predict_columns.split(",") if name.strip())

    def __post_init__(self):
        super().__post_init__()
        require(not (self.text and self.predict_file), "text", repr(self.text), "--predict_file, or --text")
