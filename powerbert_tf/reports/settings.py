"""Flags for the report and the word inspector."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, CheckedSettings, one_of, setting

FORMATS = ("html", "text")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings(CheckedSettings):
    """Pages."""

    explain_text: str = setting(
        "What --stage=explain shows in place of dev examples: texts, one a line, the two of a pair with a tab between.",
        default="",
    )
    explain_examples: int = setting("Dev examples that --stage=explain shows, at most.", default=1000, check=AT_LEAST_1)
    format: str = setting(
        "Of --stage=explain: html, a page for the browser, or text.", default="html", check=one_of(FORMATS)
    )
    tensorboard: bool = setting(
        "Whether --stage=report writes the training curves as TensorBoard logs, too.", default=False
    )
