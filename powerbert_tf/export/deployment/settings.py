"""Flags of the comparison of exported models on this machine."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, NOT_NEGATIVE, Check, CheckedSettings, require, setting
from powerbert_tf.export.deployment.forms import FORMS


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeploySettings(CheckedSettings):
    """What a user serves, and the limits that a form must keep."""

    requests: str = setting(
        "With --stage=deploy, a file of your own requests to measure on, with the text columns of the run: JSON lines, "
        "CSV, TSV or Parquet. Default: the dev split.",
        default="",
    )
    deploy_batch_size: int = setting(
        "Requests that the server answers in one call: 1, or the size of the batches that it makes.",
        default=1,
        check=AT_LEAST_1,
    )
    deploy_cores: int = setting(
        "Cores that the server has; 0 for all of this machine.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for all, or a number of cores"),
    )
    latency_limit_ms: float = setting(
        "Most milliseconds from the texts of a call to its answers, at --latency_percentile; 0 for no limit.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    latency_percentile: float = setting(
        "Percentile of the calls at which --stage=deploy compares times, such as 50, 90 or 99.",
        default=90.0,
        check=Check(lambda value: 0 < value < 100, "more than 0 and less than 100"),
    )
    deploy_max_loss: float = setting(
        "Most that a form may lose of the dev metric against Keras; 0.01 is one point.",
        default=0.01,
        check=Check(lambda value: 0 <= value < 1, "0 or more, and less than 1"),
    )
    deploy_rounds: int = setting(
        "Turns of each form, each in a new process; medians over the turns count.", default=3, check=AT_LEAST_1
    )
    deploy_calls: int = setting("Calls that are timed in a turn, at most.", default=200, check=AT_LEAST_1)
    deploy_forms: str = setting(
        f"Forms to compare, separated by commas: {', '.join(FORMS)}. Default: all that this machine can run.",
        default="",
    )

    def __post_init__(self):
        super().__post_init__()
        expected = f"some of {', '.join(FORMS)}, separated by commas"
        require({*self._names} <= FORMS.keys(), "deploy_forms", self.deploy_forms, expected)

    @property
    def _names(self) -> list[str]:
        return [name.strip() for name in self.deploy_forms.split(",") if name.strip()]

    @property
    def forms(self) -> tuple[str, ...]:
        """Names of the forms, each once, in the order of `FORMS`."""
        return tuple(name for name in FORMS if not self._names or name in self._names)
