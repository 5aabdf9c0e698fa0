"""Flags for the report and the word inspector."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, CheckedSettings, one_of, setting

FORMATS = ("html", "text")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings(CheckedSettings):
    """Pages and logs."""

    explain_text: str = setting(
        "What --stage=explain shows instead of dev examples: one text per line; for pairs, two with a tab between.",
        default="",
    )
    explain_examples: int = setting("The most dev examples that --stage=explain shows.", default=1000, check=AT_LEAST_1)
    format: str = setting(
        "Output of --stage=explain: html, a page for the browser, or text.", default="html", check=one_of(FORMATS)
    )
    tensorboard: bool = setting(
        "Whether --stage=report also writes the training curves as TensorBoard logs.", default=False
    )
